"""The modules of pycaffe that are Python alone: net_spec, coord_map, io, and what pycaffe adds to Net."""

import caffe
import numpy as np
import pytest
from caffe import layers, params
from caffe.coord_map import coord_map_from_to, crop

pytestmark = pytest.mark.caffe

IMAGE = np.random.default_rng(0).uniform(size=(8, 6, 3)).astype(np.float32)


@pytest.fixture
def spec():
    """A net written in Python, with layers that only newest BVLC Caffe has."""
    spec = caffe.NetSpec()
    spec.data = layers.Input(shape={"dim": [2, 3, 8, 8]})
    spec.conv = layers.Convolution(spec.data, num_output=2, kernel_size=3, stride=2, weight_filler={"type": "xavier"})
    spec.pool = layers.Pooling(
        spec.conv, pool=params.Pooling.MAX, kernel_size=2, stride=2, round_mode=params.Pooling.FLOOR
    )
    spec.swish = layers.Swish(spec.pool, beta=2)
    spec.clip = layers.Clip(spec.swish, min=-1, max=1)
    return spec


@pytest.fixture
def net(spec, tmp_path):
    """The net of the spec."""
    (tmp_path / "net.prototxt").write_text(str(spec.to_proto()))
    return caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)


def test_a_spec_becomes_the_net_it_says(net):
    shapes = {name: blob.data.shape for name, blob in net.blobs.items()}
    assert shapes == {"data": (2, 3, 8, 8), "conv": (2, 2, 3, 3)} | dict.fromkeys(
        ("pool", "swish", "clip"), (2, 2, 1, 1)
    )
    assert [layer.type for layer in net.layers] == ["Input", "Convolution", "Pooling", "Swish", "Clip"]


def test_a_spec_refuses_a_field_that_its_layer_lacks(spec):
    spec.wrong = layers.Pooling(spec.conv, ceil_mode=True)
    with pytest.raises((AttributeError, ValueError), match="ceil_mode"):
        spec.to_proto()


def test_a_net_tells_its_inputs_outputs_layers_and_what_connects_them(net):
    assert (net.inputs, net.outputs) == (["data"], ["clip"])
    assert list(net.layer_dict) == ["data", "conv", "pool", "swish", "clip"]
    assert (net.bottom_names["conv"], net.top_names["conv"]) == (["data"], ["conv"])
    assert set(net.blob_loss_weights.values()) == {0}


def test_forward_all_takes_any_number_of_examples(net):
    images = np.random.default_rng(1).uniform(size=(5, 3, 8, 8)).astype(np.float32)
    together = net.forward_all(data=images)["clip"]
    net.blobs["data"].data[...] = images[:2]
    assert together.shape == (5, 2, 1, 1)
    assert np.array_equal(together[:2], net.forward()["clip"])


def test_coordinates_of_a_layer_are_found_in_another_and_cropped_to_it(spec):
    axis, scale, offset = coord_map_from_to(spec.conv, spec.data)
    assert (axis, scale.tolist(), offset.tolist()) == (1, [2], [1])  # the middle of 3 pixels, 2 apart
    up = layers.Deconvolution(spec.conv, convolution_param={"num_output": 2, "kernel_size": 5, "stride": 2})
    cropped = crop(up, spec.data)
    assert cropped.fn.params == {"crop_param": {"axis": 2, "offset": [1]}}
    assert cropped.to_proto().layer[-1].type == "Crop"


def test_preprocessing_is_undone_by_deprocessing():
    transformer = caffe.io.Transformer({"data": (2, 3, 8, 6)})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_channel_swap("data", (2, 1, 0))
    transformer.set_raw_scale("data", 255)
    transformer.set_mean("data", np.array([1, 2, 3]))
    transformer.set_input_scale("data", 0.5)
    ready = transformer.preprocess("data", IMAGE)
    expected = (255 * IMAGE.transpose(2, 0, 1)[::-1] - np.array([1, 2, 3])[:, None, None]) / 2
    np.testing.assert_allclose(ready, expected, rtol=2**-20, atol=2**-16)
    np.testing.assert_allclose(transformer.deprocess("data", ready), IMAGE, rtol=2**-20, atol=2**-20)


def test_oversampling_takes_the_corners_the_centre_and_their_mirror_images():
    crops = caffe.io.oversample([IMAGE], (4, 4))
    assert crops.shape == (10, 4, 4, 3)
    assert np.array_equal(crops[0], IMAGE[:4, :4])
    assert np.array_equal(crops[4], IMAGE[2:6, 1:5])
    assert np.array_equal(crops[5:], crops[:5, :, ::-1])


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_arrays_go_through_datums_unchanged(dtype):
    array = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    assert np.array_equal(caffe.io.datum_to_array(caffe.io.array_to_datum(array, label=3)), array)


def test_arrays_go_through_blobprotos_unchanged():
    arrays = [np.arange(24.0).reshape(1, 2, 3, 4), np.ones((1, 1, 1, 5))]
    message = caffe.io.arraylist_to_blobprotovector_str(arrays)
    for array, back in zip(arrays, caffe.io.blobprotovector_str_to_arraylist(message), strict=True):
        assert np.array_equal(array, back)
