"""Numbers that Caffe's int does not hold are refused, by layer and field, before Caffe is called; it took others for them."""

import numpy as np
import pytest

from sparknet import Field, NDArray, NetError
from sparknet.nets.caffe import CaffeNet
from sparknet.nets.caffe import making as caffe_making

pytestmark = pytest.mark.caffe

SOLVER = 'base_lr: 0.1 lr_policy: "fixed" net_param {{ {} }}'
INPUT = 'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {} }} }} }}'


def dims(*lengths):
    return " ".join(f"dim: {length}" for length in lengths)


def net_of(layer, *shape):
    return SOLVER.format(INPUT.format(dims(*(shape or (4, 3, 8, 8)))) + layer)


def layer_of(kind, param):
    return f'layer {{ name: "x" type: "{kind}" bottom: "data" top: "x" {param} }}'


@pytest.fixture
def no_caffe(monkeypatch):
    """Fails where Caffe would make a net."""
    monkeypatch.setattr(caffe_making, "load", lambda: pytest.fail("Caffe was called"))


INT = "expected at most 2147483647, Caffe's largest int"
REFUSED = {
    ("Convolution", "convolution_param { num_output: 4294967295 kernel_size: 1 }"): f"num_output is 4294967295: {INT}",
    ("Convolution", "convolution_param { num_output: 1 kernel_h: 4294967295 kernel_w: 1 }"): f"kernel_h is 4294967295: {INT}",
    ("Convolution", "convolution_param { num_output: 1 kernel_size: 1 group: 4294967295 }"): f"group is 4294967295: {INT}",
    ("Convolution", "convolution_param { num_output: 1 kernel_size: 1 pad: 2147483647 }"): "pad is 2147483647: expected less",
    ("Convolution", "convolution_param { num_output: 1 kernel_size: 65537 dilation: 65536 }"): "convolution_param is 4294967297",
    ("Deconvolution", "convolution_param { num_output: 1 kernel_size: 1 stride: 4294967295 }"): f"stride is 4294967295: {INT}",
    ("Im2col", "convolution_param { kernel_size: 1 dilation: 4294967295 }"): f"dilation is 4294967295: {INT}",
    ("Pooling", "pooling_param { kernel_size: 1 stride_w: 4294967295 stride_h: 1 }"): f"stride_w is 4294967295: {INT}",
    ("Pooling", "pooling_param { kernel_size: 1 pad_h: 2147483647 }"): "pooling_param.pad is 2147483647: expected less",
    ("InnerProduct", "inner_product_param { num_output: 4294967295 }"): f"num_output is 4294967295: {INT}",
    ("Embed", "embed_param { num_output: 2 input_dim: 4294967295 }"): f"embed_param.input_dim is 4294967295: {INT}",
    ("LRN", "lrn_param { local_size: 4294967295 }"): f"local_size is 4294967295: {INT}",
    ("Slice", "slice_param { slice_point: 1 slice_point: 4294967295 }"): f"slice_point is 4294967295: {INT}",
    ("LSTM", "recurrent_param { num_output: 1073741825 }"): "num_output is 1073741825: expected at most 536870911",
    ("SPP", "spp_param { pyramid_height: 4000000 pool: MAX }"): "pyramid_height is 4000000: expected at most 31",
    ("Reshape", "reshape_param { shape { dim: 4294967300 dim: -1 } }"): f"reshape_param.shape.dim is 4294967300: {INT}",
    ("Reshape", "reshape_param { shape { dim: -4294967292 dim: -1 } }"): "shape.dim is -4294967292",
    ("Reshape", "reshape_param { shape { dim: 65536 dim: 65536 dim: -1 } }"): "4294967296 values, expected at most 2147483647",
    ("DummyData", "dummy_data_param { shape { dim: 4294967297 } }"): f"dummy_data_param.shape.dim is 4294967297: {INT}",
    ("DummyData", "dummy_data_param { num: 4294967295 channels: 1 height: 1 width: 1 }"): f"num is 4294967295: {INT}",
    ("Parameter", "parameter_param { shape { dim: 9223372036854775807 } }"): f"shape.dim is 9223372036854775807: {INT}",
    ("InnerProduct", "inner_product_param { num_output: 1 } blobs { shape { dim: 4294967297 } }"): f"blobs.shape.dim is 4294967297: {INT}",
}  # fmt: skip


