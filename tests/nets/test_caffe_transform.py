"""Our preprocessors against Caffe's own: the C++ DataTransformer behind its data layers, and Python's caffe.io.Transformer.

The data layers that transform images (Data, ImageData, WindowData) need packages that this Caffe is built without, and
MemoryData transforms nothing that comes from Python. So the class behind all of them is called in the extension module itself.
"""

import ctypes
import functools

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from hypothesis import given
from hypothesis import strategies as st

from sparknet import NDArray, NetError, formats
from sparknet.data.preprocess import Compose, Crop, Mirror, Scale, SubtractMean, ToBGR, ToCHW
from sparknet.nets.caffe import transform

pytestmark = pytest.mark.caffe

TRAIN, TEST = caffe.TRAIN, caffe.TEST
ROOM = 4096  # bytes; more than any of the three C++ objects


@functools.cache
def function(name, *types):
    """A C++ function of Caffe's extension module, or of libprotobuf, by its symbol."""
    found = ctypes.CDLL(caffe._caffe.__file__)[name]
    found.argtypes, found.restype = types, None
    return found


def message(kind, values):
    """A C++ protobuf message of Caffe, with the values of a Python one."""
    room = ctypes.create_string_buffer(ROOM)
    construct = f"_ZN5caffe{len(kind)}{kind}C1EPN6google8protobuf5ArenaEb"  # kind::kind(Arena*, bool)
    function(construct, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_bool)(room, None, False)
    data = values.SerializeToString()
    parse = function(
        "_ZN6google8protobuf11MessageLite14ParseFromArrayEPKvi", ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    )
    parse.restype = ctypes.c_bool
    assert parse(room, data, len(data))
    return room


class DataTransformer:
    """caffe::DataTransformer<float> of src/caffe/data_transformer.cpp."""

    def __init__(self, phase, **params):
        self.crop_size = params.get("crop_size")
        self._params = message("TransformationParameter", caffe_pb2.TransformationParameter(**params))
        self._self = ctypes.create_string_buffer(ROOM)
        construct = "_ZN5caffe15DataTransformerIfEC1ERKNS_23TransformationParameterENS_5PhaseE"
        function(construct, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)(self._self, self._params, phase)
        function("_ZN5caffe15DataTransformerIfE8InitRandEv", ctypes.c_void_p)(self._self)

    def __call__(self, image):
        """Transform(const Datum&, float*) of one image (c, h, w), uint8 or float32."""
        c, h, w = image.shape
        datum = caffe_pb2.Datum(channels=c, height=h, width=w)
        if image.dtype == np.uint8:
            datum.data = image.tobytes()
        else:
            datum.float_data.extend(image.ravel().tolist())
        out = np.full((c, self.crop_size or h, self.crop_size or w), np.nan, np.float32)
        transform = "_ZN5caffe15DataTransformerIfE9TransformERKNS_5DatumEPf"
        kept = message("Datum", datum)
        function(transform, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(self._self, kept, out.ctypes.data)
        return out


def ours(steps, image, *, train=False, seed=0):
    out = Compose(*steps)({"data": NDArray(image[None])}, np.random.default_rng(seed), train=train)
    return out["data"].to_host()[0]


def same_bits(one, other):
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


floats = st.floats(-300, 300, width=32)


@given(
    sides=st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)),
    dtype=st.sampled_from([np.uint8, np.float32]),
    crop=st.none() | st.integers(1, 8),
    means=st.none() | floats | st.lists(floats, min_size=3, max_size=3),
    scale=st.none() | floats,
    seed=st.integers(0, 99),
)
def test_in_the_test_phase_the_transformer_and_our_steps_give_the_same_bits(sides, dtype, crop, means, scale, seed):
    image = (np.random.default_rng(seed).random(sides) * 256).astype(dtype)
    params, steps = {}, []
    if crop is not None:
        crop = min(crop, *sides[1:])
        params["crop_size"], steps = crop, [*steps, Crop("data", crop, crop)]
    if means is not None:
        means = means if isinstance(means, float) else means[: sides[0]]
        params["mean_value"] = [means] if isinstance(means, float) else means
        steps = [*steps, SubtractMean("data", means)]
    scale = 1.0 if scale is None and not means else scale  # so that float32 comes out
    if scale is not None:
        params["scale"], steps = scale, [*steps, Scale("data", scale)]
    assert same_bits(DataTransformer(TEST, **params)(image), ours([*steps, Mirror("data")], image))


