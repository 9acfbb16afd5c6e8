"""DLPack and numpy's protocols, both ways: no copy where none is asked for, on memory that stays alive."""

import array_api_strict
import ml_dtypes
import numpy as np
import pytest

from sparknet import NDArray, nd

DTYPES = list(nd.__array_namespace_info__().dtypes())
LAYOUTS = {
    "contiguous": lambda x: x,
    "fortran": lambda x: x.T,
    "steps": lambda x: x[:, ::2],
    "reversed": lambda x: x[::-1],
    "0-d": lambda x: x[0, 0, ...],
    "empty": lambda x: x[:0],
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_takes_an_ndarray_without_a_copy(dtype):
    a = nd.ones((2, 3), dtype=getattr(nd, dtype))
    for view in (np.from_dlpack(a), np.asarray(a)):
        assert view.dtype == dtype
        assert np.shares_memory(view, a.unwrap())


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_ndarray_takes_a_numpy_array_without_a_copy(dtype):
    x = np.ones((2, 3), dtype)
    for a in (nd.from_dlpack(x), nd.asarray(x), NDArray(x)):
        assert type(a) is NDArray
        assert a.dtype == dtype
        assert np.shares_memory(a.to_host(), x)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_memory_layout_passes_both_ways(layout):
    x = layout(np.arange(12.0).reshape(3, 4))
    for back in (np.from_dlpack(nd.asarray(x)), nd.from_dlpack(x).to_host()):
        assert back.shape == x.shape
        assert back.strides == x.strides
        assert np.array_equal(back, x)


def test_what_is_written_on_one_side_is_read_on_the_other():
    a = nd.zeros(3)
    np.from_dlpack(a)[0] = 5
    b = nd.from_dlpack(a.unwrap())
    b[1] = 7
    assert a.to_host().tolist() == [5, 7, 0]


def test_a_copy_is_made_where_one_is_asked_for():
    a = nd.zeros(3)
    for copied in (np.from_dlpack(a, copy=True), nd.from_dlpack(a, copy=True).to_host(), np.array(a)):
        copied[0] = 5
    assert a.to_host().tolist() == [0, 0, 0]


def test_a_copy_is_refused_where_none_is_allowed():
    with pytest.raises(ValueError, match="copy"):
        np.asarray(nd.zeros(3), dtype="float32", copy=False)


def test_the_device_of_the_consumer_can_be_named():
    a = nd.zeros(3)
    assert np.shares_memory(np.from_dlpack(a, device="cpu"), a.unwrap())
    assert np.shares_memory(nd.from_dlpack(a.unwrap(), device="cpu").to_host(), a.unwrap())
    assert a.__dlpack_device__() == (1, 0)  # kDLCPU


def test_read_only_memory_stays_read_only():
    memory = np.zeros(3)
    memory.flags.writeable = False
    assert not np.from_dlpack(nd.asarray(memory)).flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        nd.from_dlpack(memory)[0] = 1


def test_the_memory_lives_as_long_as_the_view():
    view = np.from_dlpack(nd.arange(1000))
    again = nd.from_dlpack(np.arange(1000))
    assert int(view.sum()) == int(nd.sum(again)) == 499500


def test_byte_orders_that_dlpack_does_not_know_are_a_buffer_error():
    with pytest.raises(BufferError, match="native byte order"):
        np.from_dlpack(NDArray(np.zeros(3, ">f8")))


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_dtypes_that_numpy_has_from_a_package_say_what_works(dtype):
    a = nd.asarray([1.0, 2.0], dtype=np.dtype(getattr(ml_dtypes, dtype)))
    with pytest.raises(BufferError, match=rf"hand out {dtype} .*'torch:cpu'.*a\.to_host\(\)"):
        np.from_dlpack(a)


def test_an_array_of_another_implementation_of_the_standard_passes_both_ways():
    theirs = array_api_strict.asarray([1.0, 2.0])
    assert nd.from_dlpack(theirs).to_host().tolist() == nd.asarray(theirs).to_host().tolist() == [1, 2]
    assert bool(array_api_strict.all(array_api_strict.from_dlpack(nd.asarray([1.0, 2.0])) == theirs))


def test_an_object_without_dlpack_is_a_type_error_that_names_it():
    with pytest.raises(TypeError, match="list"):
        nd.from_dlpack([1.0])
