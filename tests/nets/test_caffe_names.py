"""Layers with weights need names of their own; others share one, or have none, as in published nets."""

import numpy as np
import pytest

import sparknet
from sparknet import Field, LocalCluster, NDArray, NetError, averaged_sgd
from sparknet.data import pack
from sparknet.formats import convert
from sparknet.nets.caffe import CaffeNet

pytestmark = pytest.mark.caffe

NET = """
layer { name: "in" type: "Input" top: "data" top: "label" input_param { shape { dim: 8 dim: 6 } shape { dim: 8 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""
TWINS = """
layer { type: "ReLU" bottom: "fc" top: "fc" }
layer { type: "Power" bottom: "fc" top: "half" power_param { scale: 0.5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "entropy" loss_weight: 1 }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "half" bottom: "label" top: "again" loss_weight: 0.5 }
"""
RNG = np.random.default_rng(0)
COLUMNS = {"data": RNG.random((32, 6)).astype(np.float32), "label": np.arange(32) % 3}
BATCH = {"data": NDArray(COLUMNS["data"][:8]), "label": NDArray(COLUMNS["label"][:8])}
FIELDS = [Field("data", (6,)), Field("label", (), "int64")]


def text(net):
    return f'base_lr: 0.1 lr_policy: "fixed"\nnet_param {{ {net} }}'


def test_twins_without_weights_train_as_nets_with_other_names_do():
    apart = TWINS.replace('"loss"', '"first"', 1).replace('{ type: "ReLU"', '{ name: "relu" type: "ReLU"')
    apart = apart.replace('{ type: "Power"', '{ name: "power" type: "Power"')
    one, other = (CaffeNet(text(NET + more), seed=1) for more in (TWINS, apart))
    assert [one.step(BATCH) for _ in range(3)] == [other.step(BATCH) for _ in range(3)]
    assert one.get_weights() == other.get_weights()
    assert one.get_weights().keys() == {"fc"}


def test_twins_report_each_its_own_metric():
    factory = CaffeNet.factory(text(NET + TWINS))
    data = pack(COLUMNS, FIELDS, 8)
    rounds = averaged_sgd(factory, data, cluster=LocalCluster(), workers=2, tau=2, rounds=1, evaluate=(data, 1))
    metrics = next(iter(rounds)).metrics
    assert metrics.keys() == {"entropy", "again"}
    assert metrics["entropy"] != metrics["again"]


def test_losses_without_a_top_each_count():
    losses = 'layer { type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" }\n'
    square = 'layer { type: "EuclideanLoss" bottom: "fc" bottom: "fc" }\n'  # 0
    one, both = (CaffeNet(text(NET + more), seed=1) for more in (losses, losses + square))
    assert both.step(BATCH) == one.step(BATCH) > 0


WEIGHTS = 'layer {{ {} type: "InnerProduct" bottom: "data" top: "other" inner_product_param {{ num_output: 2 }} {} }}'


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (
            WEIGHTS.format('name: "fc"', ""),
            r"2 layers are called 'fc': InnerProduct \(top 'fc'\), InnerProduct \(top 'other'\); weights are kept by",
        ),
        (
            'layer { name: "fc" type: "ReLU" bottom: "fc" top: "fc" }',
            r"2 layers are called 'fc': .*ReLU.*so InnerProduct \(top 'fc'\) needs one of its own",
        ),
        (WEIGHTS.format("", ""), r"without a name has weights.*InnerProduct \(top 'other'\); give it a name"),
    ],
)
def test_a_layer_with_weights_needs_a_name_of_its_own(more, match):
    for make in (CaffeNet, CaffeNet.factory):
        with pytest.raises(NetError, match=match):
            make(text(NET + more))


def test_a_twin_in_the_test_phase_alone_shows_in_the_factory():
    with pytest.raises(NetError, match="2 layers are called 'fc'"):
        CaffeNet.factory(text(NET + 'layer { name: "fc" type: "ReLU" bottom: "fc" top: "r" include { phase: TEST } }'))


ODD = ["inception_3a/1x1", "a b", "Ω/ß.weights", "c:0", "..", "-", "x" * 300]


def test_odd_names_come_through_files_checkpoints_and_conversions(tmp_path):
    layers = "".join(
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "data" top: "t{i}" inner_product_param {{ num_output: 2 '
        f'weight_filler {{ type: "xavier" }} }} }} layer {{ type: "Silence" bottom: "t{i}" }}\n'
        for i, name in enumerate(ODD)
    )
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
    factory = CaffeNet.factory(text(NET + layers + loss))
    data = pack(COLUMNS, FIELDS, 8)
    rounds = averaged_sgd(
        factory, data, cluster=LocalCluster(), workers=2, tau=1, rounds=1, checkpoint=tmp_path / "checkpoint"
    )
    weights = next(iter(rounds)).weights
    assert list(weights) == ["fc", *ODD]
    net = factory()
    net.set_weights(weights)
    net.save_weights(tmp_path / "w.caffemodel")
    sparknet.save(tmp_path / "w.sparknet", weights)
    assert sparknet.load(tmp_path / "w.sparknet") == weights
    for suffix in ("safetensors", "npz"):
        convert(tmp_path / "w.caffemodel", tmp_path / f"w.{suffix}")
        convert(tmp_path / f"w.{suffix}", tmp_path / f"{suffix}.caffemodel")
        other = factory(seed=9)
        other.copy_trained_layers_from(tmp_path / f"{suffix}.caffemodel")
        assert other.get_weights() == weights


def test_a_loss_weight_of_a_blob_that_others_read_is_a_metric_by_its_name():
    weighted = NET.replace('top: "fc"\n', 'top: "fc" loss_weight: 0.5\n') + TWINS.replace(
        "{ type", '{ name: "n" type', 1
    )
    weighted = weighted.replace(
        'bottom: "fc" top: "fc"', 'bottom: "fc" top: "fc2"'
    )  # nothing in place: fc has 4 readers
    factory = CaffeNet.factory(text(weighted))
    data = pack(COLUMNS, FIELDS, 8)
    result = next(averaged_sgd(factory, data, cluster=LocalCluster(), workers=1, tau=1, rounds=1, evaluate=(data, 1)))
    net = factory()
    net.set_weights(result.weights)
    whole = net.forward({name: NDArray(column) for name, column in COLUMNS.items()})
    assert set(whole) == {"fc", "fc2", "entropy", "again"}
    assert result.metrics["fc"] == pytest.approx(float(whole["fc"].to_host().sum()) / len(COLUMNS["label"]), rel=1e-4)
