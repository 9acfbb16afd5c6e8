"""Averaging SGD through a real Caffe: one worker is Caffe's own loop, tau = 1 is the big batch."""

import numpy as np
import pytest

from sparknet import Field, LocalCluster, NDArray, averaged_sgd
from sparknet.data import EpochSampler, pack
from sparknet.errors import TrainingError
from sparknet.nets import CaffeNet

pytestmark = pytest.mark.caffe

FIELDS = [Field("data", (1, 6, 6)), Field("label", (), "int64")]
RNG = np.random.default_rng(2)
LABELS = RNG.integers(0, 5, 240)
IMAGES = RNG.normal(0, 0.3, (240, 1, 6, 6)).astype(np.float32)
IMAGES[np.arange(240), 0, 0, LABELS] += 1
DATA = pack({"data": IMAGES, "label": LABELS}, FIELDS, 8)
# Momentum 0.9 and a step schedule, without the testing and saving that the tiny solver file asks for.
SOLVER = """
base_lr: 0.05 lr_policy: "step" gamma: 0.5 stepsize: 20 momentum: 0.9 weight_decay: 0.004 snapshot_after_train: false
"""


@pytest.fixture
def train(write, tiny):
    factory = CaffeNet.factory(solver=write(SOLVER, tiny.net_text))

    def train(**options):
        return list(averaged_sgd(factory, DATA, **{"cluster": LocalCluster(), "seed": 7, **options}))

    train.factory = factory
    return train


def test_one_worker_in_5_rounds_of_20_is_100_steps_of_plain_pycaffe_bit_for_bit(train, plain, tiny):
    rounds = train(workers=1, tau=20, rounds=5)
    order = EpochSampler(DATA.num_batches, 7, 0).indices(0, 100)
    weights, losses = plain(SOLVER, tiny.net_text, [DATA.batches[i] for i in order], 7)
    for name, arrays in rounds[-1].weights.items():
        for blob, array in zip(weights[name], arrays, strict=True):
            assert blob.tobytes() == array.to_host().tobytes()
    assert [r.loss for r in rounds] == [np.mean(losses[i : i + 20]) for i in range(0, 100, 20)]


# With tau = 1 the mean of K updates v_k = m*v + rate*(g_k + d*w) is one worker's update on the K minibatches
# together, because Caffe's loss is a mean over the minibatch. What is left is float32 rounding: about 2**-24
# relative in each of the some 300 additions of a convolution's gradient, carried through 40 steps, partly
# cancelling; 1e-4 of the largest weight (about 1) is ten times what random rounding would give.
@pytest.mark.parametrize("workers", [2, 4])
def test_tau_one_is_one_worker_at_the_big_batch(train, workers):
    steps = 40
    rounds = train(workers=workers, tau=1, rounds=steps)
    orders = [EpochSampler(len(DATA.shard(k, workers)), 7, k).indices(0, steps) for k in range(workers)]
    big = train.factory(seed=7)
    for step in range(steps):
        parts = [DATA.shard(k, workers)[orders[k][step]] for k in range(workers)]
        big.step({f.name: NDArray(np.concatenate([p[f.name].to_host() for p in parts])) for f in FIELDS})
    assert rounds[-1].weights.allclose(big.get_weights(), rtol=0, atol=1e-4)
    assert not rounds[0].weights.allclose(big.get_weights(), rtol=0, atol=1e-2)  # it did learn in between


@pytest.mark.parametrize("policy", ["average", "local", "reset"])
def test_three_rounds_and_three_more_from_the_checkpoint_are_six(train, tmp_path, policy):
    options = {"workers": 2, "tau": 5, "solver_state": policy}
    there = [r for rounds in (3, 6) for r in train(rounds=rounds, checkpoint=tmp_path / "kept", **options)]
    here = train(rounds=6, **options)
    assert [(r.index, r.weights, r.loss) for r in there] == [(r.index, r.weights, r.loss) for r in here]


def test_it_learns(write, tiny):
    make = CaffeNet.factory(solver=write(SOLVER, tiny.net_text), solver_overrides={"lr_policy": "fixed"})
    options = {"cluster": LocalCluster(), "workers": 2, "tau": 30, "rounds": 6, "seed": 7, "evaluate": (DATA, 6)}
    rounds = list(averaged_sgd(make, DATA, **options))
    assert rounds[-1].metrics["accuracy"] > 0.9
    assert rounds[-1].loss < rounds[0].loss / 2


def test_images_are_changed_as_the_prototxt_says_wherever_the_net_is_fed(write, tiny):
    images = RNG.integers(0, 256, (64, 1, 8, 8), np.uint8)
    fields = [Field("data", (1, 8, 8), "uint8"), Field("label", (), "int64")]
    data = pack({"data": images, "label": LABELS[:64]}, fields, 8)
    body = tiny.net_text[tiny.net_text.index('layer {\n  name: "conv1"') :]
    transform = "transform_param { crop_size: 6 mirror: true mean_value: 128 scale: 0.0078125 }"
    layer = f'layer {{ name: "in" type: "Data" top: "data" top: "label" data_param {{ batch_size: 8 }} {transform} }}\n'
    factory = CaffeNet.factory(write(SOLVER, layer + body), fields=fields)
    options = {"cluster": LocalCluster(), "workers": 2, "tau": 5, "rounds": 3, "seed": 7, "evaluate": (data, 3)}
    first, again = (list(averaged_sgd(factory, data, **options)) for _ in range(2))
    assert first[-1].weights == again[-1].weights
    assert first[-1].loss == again[-1].loss
    done = {"data": (images[..., 1:7, 1:7] - np.float32(128)) * np.float32(0.0078125), "label": LABELS[:64]}
    net = CaffeNet(write(SOLVER, tiny.net_text), seed=0)
    net.set_weights(first[-1].weights)
    losses = [float(net.forward({name: a[i : i + 8] for name, a in done.items()})["loss"]) for i in range(0, 64, 8)]
    assert first[-1].metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-12)


POOLED = """
layer { name: "data" type: "Input" top: "data" top: "label" input_param { shape { dim: 8 dim: 1 dim: 6 dim: 6 } shape { dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "conv2" type: "Convolution" bottom: "conv" top: "conv2"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "pool" type: "Pooling" bottom: "conv2" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def test_a_net_whose_max_pooling_refuses_nan_has_diverged_and_is_named_or_left_out(write):
    data = pack({"data": IMAGES.copy(), "label": LABELS}, FIELDS, 8)
    shard = data.shard(1, 2)
    for i in range(1, len(shard)):
        shard[i]["data"][...] = 1e38
    factory = CaffeNet.factory(solver=write('base_lr: 1 lr_policy: "fixed"', POOLED))
    options = {"cluster": LocalCluster(), "workers": 2, "tau": 6, "rounds": 1, "seed": 7}
    with pytest.raises(
        TrainingError, match=r"^round 0: worker 1: .*NaN or -inf in the input of max pooling layer 'pool'"
    ):
        list(averaged_sgd(factory, data, **options))
    (only,) = averaged_sgd(factory, data, on_nonfinite="leave_out", **options)
    assert only.workers == (0,)


def test_workers_in_processes_have_the_bits_of_workers_in_this_process(train):
    options = {"workers": 2, "tau": 7, "rounds": 4, "evaluate": (DATA, 2)}
    apart, here = (train(**options, cluster=LocalCluster(processes=count)) for count in (2, None))
    assert [r.weights for r in apart] == [r.weights for r in here]
    assert [(r.loss, r.metrics, r.steps) for r in apart] == [(r.loss, r.metrics, r.steps) for r in here]
