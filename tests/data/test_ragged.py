"""Short batches are dropped, padded or passed on, as is asked for; whole ones pass as they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import DataError, NDArray
from sparknet.data.ragged import check_ragged, even_batches, pad_batch


def batches(sizes):
    return [{"x": NDArray(np.full((n, 2), i, np.float32)), "y": NDArray(np.full(n, i))} for i, n in enumerate(sizes)]


sizes = st.lists(st.integers(1, 5), max_size=8)


@given(sizes)
def test_reshape_passes_every_batch_itself(sizes):
    found = batches(sizes)
    assert all(a is b for a, b in zip(even_batches(found, 3, "reshape"), found, strict=True))


@given(st.lists(st.integers(1, 3), max_size=8))
def test_drop_passes_the_whole_batches_themselves_and_no_others(sizes):
    found = batches(sizes)
    whole = [batch for batch, rows in zip(found, sizes, strict=True) if rows == 3]
    assert all(a is b for a, b in zip(even_batches(found, 3, "drop"), whole, strict=True))


@given(st.lists(st.integers(1, 3), max_size=8))
def test_pad_keeps_all_rows_in_their_order_and_adds_the_values_asked_for(sizes):
    found = batches(sizes)
    for before, after in zip(found, even_batches(found, 3, "pad", {"y": -7}), strict=True):
        rows = len(before["y"])
        assert {name: a.shape[0] for name, a in after.items()} == {"x": 3, "y": 3}
        assert after["x"].to_host()[:rows].tobytes() == before["x"].to_host().tobytes()
        assert after["y"].to_host().tolist() == [*before["y"].to_host().tolist(), *[-7] * (3 - rows)]
        assert not after["x"].to_host()[rows:].any()


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("uint8", 0, "uint8"),
        ("uint8", 255, "uint8"),
        ("uint8", -1, "int16"),
        ("uint8", -1.0, "int16"),
        ("uint8", 256, "uint16"),
        ("uint8", 0.5, "float16"),
        ("uint8", 1e30, "float32"),
        ("int8", 0, "int8"),
        ("int8", 127.0, "int8"),
        ("int8", 128, "int16"),
        ("bool", 0, "bool"),
        ("bool", 1.0, "bool"),
        ("bool", -1, "int8"),
        ("int64", -1, "int64"),
        ("uint64", 0, "uint64"),
        ("int32", float("inf"), "float64"),
        ("float16", 1e6, "float32"),
        ("float16", 0.1, "float16"),
        ("float32", -1, "float32"),
        ("float32", 0.1, "float32"),
        ("float32", 2**24 + 1, "float32"),
        ("complex64", -1, "complex64"),
    ],
)
def test_a_dtype_that_cannot_hold_the_value_is_widened_and_others_stay(dtype, value, expected):
    padded = pad_batch({"y": NDArray(np.ones(2, dtype))}, 3, {"y": value})["y"].to_host()
    assert (padded.dtype, padded.tolist()) == (np.dtype(expected), [1, 1, np.array(value, expected)])


@pytest.mark.parametrize("ragged", ["drop", "pad"])
def test_a_batch_that_is_too_long_is_named(ragged):
    with pytest.raises(DataError, match=r"^batch 1: got 4 rows, expected at most 3"):
        list(even_batches(batches([3, 4]), 3, ragged, {"y": -1}))


def test_arrays_of_numpy_are_padded_too():
    (batch,) = even_batches([{"x": np.arange(2)}], 3, "pad", {"x": -1})
    assert batch["x"].to_host().tolist() == [0, 1, -1]


def test_mistakes_are_named():
    with pytest.raises(DataError, match="ragged='cut', expected one of 'drop', 'pad', 'reshape'"):
        list(even_batches([], 3, "cut"))
    with pytest.raises(DataError, match="padding for 'label'; the batch has 'x', 'y'"):
        list(even_batches(batches([2]), 3, "pad", {"label": 0}))
    with pytest.raises(DataError, match=r"ragged='pad': say what with: padding=net.padding\(\), or {} for zeros"):
        list(even_batches(batches([3]), 3, "pad"))
    assert [len(b["y"]) for b in even_batches(batches([2]), 3, "pad", {})] == [3]


@pytest.mark.parametrize("padding", [{"label": "a"}, {"label": None}, {"label": [1, 2]}, ["label"], -1])
def test_padding_that_is_no_numbers_by_name_is_refused_when_it_is_packed(padding):
    with pytest.raises(
        DataError, match=r"^padding=.*, expected a mapping from the names of fields to numbers, such as"
    ):
        check_ragged("pad", padding, ["label"])


@pytest.mark.parametrize("value", [-1, 0.5, np.float32(2), np.array(3), NDArray(4)])
def test_padding_is_any_number(value):
    check_ragged("pad", {"label": value}, ["label"])
