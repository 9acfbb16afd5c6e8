"""The bytes of an NDArray: those of numpy, by ``bytes``, and from Python 3.12 on by its buffer."""

import sys

import ml_dtypes
import numpy as np
import pytest

from sparknet import NDArray, loads, nd
from sparknet.serialization import dumps

ARRAYS = {
    "integers": np.arange(6).reshape(2, 3),
    "a transposed view": np.arange(6, dtype="int16").reshape(2, 3).T,
    "a reversed view": np.arange(6, dtype=">i4")[::-2],
    "one number": np.array(300),
    "floats": np.array([1.5, -0.0]),
    "bools": np.array([True, False]),
    "no element": np.zeros((0, 2)),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_bytes_are_numpys_in_row_major_order(array):
    assert bytes(NDArray(array)) == array.tobytes()


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_the_buffer_is_the_memory_with_its_layout(array):
    a = NDArray(array)
    view = a.__buffer__(0)
    assert (view.shape, view.format, view.strides) == (array.shape, memoryview(array).format, memoryview(array).strides)
    assert np.shares_memory(np.asarray(view), array) == (array.size > 0)
    assert not view.readonly


def test_the_buffer_of_read_only_memory_is_read_only():
    assert loads(dumps({"w": np.ones(3)}))["w"].__buffer__(0).readonly


def test_pythons_buffers_are_taken_from_3_12_on():
    a = NDArray([1, 2, 300])
    if sys.version_info < (3, 12):
        with pytest.raises(TypeError, match="bytes-like object is required, not 'NDArray'"):
            memoryview(a)
    else:
        assert bytearray(a) == bytes(a)
        memoryview(a)[0] = 7
        assert a.tolist() == [7, 2, 300]


def test_a_dtype_that_has_no_buffer_is_named_with_what_works():
    a = NDArray(np.array([1.5, 2], ml_dtypes.bfloat16))
    assert bytes(a) == a.to_host().tobytes()
    with pytest.raises(BufferError, match=r"no bfloat16: take a copy, bytes\(a\), or the bits, .*view\('u1'\)"):
        a.__buffer__(0)
    assert bytes(a.to_host().view("u1")) == bytes(a)


def test_what_takes_buffers_and_arrays_takes_an_array():
    a = nd.asarray([1.0, 2.0])
    assert np.asarray(a).dtype == "float64"
    assert np.shares_memory(np.asarray(a), a.unwrap())
    with pytest.raises(ValueError, match="copy"):
        np.asarray(a, dtype="float32", copy=False)
