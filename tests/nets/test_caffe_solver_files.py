"""What a solver says of tests, display and files: several test nets are one, or refused; what has no effect is said."""

import logging

import numpy as np
import pytest

from sparknet import Field, NDArray, NetError
from sparknet.nets.caffe import CaffeNet

pytestmark = pytest.mark.caffe

# The shape of BVLC's autoencoder: the test net twice, on other data, and two losses of one name.
DATA = (
    'layer {{ name: "data" type: "Data" top: "data" include {{ {} }} data_param {{ source: "{}" batch_size: {} }} }}\n'
)
NET = (
    DATA.format("phase: TRAIN", "train", 10)
    + DATA.format('phase: TEST stage: "test-on-train"', "train", 20)
    + DATA.format('phase: TEST stage: "test-on-test"', "test", 30)
    + """
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "fc" bottom: "data" top: "entropy" loss_weight: 1 }
layer { name: "sig" type: "Sigmoid" bottom: "fc" top: "sig" }
layer { name: "loss" type: "EuclideanLoss" bottom: "sig" bottom: "data" top: "error" loss_weight: 0 }
"""
)
STATES = 'test_state { stage: "test-on-train" } test_iter: 500 test_state { stage: "test-on-test" } test_iter: 100 test_interval: 9'
BATCH = {"data": NDArray(np.random.default_rng(0).random((10, 6)).astype(np.float32))}
RATE = 'base_lr: 0.1 lr_policy: "fixed"'


def made(solver, net=NET, **options):
    return CaffeNet(f"{RATE} {solver}\nnet_param {{ {net} }}", fields=[Field("data", (6,))], seed=1, **options)


def test_test_nets_that_differ_in_what_they_read_are_one(caplog):
    with caplog.at_level(logging.INFO):
        net = made(STATES)
    assert "the 2 test nets of the solver differ only in what they read" in caplog.text
    assert net.step(BATCH) > 0
    assert list(net.forward(BATCH)) == ["entropy", "error"]


EXTRA = 'layer { name: "x" type: "Silence" bottom: "sig" include { stage: "test-on-test" } }'
ONE_DATA = DATA.format("", "any", 10)


@pytest.mark.parametrize(
    ("solver", "net", "match"),
    [
        (
            STATES,
            NET + EXTRA,
            r"has 2 test nets, and they differ: only one has the layer 'x' \(test_state 'test-on-test'\)",
        ),
        (
            STATES,
            NET.replace('"test" batch_size: 30 }', '"test" batch_size: 30 } transform_param { scale: 2 }'),
            "in what happens to their values",
        ),
        (
            STATES.replace("test_iter: 100", "").replace('test_state { stage: "test-on-test" }', "test_iter: 1"),
            NET,
            "1 test_state for 2 test nets; expected one for each",
        ),
        (
            'test_net_param { layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 1 } } } } test_iter: [1, 1]',
            ONE_DATA + NET[NET.index("\nlayer") :],
            "they differ: only one has the layers",
        ),
    ],
)
def test_test_nets_that_differ_are_refused(solver, net, match):
    with pytest.raises(NetError, match=match):
        made(solver, net)


def test_one_of_several_can_be_chosen():
    more = NET + EXTRA
    net = made(STATES, more, solver_overrides={"test_state": [{"stage": ["test-on-test"]}], "test_iter": [1]})
    assert list(net.forward(BATCH)) == ["entropy", "error"]


def test_what_of_a_solver_has_no_effect_is_said_once(caplog):
    with caplog.at_level(logging.INFO):
        made(
            'max_iter: 9 display: 3 average_loss: 2 test_initialization: false snapshot: 5 snapshot_prefix: "x" random_seed: 3 '
            "test_iter: 1 test_interval: 7 debug_info: true solver_mode: GPU weight_decay: 0.1",
            ONE_DATA + NET[NET.index("\nlayer") :] + "debug_info: true",
        )
    said = [record.getMessage() for record in caplog.records]
    assert any(
        text.startswith("solver: without effect here: ")
        and {*text.partition("here: ")[2].partition(" (")[0].split(", ")}
        == {
            *(
                "max_iter",
                "display",
                "average_loss",
                "test_initialization",
                "snapshot",
                "snapshot_prefix",
                "random_seed",
            ),
            *("test_iter", "test_interval", "debug_info"),
        }
        for text in said
    )
    assert "solver: solver_mode GPU: the net runs on the CPU" in said
    assert "debug_info of the net: without effect here" in said
    assert len(said) == len(set(said))


def test_max_iter_has_an_effect_on_a_policy_that_computes_with_it(caplog):
    with caplog.at_level(logging.INFO):
        net = 'layer { type: "Input" top: "x" input_param { shape { dim: 1 } } }'
        CaffeNet(f'base_lr: 0.1 lr_policy: "poly" power: 1 max_iter: 9\nnet_param {{ {net} }}')
    assert not caplog.text


def test_the_old_and_the_new_type_of_a_solver_together_are_refused_as_in_caffe():
    with pytest.raises(NetError, match="got type 'Adam' and the old solver_type"):
        made('type: "Adam" solver_type: SGD', ONE_DATA + NET[NET.index("\nlayer") :])
