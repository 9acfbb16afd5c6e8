"""Preprocessors: SparkNet's golden values, train against test behaviour, and that inputs stay as they are."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import DataError, Field, NDArray
from sparknet.data.preprocess import Compose, Crop, Mirror, Scale, SubtractMean


def rng(seed=0):
    return np.random.default_rng(seed)


def apply(step, x, *, train=True, seed=0):
    out = step({"data": NDArray(x)}, rng(seed), train=train)
    return out["data"].to_host()


@given(st.integers(0, 1000))
def test_a_random_2x4_crop_of_the_4x5_ramp_has_its_corner_and_rows_from_it(seed):
    ramp = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)
    crop = apply(Crop("data", 2, 4), ramp, seed=seed)[0, 0]
    corner = int(crop[0, 0])
    assert corner in {0, 1, 5, 6, 10, 11}
    assert crop.tolist() == [[corner + i for i in range(4)], [corner + 5 + i for i in range(4)]]


def test_every_corner_of_a_random_crop_occurs():
    ramp = np.broadcast_to(np.arange(20).reshape(4, 5), (500, 1, 4, 5))
    assert set(apply(Crop("data", 2, 4), ramp)[:, 0, 0, 0].tolist()) == {0, 1, 5, 6, 10, 11}


def test_the_test_crop_is_the_centre():
    ramp = np.arange(16).reshape(1, 1, 4, 4)
    assert apply(Crop("data", 2, 2), ramp, train=False).ravel().tolist() == [5, 6, 9, 10]
    assert apply(Crop("data", 2, 4), ramp, train=False)[0, 0].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]


def test_mean_subtraction_is_exact():
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    image = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    for mean, full in ((7, 7), ([1, 2, 3], np.array([1, 2, 3]).reshape(3, 1, 1)), (image, image)):
        out = apply(SubtractMean("data", mean), x)
        assert out.dtype == np.float32
        assert np.array_equal(out, x.astype(np.float32) - full)


def test_scale_gives_float32():
    out = apply(Scale("data", 1 / 256), np.array([0, 128, 255], np.uint8))
    assert (out.dtype, out.tolist()) == (np.float32, [0, 0.5, 255 / 256])


def test_mirror_flips_some_images_in_training_and_none_in_test():
    x = np.broadcast_to(np.arange(3), (50, 1, 1, 3))
    rows = {tuple(r) for r in apply(Mirror("data"), x).reshape(50, 3).tolist()}
    assert rows == {(0, 1, 2), (2, 1, 0)}
    assert np.array_equal(apply(Mirror("data"), x, train=False), x)


def test_the_same_generator_gives_the_same_batch_and_inputs_are_not_written_to():
    steps = Compose(Scale("data", 0.5), Crop("data", 3, 3), Mirror("data"), SubtractMean("data", 1.0))
    x = rng(3).integers(0, 255, (8, 3, 5, 5)).astype(np.uint8)
    x.flags.writeable = False
    first, again = apply(steps, x, seed=1), apply(pickle.loads(pickle.dumps(steps)), x, seed=1)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != apply(steps, x, seed=2).tobytes()


def test_fields_say_what_comes_out_and_misfits_are_named():
    image = Field("data", (1, 4, 5), "uint8")
    assert Crop("data", 2, 3).fields([image]) == [Field("data", (1, 2, 3), "uint8")]
    with pytest.raises(DataError, match="Crop: 6x6 does not fit into 'data'"):
        Crop("data", 6, 6).fields([image])
    with pytest.raises(DataError, match="Scale: no field 'pixels'; there are 'data'"):
        Compose(Scale("pixels", 2)).fields([image])
    with pytest.raises(DataError, match="Mirror: 'y' has examples of shape"):
        Mirror("y").fields([Field("y")])
    with pytest.raises(DataError, match=r"a mean of shape \(3,\) does not fit 'data' of shape \(1, 4, 5\)"):
        SubtractMean("data", [1, 2, 3]).fields([image])
    with pytest.raises(DataError, match=r"a mean of shape \(3,\) does not fit 'data' of shape \(2, 4, 5\)"):
        apply(SubtractMean("data", [1, 2, 3]), np.zeros((1, 2, 4, 5), np.float32))
