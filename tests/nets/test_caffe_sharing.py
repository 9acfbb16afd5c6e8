"""Layers of the test phase alone: with a training layer's weights by name, or refused where nothing trains theirs."""

import numpy as np
import pytest

from sparknet import Field, LocalCluster, NDArray, NetError, averaged_sgd
from sparknet.data import pack
from sparknet.nets.caffe import CaffeNet

pytestmark = pytest.mark.caffe

NET = """
layer { name: "in" type: "Input" top: "data" top: "label" input_param { shape { dim: 8 dim: 6 } shape { dim: 8 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
ALONE = """
layer {{ name: "again" type: "InnerProduct" bottom: "data" top: "again" {param}
        inner_product_param {{ num_output: {outputs} {filler} }} include {{ phase: TEST }} }}
"""
SHARED = 'param { name: "w" } param { name: "b" }'
XAVIER = 'weight_filler { type: "xavier" }'
RNG = np.random.default_rng(0)
COLUMNS = {"data": RNG.random((32, 6)).astype(np.float32), "label": np.arange(32) % 3}
BATCH = {"data": NDArray(COLUMNS["data"][:8]), "label": NDArray(COLUMNS["label"][:8])}


def text(more="", net=NET):
    return f'base_lr: 0.1 lr_policy: "fixed"\nnet_param {{ {net} {more} }}'


def alone(param=SHARED, outputs=3, filler=XAVIER):
    return ALONE.format(param=param, outputs=outputs, filler=filler)


def test_a_test_layer_that_shares_by_name_follows_the_training_layer():
    net = CaffeNet(text(alone()), seed=1)
    for _ in range(3):
        out = net.forward(BATCH, ["fc", "again"])
        assert out["fc"].to_host().any()
        assert (out["fc"].to_host() == out["again"].to_host()).all()
        net.step(BATCH)
    net.set_weights(net.get_weights() * 2.0)
    out = net.forward(BATCH, ["fc", "again"])
    assert (out["fc"].to_host() == out["again"].to_host()).all()
    assert net.get_weights().keys() == {"fc"}


def test_it_is_so_in_the_rounds_of_a_training_too():
    error = (
        'layer { name: "far" type: "EuclideanLoss" bottom: "fc" bottom: "again" top: "far" include { phase: TEST } }'
    )
    data = pack(COLUMNS, [Field("data", (6,)), Field("label", (), "int64")], 8)
    factory = CaffeNet.factory(text(alone() + error))
    rounds = averaged_sgd(factory, data, cluster=LocalCluster(), workers=2, tau=2, rounds=2, evaluate=(data, 1))
    assert [each.metrics["far"] for each in rounds] == [0, 0]


def apart():
    """The net with its layer under another name in each phase."""
    train = NET.replace('"fc" type', '"fc_train" type').replace(
        '"xavier" } } }', '"xavier" } } include { phase: TRAIN } }'
    )
    test = (
        ALONE.format(param=SHARED, outputs=3, filler=XAVIER)
        .replace('"again"', '"fc_test"', 1)
        .replace('"again"', '"fc"')
    )
    head, loss = train.split('layer { name: "loss"')
    return head + test + 'layer { name: "loss"' + loss


def test_layers_of_two_names_one_a_phase_share_by_the_names_of_their_weights():
    one, same = CaffeNet(text(net=apart()), seed=1), CaffeNet(text(), seed=1)
    for _ in range(3):
        assert one.step(BATCH) == same.step(BATCH)
        assert (one.forward(BATCH)["loss"].to_host() == same.forward(BATCH)["loss"].to_host()).all()
    assert one.get_weights().keys() == {"fc_train"}


def test_weights_of_another_shape_are_refused_unless_permissive():
    with pytest.raises(
        NetError,
        match=r"'fc_test', of the TEST phase alone, shares the weights 'w', of shape \(3, 6\); it needs \(4, 6\)",
    ):
        CaffeNet.factory(
            text(net=apart().replace("num_output: 3", "num_output: 4").replace("num_output: 4", "num_output: 3", 1))
        )
    turned = alone('param { name: "w" share_mode: PERMISSIVE }', 3).replace("bias", "x")
    turned = turned.replace("num_output: 3", "num_output: 3 bias_term: false transpose: true")
    net = CaffeNet(text(turned), seed=1)
    weights = net.get_weights()["fc"][0].to_host().reshape(6, 3)
    assert np.allclose(net.forward(BATCH, ["again"])["again"].to_host(), COLUMNS["data"][:8] @ weights, atol=1e-6)


@pytest.mark.parametrize("param", ["", 'param { name: "w" }', 'param { name: "other" } param { name: "b" }'])
def test_random_weights_that_no_step_trains_are_refused(param):
    with pytest.raises(
        NetError, match=r"'again' .InnerProduct. is in the TEST phase alone and has weights of its own.*share that"
    ):
        CaffeNet.factory(text(alone(param, filler=XAVIER + ' bias_filler { type: "uniform" }')))


def test_weights_that_their_filler_makes_the_same_everywhere_pass_and_are_said(caplog):
    net = CaffeNet(text(alone("", filler='weight_filler { type: "constant" value: 2 }')), seed=1)
    out = net.forward(BATCH, ["again"])["again"].to_host()
    assert np.allclose(out, 2 * COLUMNS["data"][:8].sum(1, keepdims=True), atol=1e-5)
    assert "'again' (InnerProduct) is in the TEST phase alone" in caplog.text
    assert "they stay as its filler makes them" in caplog.text


def test_layers_of_the_training_phase_alone_are_trained_and_kept():
    more = 'layer { name: "extra" type: "InnerProduct" bottom: "data" top: "extra" include { phase: TRAIN } inner_product_param '
    more += f'{{ num_output: 3 {XAVIER} }} }}\nlayer {{ name: "aux" type: "SoftmaxWithLoss" bottom: "extra" bottom: "label" '
    net = CaffeNet(text(more + 'top: "aux" include { phase: TRAIN } }'), seed=1)
    before = net.get_weights()
    net.step(BATCH)
    assert (net.get_weights()["extra"][0].to_host() != before["extra"][0].to_host()).any()
    assert list(net.forward(BATCH)) == ["loss"]