@pytest.mark.parametrize("sides", [(3, 6, 9), (3, 7, 7), (1, 5, 8)])
@pytest.mark.parametrize("crop", [4, 5])
def test_a_mean_image_is_cut_where_the_image_is(tmp_path, sides, crop):
    rng = np.random.default_rng(3)
    image, mean = rng.integers(0, 256, sides, dtype=np.uint8), (rng.random(sides) * 256).astype(np.float32)
    path = tmp_path / "mean.binaryproto"
    formats.write(path, NDArray(mean))
    caffes = DataTransformer(TEST, mean_file=str(path), crop_size=crop, scale=0.017)(image)
    steps = [SubtractMean("data", formats.read(path).obj), Crop("data", crop, crop), Scale("data", 0.017)]
    assert same_bits(caffes, ours(steps, image))


@pytest.mark.parametrize("sides", [(0, 1, 2, 2), (2, 3, 4, 4), (4,)])
def test_a_mean_file_that_holds_no_image_is_named(tmp_path, sides):
    blob = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=sides), data=np.zeros(sides).ravel())
    (tmp_path / "mean").write_bytes(blob.SerializeToString())
    with pytest.raises(
        NetError, match=r"mean' has the shape \(.*\), expected one image: \(c, h, w\) or \(1, c, h, w\)"
    ):
        transform._mean_image("mean", lambda name, _: tmp_path / name)


@pytest.mark.parametrize("mirror", [False, True])
def test_in_training_both_draw_from_the_same_images(tmp_path, mirror):
    # 3 x 4 places for a crop of 3 in 5 x 6 pixels. Caffe and we draw by other generators; in 400 draws of
    # 24 outcomes one is missing with a probability of 1e-6, and the seeds are fixed.
    rng = np.random.default_rng(4)
    image, mean = rng.integers(0, 256, (3, 5, 6), dtype=np.uint8), (rng.random((3, 5, 6)) * 256).astype(np.float32)
    formats.write(tmp_path / "mean.binaryproto", NDArray(mean))
    caffe.set_random_seed(5)
    transformer = DataTransformer(
        TRAIN, crop_size=3, mirror=mirror, mean_file=str(tmp_path / "mean.binaryproto"), scale=0.5
    )
    steps = [SubtractMean("data", mean), Crop("data", 3, 3), Scale("data", 0.5)] + [Mirror("data")] * mirror
    caffes = {transformer(image).tobytes() for _ in range(400)}
    assert caffes == {ours(steps, image, train=True, seed=seed).tobytes() for seed in range(400)}
    assert len(caffes) == (24 if mirror else 12)


@pytest.mark.parametrize(
    "mean", [np.array([104, 117, 123], np.float32), np.random.default_rng(1).random((3, 4, 5), np.float32)]
)
def test_pycaffe_s_transformer_and_our_steps_give_the_same_bits(mean):
    image = np.random.default_rng(2).random((4, 5, 3), np.float32)  # as caffe.io.load_image returns it
    transformer = caffe.io.Transformer({"data": (1, 3, 4, 5)})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_channel_swap("data", (2, 1, 0))
    transformer.set_raw_scale("data", 255)
    transformer.set_mean("data", mean)
    transformer.set_input_scale("data", 0.017)
    steps = [ToCHW("data"), ToBGR("data"), Scale("data", 255), SubtractMean("data", mean), Scale("data", 0.017)]
    assert same_bits(transformer.preprocess("data", image), ours(steps, image))
