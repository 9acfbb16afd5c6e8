"""Bilinear resizing has the bits of OpenCV's INTER_LINEAR, which Caffe's ImageData uses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import DataError, NDArray
from sparknet.data.preprocess import Resize
from sparknet.data.preprocess.bilinear import resize_bilinear

# What cv2.resize of OpenCV 5.0 makes of IMAGE, in these sizes (height, width).
IMAGE = (np.arange(35).reshape(5, 7) ** 2 * 37 % 256).astype(np.uint8)
GOLDEN = {
    (4, 3): [[28, 82, 128], [75, 146, 147], [185, 114, 132], [134, 208, 83]],
    (7, 9): [
        [0, 25, 86, 132, 77, 79, 123, 122, 52],
        [12, 39, 103, 152, 99, 104, 150, 152, 85],
        [39, 69, 104, 131, 139, 147, 156, 153, 137],
        [84, 117, 74, 44, 197, 209, 119, 99, 208],
        [159, 194, 155, 88, 102, 117, 132, 136, 126],
        [142, 180, 144, 88, 135, 68, 103, 118, 62],
        [80, 121, 87, 66, 229, 51, 56, 74, 20],
    ],
    (2, 2): [[86, 175], [187, 136]],
    (1, 5): [[94, 53, 197, 145, 175]],
    (10, 14): [
        [0, 9, 28, 65, 120, 130, 95, 78, 79, 99, 138, 131, 78, 52],
        [5, 15, 34, 72, 128, 139, 104, 88, 90, 111, 150, 144, 92, 66],
        [16, 26, 47, 86, 144, 156, 123, 108, 112, 134, 175, 170, 120, 95],
        [37, 48, 70, 95, 122, 136, 136, 139, 144, 152, 162, 159, 142, 134],
        [68, 80, 104, 98, 63, 78, 144, 180, 187, 164, 112, 110, 159, 183],
        [110, 123, 148, 128, 62, 63, 130, 168, 176, 155, 104, 104, 154, 179],
        [163, 176, 203, 184, 120, 90, 95, 102, 112, 124, 139, 140, 128, 122],
        [162, 176, 204, 187, 124, 96, 102, 95, 74, 88, 136, 139, 96, 75],
        [107, 122, 152, 136, 75, 80, 152, 146, 63, 46, 96, 100, 59, 38],
        [80, 95, 126, 111, 50, 72, 177, 172, 57, 25, 76, 81, 40, 20],
    ],
}


@pytest.mark.parametrize("size", GOLDEN, ids=str)
def test_uint8_has_the_bits_of_opencv(size):
    assert resize_bilinear(IMAGE[None, None], *size)[0, 0].tolist() == GOLDEN[size]


def test_half_a_size_is_the_mean_of_four():
    image = np.array([[0, 1, 250, 251], [2, 4, 255, 255]], np.uint8)
    assert resize_bilinear(image[None, None], 1, 2)[0, 0].tolist() == [[2, 253]]
    assert resize_bilinear(image[None, None].astype(np.float32), 1, 2)[0, 0].tolist() == [[1.75, 252.75]]


sides = st.integers(1, 12)


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 2**32 - 1))
def test_float32_and_uint8_agree_within_one(old, new, seed):
    image = np.random.default_rng(seed).integers(0, 256, (2, 3, *old), np.uint8)
    whole, real = (resize_bilinear(image.astype(dtype), *new) for dtype in (np.uint8, np.float32))
    assert (whole.dtype, real.dtype, whole.shape) == (np.uint8, np.float32, (2, 3, *new))
    assert np.abs(whole - real).max() <= 1  # rounded to 2**-11 twice, and once to a whole number


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 255))
def test_one_color_stays_that_color(old, new, value):
    assert (resize_bilinear(np.full((1, 1, *old), value, np.uint8), *new) == value).all()


def test_the_same_size_is_a_copy():
    image = IMAGE[None, None]
    out = resize_bilinear(image, 5, 7)
    assert (out == image).all()
    assert not np.shares_memory(out, image)


def test_the_step_takes_it_as_a_method():
    step = Resize("data", 4, 3, method="opencv")
    out = step({"data": NDArray(IMAGE[None, None])}, np.random.default_rng(0), train=True)
    assert out["data"].to_host()[0, 0].tolist() == GOLDEN[4, 3]
    for wrong in ({"method": "cubic"}, {"method": "opencv", "fit": "crop"}):
        with pytest.raises(DataError, match="expected 'pillow', or 'opencv' with 'warp'"):
            Resize("data", 4, 3, **wrong)
