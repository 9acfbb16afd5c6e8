"""Field and rows: what a value becomes, and what is refused."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import DataError, Field, NDArray
from sparknet.data.fields import batch_of_rows, rows_of_batch, values_of_row


class Point(NamedTuple):
    y: int
    x: int


class FakeRow(tuple):
    """As pyspark.sql.Row: a tuple whose column names are in __fields__, and [] takes a name."""

    __slots__ = ()
    __fields__ = ("b", "a")

    def __getitem__(self, name):
        return tuple.__getitem__(self, self.__fields__.index(name))


@given(st.binary(min_size=6, max_size=6))
def test_bytes_are_unsigned_and_keep_their_values(data):
    for kind in (bytes, bytearray, memoryview):
        assert Field("x", (2, 3), "float32").convert(kind(data)).ravel().tolist() == list(data)


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.float32(3), np.array(3)])
def test_scalars_keep_their_value(value):
    assert Field("y").convert(value) == np.float32(3)
    assert Field("y", (), "int64").convert(value) == 3


def test_sequences_and_arrays_of_the_right_size_are_given_the_fields_shape():
    field = Field("x", (2, 2), "float64")
    for value in ([1, 2, 3, 4], (1.0, 2, 3, 4), [[1, 2], [3, 4]], np.arange(1, 5), NDArray([1, 2, 3, 4])):
        assert field.convert(value).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, 2, 3], r"got a value of shape \(3,\) \(3 elements\), expected \(2, 2\) \(4 elements\)"),
        (np.zeros((4, 1)), r"got a value of shape \(4, 1\)"),  # the same size, but not a flat one: no guess
        ("abcd", "type str cannot be converted"),
        (None, "type NoneType cannot be converted"),
        ([1, None, 2, 3], "type list cannot be converted"),
        ([[1, 2], [3]], "cannot be converted"),
    ],
)
def test_values_that_do_not_fit_are_refused(value, text):
    with pytest.raises(DataError, match=text):
        Field("x", (2, 2)).convert(value)


def test_integers_are_never_wrapped_or_cut():
    with pytest.raises(DataError, match="does not fit uint8"):
        Field("x", (2,), "uint8").convert([1, 256])
    with pytest.raises(DataError, match="does not fit int64"):
        Field("x", (), "int64").convert(1.5)


def test_rows_are_tuples_in_order_mappings_or_spark_rows():
    fields = [Field("a", (), "int64"), Field("b", (), "int64")]
    for r in ((1, 2), [1, 2], {"b": 2, "a": 1, "c": 3}, FakeRow((2, 1))):
        assert values_of_row(r, fields) == [1, 2]
    with pytest.raises(DataError, match="no column 'b'; its columns are 'a', 'c'"):
        values_of_row({"a": 1, "c": 2}, fields)
    with pytest.raises(DataError, match="a row has 3 values, expected 2: 'a' int64"):
        values_of_row((1, 2, 3), fields)


def test_namedtuples_are_matched_by_name():
    assert values_of_row(Point(1, 2), [Field("x"), Field("y")]) == [2, 1]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", 1e300),
        ("float32", 1 + 2j),
        ("bool", 2.5),
        ("float32", np.datetime64("2020-01-01")),
        ("int64", np.nan),
    ],
)
def test_a_value_is_never_changed_but_by_rounding(dtype, value):
    with pytest.raises(DataError, match="does not fit"):
        Field("x", (), dtype).convert(value)


def test_a_batch_has_one_array_a_field_and_mixed_values_are_converted_one_by_one():
    fields = [Field("x", (2,), "float32"), Field("y", (), "int64")]
    batch = batch_of_rows([(b"\x01\xff", 1), ([3, 4], 2.0), (np.array([5, 6]), np.int8(3))], fields)
    assert batch["x"].to_host().tolist() == [[1, 255], [3, 4], [5, 6]]
    assert batch["y"].to_host().tolist() == [1, 2, 3]
    assert rows_of_batch(batch) == 3
    assert rows_of_batch(batch_of_rows([], fields)) == 0


def test_arrays_of_a_batch_must_agree_in_length():
    with pytest.raises(DataError, match=r"same first length, got \{'a': 1, 'b': 2\}"):
        rows_of_batch({"a": NDArray([1]), "b": NDArray([1, 2])})


def test_fields_with_negative_lengths_are_refused_and_equal_ones_are_equal():
    with pytest.raises(DataError, match="non-negative"):
        Field("x", (-1,))
    assert Field("x", [1, 2], np.uint8) == Field("x", (1, 2), "uint8")
