"""Elements as Python numbers, an element that shares no memory, and attributes that say what to write instead."""

import math
import operator
import random
import sys
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import NDArray, nd


# ---- an element has memory of its own
def test_swapping_two_elements_swaps_them():
    v = NDArray([1, 2, 3, 4])
    v[0], v[3] = v[3], v[0]
    assert v.tolist() == [4, 2, 3, 1]


@given(st.lists(st.integers(0, 99), max_size=20), st.integers(0, 9))
def test_shuffling_and_reversing_as_a_list_keep_every_value(values, seed):
    v, expected = NDArray(np.array(values, np.int64)), list(values)
    for shuffled in (v, expected):
        random.Random(seed).shuffle(shuffled)
    assert v.tolist() == expected
    n = len(values)
    for i in range(n // 2):
        v[i], v[n - 1 - i] = v[n - 1 - i], v[i]
    assert v.tolist() == expected[::-1]


def test_an_element_kept_is_not_changed_by_a_later_write():
    m = NDArray(range(6), (2, 3))
    kept = [m[0, 1], m[np.int64(0), -2], m[NDArray(0), NDArray(1)], next(iter(m[0])), NDArray(7)[()]]
    m[...] = -1
    assert [int(element) for element in kept] == [1, 1, 1, 0, 7]


def test_writing_to_one_element_reaches_the_array():
    v = NDArray([1, 2, 3])
    v[0] += 10
    v[1, ...][...] = 20
    view = v.slice(0, 2)
    view += 30
    assert v.tolist() == [11, 20, 33]


def rows():
    return NDArray(range(12), (4, 3))


def test_a_row_is_a_view_so_swapping_rows_takes_index_arrays():
    m = rows()
    m[0], m[1] = m[1], m[0]
    assert m.tolist()[:2] == [[3, 4, 5], [3, 4, 5]]  # as with numpy
    m = rows()
    m[[0, 1]] = m[[1, 0]]
    assert m.tolist()[:2] == [[3, 4, 5], [0, 1, 2]]


@pytest.mark.parametrize("rng", [np.random.default_rng(3), np.random.RandomState(3)])
def test_shuffling_rows_as_the_reference_says_keeps_every_row(rng):
    m = rows()
    m = nd.take(m, nd.asarray(rng.permutation(len(m)), device=m.device), axis=0)
    rng.shuffle(m.to_host())
    assert sorted(m.tolist()) == rows().tolist()
    assert sorted(NDArray(rng.permutation(m)).tolist()) == rows().tolist()


def test_numpys_shuffle_warns_that_rows_are_views():
    with pytest.warns(UserWarning, match="view semantics may contain duplicates"):
        np.random.default_rng(0).shuffle(rows())


# ---- Python numbers
def test_a_0d_array_is_formatted_as_its_number():
    a = NDArray(2.567)
    assert f"{a:.2f}|{a:>8.1f}|{a:e}|{NDArray(7):03d}|{NDArray(True)}" == "2.57|     2.6|2.567000e+00|007|True"
    with pytest.raises(
        TypeError, match=r"format '\.2f' is for one number, this array has shape \(2,\); .*\.tolist\(\)"
    ):
        f"{NDArray([1.0, 2.0]):.2f}"


@pytest.mark.parametrize(
    "value", [5.0, np.float32(0.1), 7, True, 1 + 2j, np.nan, np.array(3, ">i2"), ml_dtypes.bfloat16(0.1)]
)
def test_a_0d_array_is_printed_as_numpy_prints_it(value):
    a = NDArray(np.array(value))
    assert str(a) == f"{a}" == str(np.array(value))
    assert repr(a).startswith("NDArray(")


def test_an_array_with_axes_is_printed_as_its_repr():
    a = NDArray([1, 2])
    assert str(a) == f"{a}" == repr(a)


def test_divmod_gives_quotient_and_rest():
    for a, b in ((NDArray([7, -7]), 2), (9, NDArray([2, -2])), (NDArray([7.5, 1.0]), NDArray([2.0, 3.0]))):
        left, right = (x.to_host() if isinstance(x, NDArray) else x for x in (a, b))
        assert [part.tolist() for part in divmod(a, b)] == [part.tolist() for part in divmod(left, right)]
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for //: 'NDArray' and 'str'"):
        divmod(NDArray([1]), "x")


def test_a_0d_array_is_rounded_and_truncated_as_its_number():
    a = NDArray(-2.567)
    assert (round(a), round(a, 1), math.trunc(a), math.floor(a), math.ceil(a)) == (-3, -2.6, -2, -3, -2)
    assert (int(a), operator.index(NDArray(3)), hex(NDArray(255)), "abc"[NDArray(1)]) == (-2, 3, "0xff", "b")
    with pytest.raises(TypeError, match=r"round\(a\) is for one number, .* use nd\.round\(a\)"):
        round(NDArray([1.5, 2.5]), 1)


def test_item_gives_one_element_and_tolist_all_of_them():
    m = NDArray([[1.5, 2.5], [3.5, 4.5]])
    assert (m.item(1, 0), m[0].item(-1), NDArray([[7]]).item(), type(NDArray(1).item())) == (3.5, 2.5, 7, int)
    assert (m.tolist(), NDArray(2).tolist(), nd.zeros((0, 2)).tolist()) == ([[1.5, 2.5], [3.5, 4.5]], 2, [])
    with pytest.raises(ValueError, match=r"item\(\) needs an array with one element, this one has shape \(2, 2\)"):
        m.item()
    with pytest.raises(IndexError, match=r"got 1 indices for an array with shape \(2, 2\).*a\.to_flat\(\)\.item\(i\)"):
        m.item(3)
    with pytest.raises(IndexError, match="out of bounds"):
        m.item(2, 0)


def test_in_asks_whether_any_element_is_equal():
    m = NDArray([[1, 2], [3, 4]])
    assert 3 in m
    assert np.int8(4) in m
    assert NDArray([3, 4]) in m
    assert 5 not in m
    assert "x" not in m
    assert 1 not in nd.zeros((0,))


def test_pyarrow_gets_the_elements(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", SimpleNamespace(array=lambda values, **options: (values, options)))
    a = NDArray([1, 2])
    values, options = a.__arrow_array__(type="int32")
    assert values is a.unwrap()
    assert options == {"type": "int32"}


# ---- what is not there
@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("sum", "nd.sum(a)"),
        ("mean", "nd.mean(a)"),
        ("reshape", "nd.reshape(a, shape)"),
        ("astype", "nd.astype(a, dtype)"),
        ("take", "nd.take(a, indices)"),
        ("copy", "nd.asarray(a, copy=True)"),
        ("ravel", "a.to_flat()"),
        ("transpose", "a.T"),
        ("cumsum", "nd.cumulative_sum(a)"),
        ("numpy", "a.to_host()"),
        ("tobytes", "a.to_host().tobytes"),
        ("strides", "a.to_host().strides"),
    ],
)
def test_an_attribute_of_other_arrays_says_what_to_write(name, instead):
    with pytest.raises(AttributeError) as raised:
        getattr(NDArray([1]), name)
    assert str(raised.value).startswith(f"'NDArray' object has no attribute '{name}'; write {instead}")
    assert raised.value.name == name


@pytest.mark.parametrize("name", ["foo", "__array_interface__", "_private", "float32"])
def test_any_other_attribute_is_missing_as_usual(name):
    assert not hasattr(NDArray([1]), name)
    with pytest.raises(AttributeError, match=f"^'NDArray' object has no attribute '{name}'$"):
        getattr(NDArray([1]), name)


def test_what_is_named_instead_works():
    a = NDArray([[1.0, 2.0], [3.0, 4.0]])
    assert nd.sum(a).item() == 10
    assert nd.reshape(a, (4,)).tolist() == a.to_flat().tolist() == [1, 2, 3, 4]
