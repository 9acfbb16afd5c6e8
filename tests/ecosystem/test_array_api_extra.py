"""array-api-extra: its functions on NDArrays give what they give on numpy arrays, as NDArrays."""

import array_api_compat.numpy
import array_api_extra as xpx
import numpy as np
import pytest

from sparknet import NDArray, nd

# name -> a call on the namespace xp, the array x = [[1, 2, 9], [3, 4, 1]] and the array i = [0, 2, 1, 2]
CALLS = {
    "angle": lambda _xp, x, _i: xpx.angle(x * 1j + 1),
    "apply_where": lambda _xp, x, _i: xpx.apply_where(x > 2, x, lambda y: y * 2, fill_value=0.0),
    "argpartition": lambda _xp, x, _i: xpx.argpartition(x, 1, axis=-1)[:, 1],
    "atleast_nd": lambda _xp, x, _i: xpx.atleast_nd(x, ndim=4),
    "cov": lambda _xp, x, _i: xpx.cov(x),
    "create_diagonal": lambda _xp, x, _i: xpx.create_diagonal(x[0, :], offset=1),
    "isclose": lambda _xp, x, _i: xpx.isclose(x, x + 1e-9),
    "isin": lambda xp, _x, i: xpx.isin(i, xp.asarray([2])),
    "kron": lambda _xp, x, _i: xpx.kron(x, x[0, :]),
    "lazy_apply": lambda _xp, x, _i: xpx.lazy_apply(np.sort, x, as_numpy=True),
    "nan_to_num": lambda xp, x, _i: xpx.nan_to_num(xp.where(x > 2, x, xp.nan)),
    "nunique": lambda xp, _x, i: xp.asarray(xpx.nunique(i)),
    "one_hot": lambda _xp, _x, i: xpx.one_hot(i, 3),
    "pad": lambda _xp, x, _i: xpx.pad(x, ((1, 0), (0, 2)), constant_values=7.0),
    "partition": lambda _xp, x, _i: xpx.partition(x, 1, axis=-1)[:, 1],
    "searchsorted": lambda _xp, x, _i: xpx.searchsorted(x[0, :], x[1, :]),
    "setdiff1d": lambda xp, _x, i: xpx.setdiff1d(i, xp.asarray([2])),
    "sinc": lambda _xp, x, _i: xpx.sinc(x / 4),
    "union1d": lambda xp, _x, i: xpx.union1d(i, xp.asarray([5])),
}


def call(name, xp):
    return CALLS[name](xp, xp.asarray([[1.0, 2.0, 9.0], [3.0, 4.0, 1.0]]), xp.asarray([0, 2, 1, 2]))


@pytest.mark.parametrize("name", CALLS)
def test_functions_return_ndarrays(name):
    got, expected = call(name, nd), call(name, array_api_compat.numpy)
    assert type(got) is NDArray
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    assert np.array_equal(got.to_host(), expected)


@pytest.mark.parametrize(
    ("method", "value", "expected"),
    [
        *[("set", 7, 7), ("add", 1, 3), ("subtract", 1, 1), ("multiply", 3, 6)],
        *[("divide", 2, 1), ("power", 3, 8), ("min", 1, 1), ("max", 9, 9)],
    ],
)
def test_at_updates_in_place_where_it_may(method, value, expected):
    x = nd.asarray([2.0, 2.0, 2.0])
    got = getattr(xpx.at(x)[1:], method)(float(value))
    assert got is x
    assert x.to_host().tolist() == [2, expected, expected]


def test_at_leaves_the_array_alone_where_a_copy_was_asked_for():
    x = nd.asarray([1.0, 2.0])
    assert xpx.at(x, x > 1).set(5.0, copy=True).to_host().tolist() == [1, 5]
    assert x.to_host().tolist() == [1, 2]


def test_at_fails_on_read_only_memory_unless_a_copy_was_asked_for():
    # array-api-compat looks at the flag of numpy's own arrays only, and takes an NDArray for writeable
    memory = np.zeros(2)
    memory.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        xpx.at(nd.asarray(memory))[0].set(1.0)
    assert xpx.at(nd.asarray(memory))[0].set(1.0, copy=True).to_host().tolist() == [1, 0]


def test_the_default_dtype_is_the_namespaces():
    assert xpx.default_dtype(nd) == nd.float64
    assert xpx.default_dtype(nd, "integral") == nd.int64
