"""iter_size: a step of several passes has the bits of Caffe's own, and what cannot be parted is refused."""

import caffe
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import Field, LocalCluster, NDArray, averaged_sgd
from sparknet.data import pack
from sparknet.errors import DataError, NetError
from sparknet.nets.caffe import CaffeNet, data_layer, feeding
from sparknet.nets.caffe.passes import parts_of

pytestmark = pytest.mark.caffe

SGD = 'base_lr: 0.05 lr_policy: "step" gamma: 0.5 stepsize: 3 momentum: 0.9 weight_decay: 0.01'
SOLVERS = {
    "SGD": SGD,
    "clipped": SGD + " clip_gradients: 0.1",
    "Nesterov": SGD + ' type: "Nesterov"',
    "multistep": 'base_lr: 0.05 lr_policy: "multistep" gamma: 0.1 stepvalue: 1 stepvalue: 3 momentum: 0.9',
    "Adam": 'base_lr: 0.01 lr_policy: "exp" gamma: 0.9 type: "Adam" momentum: 0.9 momentum2: 0.999 weight_decay: 0.01',
    "AdaDelta": 'base_lr: 1 lr_policy: "fixed" type: "AdaDelta" momentum: 0.9 delta: 1e-6',
    "RMSProp": 'base_lr: 0.01 lr_policy: "inv" gamma: 0.1 power: 0.75 type: "RMSProp" rms_decay: 0.9',
}
NORM = """
layer { name: "norm" type: "BatchNorm" bottom: "data" top: "norm" batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "drop" type: "Dropout" bottom: "norm" top: "drop" dropout_param { dropout_ratio: 0.4 } }
"""


def rdd_layer(rows):
    net = caffe.NetSpec()
    net.data, net.label = data_layer([Field("data", (1, 6, 6)), Field("label")], rows)
    return str(net.to_proto())


@pytest.fixture
def text(body):
    """The tiny net, normalised and with dropout, fed by an RDDDataLayer of 4 rows."""
    return rdd_layer(4) + NORM + body.replace('bottom: "data"', 'bottom: "drop"')


def caffes_own(solver_file, batches, steps):
    """Train with ``solver.step`` of pycaffe, which asks the layer for 4 rows in each pass; return the weights."""
    parts = [{k: v[i : i + 4] for k, v in batch.items()} for batch in batches for i in range(0, 12, 4)]
    solver = caffe.get_solver(str(solver_file))
    caffe.set_random_seed(3)
    with feeding(solver, parts):
        solver.step(steps)
    return {name: [blob.data.copy() for blob in blobs] for name, blobs in solver.net.params.items()}


