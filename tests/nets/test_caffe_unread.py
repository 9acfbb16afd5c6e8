"""Parameters that a layer has for another type of layer are ignored by Caffe, and said to be."""

import logging

import pytest

from sparknet.nets.caffe import CaffeNet
from sparknet.nets.caffe.runtime import load, messages
from sparknet.nets.caffe.unread import note_unread

pytestmark = pytest.mark.caffe

NET = """
layer {{ name: "in" type: "Input" top: "x" top: "y" input_param {{ shape {{ dim: 2 dim: 3 }} shape {{ dim: 2 {} }} }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param {{ num_output: 3 }} {} }}
layer {{ name: "l" type: "{}" bottom: "ip" bottom: "y" top: "l" {} }}
"""


def said(caplog, *parts):
    """Return what is logged when a net of these parts is made."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        CaffeNet(f'base_lr: 0.1 lr_policy: "fixed" net_param {{ {NET.format(*parts)} }}')
    return [record.getMessage() for record in caplog.records if "without effect, as in Caffe" in record.getMessage()]


def fill(message):
    """Set the first field of a message."""
    first = message.DESCRIPTOR.fields[0]
    if isinstance(getattr(message, first.name), int | float | str):
        setattr(message, first.name, first.default_value)
    elif hasattr(getattr(message, first.name), "add"):
        getattr(message, first.name).add()
    elif hasattr(getattr(message, first.name), "append"):
        getattr(message, first.name).append(1)
    else:
        getattr(message, first.name).SetInParent()


def test_a_loss_that_does_not_read_its_loss_param_is_named_once(caplog):
    readers = "it is read by InfogainLoss, SigmoidCrossEntropyLoss, SoftmaxWithLoss"
    assert said(caplog, "", "", "HingeLoss", "loss_param { ignore_label: 0 normalization: FULL }") == [
        f"layer 'l' (HingeLoss): ignore_label, normalization in loss_param without effect, as in Caffe: {readers}"
    ]


def test_parameters_of_another_type_are_named(caplog):
    [text] = said(caplog, "", "convolution_param { group: 2 }", "SoftmaxWithLoss", "")
    assert text.startswith("layer 'ip' (InnerProduct): group in convolution_param without effect")
    assert text.endswith("it is read by Convolution, Deconvolution, Im2col")


@pytest.mark.parametrize(
    ("targets", "kind", "param"),
    [
        ("", "SoftmaxWithLoss", "loss_param { ignore_label: 0 } softmax_param { axis: 1 }"),
        ("dim: 3", "SigmoidCrossEntropyLoss", "loss_param { normalization: FULL }"),
        ("", "HingeLoss", "hinge_loss_param { norm: L2 } loss_param { }"),
    ],
)
def test_what_is_read_or_empty_is_not_named(caplog, targets, kind, param):
    assert said(caplog, targets, "", kind, param) == []


def read_by_their_type():
    """Return each field of LayerParameter that is a type's own, with a type that reads it."""
    several = {"Convolution": "Im2col", "Loss": "InfogainLoss", "Recurrent": "RNN"}
    fields = [one for one in messages().LayerParameter.DESCRIPTOR.fields if one.name.endswith("_param")]
    kinds = {one.name: one.message_type.name.removesuffix("Parameter") for one in fields}
    of_data_layers = ("transform_param", "image_data_param", "window_data_param")  # which are Input layers by then
    return {name: several.get(kind, kind) for name, kind in kinds.items() if name not in of_data_layers}


def test_no_type_of_layer_is_told_that_its_own_parameters_have_no_effect(caplog):
    own = read_by_their_type()
    assert set(own.values()) <= set(load().layer_type_list())
    with caplog.at_level(logging.INFO):
        for name, kind in own.items():
            layer = messages().LayerParameter(name="l", type=kind)
            fill(getattr(layer, name))
            note_unread(layer)
            assert not caplog.records
            layer.type = "AbsVal"  # which has no parameters
            note_unread(layer)
            assert f"in {name} without effect" in caplog.text
            caplog.clear()
