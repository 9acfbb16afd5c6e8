"""A padded batch teaches a net what its own rows do; where that cannot be, padding is refused."""

import numpy as np
import pytest

from sparknet import NDArray, NetError
from sparknet.data.ragged import even_batches, pad_batch
from sparknet.nets.caffe import CaffeNet

pytestmark = pytest.mark.caffe

SOLVER = 'base_lr: 0.05 lr_policy: "fixed" momentum: 0.9'
LOSS = 'bottom: "label" top: "loss" '
EUCLIDEAN = 'layer { name: "l2" type: "EuclideanLoss" bottom: "ip1" bottom: "target" top: "l2" }\n'
TARGET = 'layer { name: "target" type: "Input" top: "target" input_param { shape { dim: 8 dim: 5 } } }\n'
WEIGHT = 'layer { name: "weight" type: "Input" top: "weight" input_param { shape { dim: 8 dim: 5 } } }\n'
WEIGHTED = """
layer { name: "mine" type: "Eltwise" bottom: "ip1" bottom: "weight" top: "mine" eltwise_param { operation: PROD } }
layer { name: "aim" type: "Eltwise" bottom: "target" bottom: "weight" top: "aim" eltwise_param { operation: PROD } }
layer { name: "l2" type: "EuclideanLoss" bottom: "mine" bottom: "aim" top: "l2" }
"""


@pytest.fixture
def make(write, tiny):
    """A function that makes the tiny net with this loss_param, and these layers before and after it."""

    def make(loss_param="loss_param { ignore_label: -1 }", before="", after="", seed=1):
        text = tiny.net_text.replace(LOSS, LOSS + loss_param)
        return CaffeNet(write(SOLVER, before + text + after), seed=seed)

    return make


# The rows added have no part in the loss and a gradient of exactly 0. What is left is the order of float32 sums over
# the batch, about 2**-24 of the largest term for each of 8 rows, carried through 5 steps.
def close(a, b):
    return a.allclose(b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_a_padded_batch_is_a_step_on_its_own_rows(make, tiny, rows):
    padded, short = make(), make()
    assert padded.padding() == {"label": -1.0}
    for batch in [tiny.batch(rows) for _ in range(5)]:
        loss = padded.step(pad_batch(batch, 8, padded.padding()))
        assert loss == pytest.approx(short.step(batch), rel=1e-5)
    assert close(padded.get_weights(), short.get_weights())
    assert not close(padded.get_weights(), make().get_weights())


def test_targets_that_a_sigmoid_loss_ignores_are_padding_too(make, tiny):
    cross = EUCLIDEAN.replace("EuclideanLoss", "SigmoidCrossEntropyLoss").rstrip(" }\n")
    cross += " loss_param { ignore_label: -1 normalization: VALID } }"
    padded, short = (make(before=TARGET, after=cross) for _ in range(2))
    assert padded.padding() == {"label": -1.0, "target": -1.0}
    batch = {**tiny.batch(3), "target": NDArray(np.random.default_rng(0).integers(0, 2, size=(3, 5)))}
    assert padded.step(pad_batch(batch, 8, padded.padding())) == pytest.approx(short.step(batch), rel=1e-5)
    assert close(padded.get_weights(), short.get_weights())


def test_weight_zero_takes_padded_rows_out_of_a_loss_that_ignores_none(make, tiny):
    net = make(before=TARGET + WEIGHT, after=WEIGHTED)
    assert net.padding(weight="weight") == {"weight": 0.0, "label": -1.0}
    rng = np.random.default_rng(0)
    batch = {
        **tiny.batch(3),
        "target": NDArray(rng.normal(size=(3, 5))),
        "weight": NDArray(np.ones((3, 5), np.float32)),
    }
    [padded] = even_batches([batch], 8, "pad", net.padding(weight="weight"))
    short = make(before=TARGET + WEIGHT, after=WEIGHTED)
    net.step(padded)
    short.step(batch)
    # EuclideanLoss divides by the rows of the batch, padded or not; the other loss by those that count
    for each, count in ((net, 8), (short, 3)):
        each.l2 = float(each._net.blobs["l2"].data) * count
    assert net.l2 == pytest.approx(short.l2, rel=1e-5)
    assert net._net.blobs["loss"].data == pytest.approx(float(short._net.blobs["loss"].data), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"loss_param": ""}, r"layer 'loss' \(SoftmaxWithLoss\) counts every row, padded ones too. Give .*ignore_label: -1"),
        ({"loss_param": "loss_param { ignore_label: 0 normalize: false }"}, "layer 'loss' .* counts every row"),
        ({"loss_param": "loss_param { ignore_label: 0 normalization: FULL }"}, "layer 'loss' .* counts every row"),
        ({"before": TARGET, "after": EUCLIDEAN}, r"layer 'l2' \(EuclideanLoss\) counts every row"),
        ({"after": 'layer { name: "n" type: "BatchNorm" bottom: "ip1" top: "n" }'}, r"'n' \(BatchNorm\) mixes the rows"),
        ({"after": 'layer { name: "s" type: "Reduction" bottom: "ip1" top: "s" loss_weight: 1 }'}, "layer 's' .* counts"),
    ],
)  # fmt: skip
def test_nets_that_would_learn_from_the_padding_refuse_it(make, change, match):
    with pytest.raises(NetError, match=match):
        make(**change).padding()


def test_a_loss_that_has_no_weight_does_not_count(make):
    off = EUCLIDEAN.replace('top: "l2"', 'top: "l2" loss_weight: 0')
    assert make(before=TARGET, after=off).padding() == {"label": -1.0}
    valid = make(loss_param="loss_param { ignore_label: 255 normalization: VALID normalize: false }")
    assert valid.padding() == {"label": 255.0}


def test_a_weight_must_be_an_input_that_the_loss_depends_on(make):
    net = make(loss_param="", before=WEIGHT, after='layer { name: "s" type: "Silence" bottom: "weight" }')
    with pytest.raises(NetError, match="no input 'wheight' for weights; its inputs are weight, data, label"):
        net.padding(weight="wheight")
    with pytest.raises(NetError, match=r"layer 'loss' .* counts every row"):
        net.padding(weight="weight")