@pytest.mark.usefixtures("no_caffe")
@pytest.mark.parametrize(("kind", "param"), REFUSED)
def test_a_number_of_a_layer_is_refused_by_its_field(kind, param):
    with pytest.raises(NetError) as caught:
        CaffeNet(net_of(layer_of(kind, param)))
    assert "layer 'x': " in str(caught.value)
    assert REFUSED[kind, param] in str(caught.value)
    assert caught.value.layer == "x"


@pytest.mark.usefixtures("no_caffe")
def test_a_number_of_more_than_32_bits_is_refused_where_it_is_read():
    with pytest.raises(NetError, match=r"solver:1:\d+: .*Value out of range: 4294967297"):
        CaffeNet(net_of(layer_of("LRN", "lrn_param { local_size: 4294967297 }")))


@pytest.mark.usefixtures("no_caffe")
@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ((4294967300, 3), f"the shape of an input is 4294967300: {INT}"),
        ((4, 1 << 31), f"the shape of an input is 2147483648: {INT}"),
        ((65536, 32768), "the shape of an input is (65536, 32768): 2147483648 values"),
        ((65536, 65536, 1), "(65536, 65536, 1): 4294967296 values, expected at most 2147483647"),
    ],
)
def test_shapes_of_inputs_are_refused_however_they_are_written(lengths, text):
    old = "".join(f" dim: {length}" for length in lengths)
    written = [
        INPUT.format(dims(*lengths)),
        f'input: "data" input_shape {{ {old} }}',
        'layer { name: "data" type: "MemoryData" top: "data" top: "label" memory_data_param { batch_size: 1 } }',
    ]  # fmt: skip
    fields = [None, None, [Field("data", lengths[1:], "float32"), Field("label", (), "float32")]]
    for net, given in zip(written, fields, strict=True):
        with pytest.raises(NetError) as caught:
            CaffeNet(SOLVER.format(net + layer_of("ReLU", "")), fields=given, batch_size=lengths[0] if given else None)
        assert text in str(caught.value)


def test_a_product_that_caffe_computes_in_int_is_refused_before_the_layer_writes_behind_its_memory():
    tile = "tile_param {{ axis: {} tiles: {} }}"
    with pytest.raises(
        NetError, match=r"layer 'x': tile_param\.tiles is 65537: a blob of shape \(1, 65536\) cannot be had"
    ):
        CaffeNet(net_of(layer_of("Tile", tile.format(1, 65537)), 1, 65536))
    net = CaffeNet(net_of(layer_of("Tile", tile.format(0, 1 << 20)), 1, 1))
    assert net.forward({"data": NDArray(np.ones((1, 1), "f4"))}, ["x"])["x"].shape == (1 << 20, 1)
    with pytest.raises(NetError, match=r"tiles is 1048576: a blob of shape \(4097, 1\) cannot be had so often"):
        net.forward({"data": NDArray(np.ones((4097, 1), "f4"))}, ["x"])


def test_a_tile_layer_in_its_own_place_is_refused():
    own = 'layer { name: "x" type: "Tile" bottom: "data" top: "data" tile_param { tiles: 3 } }'
    with pytest.raises(
        NetError, match=r"layer 'x' \(Tile\) has 'data' as a bottom and as a top, and makes .* of its shape"
    ):
        CaffeNet(net_of(own))
    relu = 'layer { name: "relu" type: "ReLU" bottom: "data" top: "y" }'
    with pytest.raises(NetError, match=r"tiles is 3: .* not in its own place"):
        CaffeNet(net_of(relu + own.replace('"data"', '"y"')))


@pytest.mark.parametrize(
    ("kind", "param"),
    [
        ("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }"),
        ("Convolution", "convolution_param { num_output: 2 kernel_size: 3 pad: 1 dilation: 1 stride: 2 group: 1 }"),
        ("Tile", "tile_param { axis: 1 tiles: 3 }"),
        ("SPP", "spp_param { pyramid_height: 3 pool: MAX }"),
    ],
)
def test_numbers_that_fit_are_taken(kind, param):
    net = CaffeNet(net_of(layer_of(kind, param)))
    for rows in (4, 2):
        net.forward({"data": NDArray(np.ones((rows, 3, 8, 8), "f4"))}, ["x"])
