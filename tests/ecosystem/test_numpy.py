"""numpy's own functions on NDArrays: ufuncs keep the type, and write into the memory that they are told to."""

import numpy as np
import pytest

from sparknet import NDArray, nd


@pytest.fixture
def x():
    return np.asarray([0.5, 1.0, 4.0], dtype=np.float32)


@pytest.mark.parametrize(
    "ufunc", [np.sin, np.exp2, np.isfinite, np.negative, np.square], ids=lambda ufunc: ufunc.__name__
)
def test_ufuncs_of_one_array_return_ndarrays(ufunc, x):
    got = ufunc(nd.asarray(x))
    assert type(got) is NDArray
    assert got.to_host().tolist() == ufunc(x).tolist()


def test_ufuncs_of_a_numpy_array_and_an_ndarray_return_ndarrays(x):
    for got in (np.multiply(x, nd.asarray(x)), np.multiply(nd.asarray(x), x), np.multiply([2, 2, 2], nd.asarray(x))):
        assert type(got) is NDArray
    assert np.multiply(x, nd.asarray(x)).to_host().tolist() == (x * x).tolist()


def test_ufuncs_of_several_results_return_ndarrays(x):
    fraction, whole = np.modf(nd.asarray(x))
    assert (fraction.to_host().tolist(), whole.to_host().tolist()) == ([0.5, 0, 0], [0, 1, 4])


def test_reductions_and_accumulations_return_ndarrays(x):
    assert type(np.add.reduce(nd.asarray(x))) is type(np.sum(nd.asarray(x))) is NDArray
    assert np.add.accumulate(nd.asarray(x)).to_host().tolist() == [0.5, 1.5, 5.5]


def test_an_in_place_operator_of_a_numpy_array_writes_into_it(x):
    before = x
    x += nd.asarray([1.0, 1.0, 1.0], dtype=nd.float32)
    assert x is before
    assert x.tolist() == [1.5, 2, 5]


def test_out_and_where_may_be_ndarrays_or_numpy_arrays(x):
    a = nd.zeros(3, dtype=nd.float32)
    assert np.add(x, nd.asarray(x), out=a) is a
    assert np.add(nd.asarray(x), 1, out=x) is x
    assert (a.to_host().tolist(), x.tolist()) == ([1, 2, 8], [1.5, 2, 5])
    got = np.negative(a, out=a, where=a > 1.5)
    assert got is a
    assert a.to_host().tolist() == [1, -2, -8]


def test_ufunc_at_writes_into_an_ndarray(x):
    a = nd.asarray(x)
    np.add.at(a, nd.asarray([0, 0]), 1)
    assert x.tolist() == [2.5, 1, 4]


def test_a_ufunc_of_something_else_is_a_type_error(x):
    with pytest.raises(TypeError):
        np.add(nd.asarray(x), "x")


def test_other_functions_read_ndarrays_as_numpy_arrays(x):
    for got in (np.concatenate([nd.asarray(x)]), np.stack([nd.asarray(x)])[0], np.sort(nd.asarray(x))):
        assert type(got) is np.ndarray
        assert got.tolist() == x.tolist()
    assert np.arange(5)[nd.asarray([3, 1])].tolist() == [3, 1]
    x[:] = nd.zeros(3)
    assert x.tolist() == [0, 0, 0]