@pytest.mark.parametrize("kind", SOLVERS)
def test_a_step_in_passes_has_the_bits_of_caffes_own(kind, text, write, tiny, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = write(SOLVERS[kind] + " iter_size: 3 random_seed: 3", text)
    # one generator for the whole run, as Caffe has it; a CaffeNet seeds it anew in each step
    net = CaffeNet(path, seed=3)
    caffe.set_random_seed(3)
    monkeypatch.setattr(net, "_set_generator", lambda: None)
    batches = [tiny.batch(12) for _ in range(6)]
    for batch in batches:
        net.step(batch)
    expected = caffes_own(path, batches, 6)
    assert net.iteration == 6
    assert (net.passes, net.input_shapes["data"][0]) == (3, 4)
    for name, blobs in net.get_weights().items():
        assert all(np.array_equal(a.to_host(), b) for a, b in zip(blobs, expected[name], strict=True)), name


def test_the_loss_is_the_mean_of_the_passes_and_the_memory_that_of_one(write, tiny):
    passes, whole = (CaffeNet(write(f"{SGD} {more}", tiny.net_text), seed=1) for more in ("iter_size: 4", ""))
    batch = tiny.batch(32)
    losses = [whole.forward({k: v[i : i + 8] for k, v in batch.items()})["loss"].to_host() for i in range(0, 32, 8)]
    assert passes.step(batch) == pytest.approx(float(np.mean(losses, dtype=np.float64)), rel=1e-6)
    assert {name: blob.shape[0] for name, blob in passes._net.blobs.items() if blob.shape} == dict.fromkeys(
        (name for name, blob in whole._net.blobs.items() if blob.shape), 8
    )
    # without normalisation by the batch's other rows, four passes of 8 are one of 32 up to rounding
    whole.step(batch)
    assert passes.get_weights().allclose(whole.get_weights(), rtol=0, atol=1e-6)


def test_a_state_taken_between_steps_goes_on_with_the_same_bits(write, tiny):
    path = write(SOLVERS["multistep"] + " iter_size: 2", tiny.net_text)
    one, two = CaffeNet(path, seed=1), CaffeNet(path, seed=2)
    for batch in tiny.batches[:3]:
        one.step(batch)
    two.set_weights(one.get_weights())
    two.set_state(one.get_state())
    two.reseed(1)
    for batch in tiny.batches[3:6]:
        one.step(batch)
        two.step(batch)
    assert one.get_weights() == two.get_weights()
    assert one.iteration == two.iteration == 6


@pytest.mark.parametrize("rows", [3, 13])
def test_rows_that_make_no_equal_passes_are_refused_with_the_fix(write, tiny, rows):
    net = CaffeNet(write(SGD + " iter_size: 2", tiny.net_text), seed=1)
    before = net.get_weights()
    with pytest.raises(DataError, match=rf"got a batch of {rows} rows, expected a multiple of 2: .*ragged='drop'"):
        net.step(tiny.batch(rows))
    assert net.get_weights() == before
    assert net.step(tiny.batch(6)) > 0  # any multiple will do


def test_a_batch_that_is_refused_in_its_last_pass_leaves_the_net_as_it_was(write, tiny, text):
    net = CaffeNet(write(SGD + " iter_size: 4", text), seed=1)
    net.step(tiny.batch(16))
    before = net.get_weights()  # BatchNorm's statistics among them, which a forward pass changes
    batch = tiny.batch(16)
    labels = batch["label"].to_host()
    labels[15] = 7
    with pytest.raises(DataError, match="got the label 7"):
        net.step(batch)
    assert net.get_weights() == before
    assert net.iteration == 1


def test_padding_is_refused_because_passes_count_equally(write, tiny):
    text = tiny.net_text.replace(
        'bottom: "label" top: "loss" ', 'bottom: "label" top: "loss" loss_param { ignore_label: -1 }'
    )
    with pytest.raises(NetError, match="iter_size is 2, and passes count equally in a step"):
        CaffeNet(write(SGD + " iter_size: 2", text)).padding()


def test_averaging_over_one_worker_is_the_solver_itself(write, tiny):
    path = write(SGD + " iter_size: 4", tiny.net_text)
    batch = tiny.batch(96)
    data = pack({k: v.to_host() for k, v in batch.items()}, [Field("data", (1, 6, 6)), Field("label", (), "int64")], 32)
    factory = CaffeNet.factory(path)
    *_, last = averaged_sgd(factory, data, cluster=LocalCluster(), tau=3, rounds=2, seed=5)
    net = factory(seed=5)
    from sparknet.worker import Task, train_round

    for first in (0, 3):
        done = train_round(net, data.shard(0, 1), Task(0, 3, first, 3, 5), net.get_weights(), net.get_state())
    assert done.weights == last.weights
    assert last.examples == 96
    assert net.iteration == 6


def test_minibatches_of_other_rows_than_the_net_declares_for_its_passes_are_told(write, tiny, caplog):
    factory = CaffeNet.factory(write(SGD + " iter_size: 4", tiny.net_text))
    batch = {name: column.to_host() for name, column in tiny.batch(32).items()}
    fields = [Field("data", (1, 6, 6)), Field("label", (), "int64")]
    for size in (32, 8):
        next(averaged_sgd(factory, pack(batch, fields, size), cluster=LocalCluster(), tau=1))
    assert caplog.messages == [
        "iter_size 4: minibatches of 8 rows are taken in passes of 2; the net declares 8 for a pass, so 32 for a step"
    ]


@given(passes=st.integers(1, 5), each=st.integers(1, 5))
def test_parts_are_the_rows_in_order(passes, each):
    rows = np.arange(passes * each)
    parts = parts_of({"x": NDArray(rows), "y": NDArray(-rows)}, len(rows), passes)
    assert [len(part["x"]) for part in parts] == [each] * passes
    assert np.array_equal(np.concatenate([part["y"].to_host() for part in parts]), -rows)
