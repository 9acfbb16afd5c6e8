"""Weights that stand in a prototxt itself, as `blobs { ... }` of a layer: used as newest BVLC Caffe does, or refused."""

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

pytestmark = pytest.mark.caffe

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'


@pytest.fixture
def net_of(tmp_path):
    """Return a function that makes a net of its text."""

    def make(text):
        (tmp_path / "any.prototxt").write_text(text)
        return caffe.Net(str(tmp_path / "any.prototxt"), caffe.TRAIN)

    return make


def blobs(*arrays):
    """Return the text of blobs."""
    messages = [
        caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=np.shape(array)), data=np.ravel(array)) for array in arrays
    ]
    return text_format.MessageToString(caffe_pb2.LayerParameter(blobs=messages))


def scale(bias, *given):
    """Return the text of a net that scales its input, with the blobs given."""
    layer = f'name: "s" type: "Scale" bottom: "x" top: "s" loss_weight: 7 scale_param {{ bias_term: {bias} }}'
    return f"{INPUT} layer {{ {layer} {blobs(*given)} }}"


# The values are what newest BVLC Caffe computes for x = (1, 2); it takes a scale that stands alone for the bias, too.
@pytest.mark.parametrize(
    ("bias", "given", "expected"),
    [
        pytest.param("true", [(2, 3), (10, 20)], (12, 26), id="scale and bias"),
        pytest.param("true", [(2, 3)], (4, 9), id="scale alone"),
        pytest.param("true", [(2, 3), (10, 20), (5, 5)], (7, 11), id="a blob too many"),
        pytest.param("false", [(2, 3), (10, 20)], (2, 6), id="a bias that is not asked for"),
    ],
)
def test_a_scale_layer_uses_the_blobs_of_its_prototxt(net_of, bias, given, expected):
    net = net_of(scale(bias, *given))
    net.blobs["x"].data[...] = (1, 2)
    assert net.forward()["s"].tolist() == [list(expected)]


def test_the_bias_of_a_prototxt_is_trained_and_saved(net_of, tmp_path):
    net = net_of(scale("true", (2, 3), (10, 20)))
    net.forward()
    net.backward()
    assert net.params["s"][1].diff.tolist() == [7, 7]
    net.params["s"][1].data[...] = 1
    assert net.forward()["s"].tolist() == [[1, 1]]
    net.save(str(tmp_path / "w"))
    other = net_of(scale("true"))
    other.copy_from(str(tmp_path / "w"))
    assert other.params["s"][1].data.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("layer", "given", "message"),
    [
        pytest.param("InnerProduct", [(1, 2)], "blobs of the InnerProduct", id="InnerProduct without its bias"),
        pytest.param("InnerProduct", [(1, 2, 3), (1,)], "weights of the InnerProduct", id="InnerProduct too large"),
        pytest.param("InnerProduct", [(1, 2), (1, 2)], "bias of the InnerProduct", id="InnerProduct, a long bias"),
        pytest.param("Embed", [(1, 2)], "blobs of the Embed", id="Embed without its bias"),
        pytest.param("Embed", [(1,), (1,)], "weights of the Embed", id="Embed too small"),
        pytest.param("BatchNorm", [(1, 2)], "blobs of the BatchNorm", id="BatchNorm, the mean alone"),
        pytest.param("BatchNorm", [(1, 2), (1,), (1,)], "blob 1 of the BatchNorm", id="BatchNorm, a short variance"),
        pytest.param("PReLU", [(1, 2, 3)], "inconsistent with prototxt", id="PReLU too large"),
        pytest.param("Bias", [(1, 2, 3)], "dimension mismatch", id="Bias too large"),
        pytest.param("Scale", [(1,)], "dimension mismatch", id="Scale too small"),
        pytest.param(
            "Convolution", [np.ones((1, 1, 1, 1))], "Incorrect number of weight blobs", id="Convolution, no bias"
        ),
    ],
)
def test_blobs_of_another_number_or_size_raise(net_of, layer, given, message):
    settings = {
        "InnerProduct": "inner_product_param { num_output: 1 }",
        "Embed": "embed_param { num_output: 1 input_dim: 2 }",
        "Convolution": "convolution_param { num_output: 1 kernel_size: 1 }",
    }.get(layer, "")
    text = INPUT if layer != "Convolution" else INPUT.replace("dim: 2", "dim: 1 dim: 1 dim: 1")
    with pytest.raises(RuntimeError, match=message):
        net_of(f'{text} layer {{ name: "n" type: "{layer}" bottom: "x" top: "n" {settings} {blobs(*given)} }}')


def test_a_recurrent_layer_refuses_blobs_in_its_prototxt(net_of):
    text = INPUT.replace("dim: 2", "dim: 1 dim: 2") + INPUT.replace('"x"', '"on"').replace(
        "dim: 1 dim: 2", "dim: 1 dim: 1"
    )
    layer = f'type: "RNN" bottom: "x" bottom: "on" top: "r" recurrent_param {{ num_output: 1 }} {blobs((1, 2))}'
    with pytest.raises(RuntimeError, match="RNN layer: blobs in the prototxt are not read; use copy_from"):
        net_of(f"{text} layer {{ {layer} }}")
