"""Field: what a value becomes, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import DataError, Field, NDArray
from sparknet.data.fields import check_fields, rows_of_batch


@given(st.binary(min_size=6, max_size=6))
def test_bytes_are_unsigned_and_keep_their_values(data):
    for kind in (bytes, bytearray, memoryview):
        assert Field("x", (2, 3), "float32").convert(kind(data)).ravel().tolist() == list(data)


def test_bytes_of_the_wrong_size_are_said_to_be_read_as_uint8_and_are_never_reinterpreted():
    field = Field("x", (2,), "float32")
    read = r"got a value of shape \({0},\) \({0} elements\), expected \(2,\) .*; bytes are read as uint8, one for each element"
    floats = np.array([1, 2], np.float32)
    for kind in (bytes, bytearray, memoryview):
        with pytest.raises(DataError, match=read.format(3) + "$"):
            field.convert(kind(b"abc"))
        with pytest.raises(
            DataError, match=read.format(8) + r". Are these .* float32 .* np.frombuffer\(value, 'float32'\)"
        ):
            field.convert(kind(floats.tobytes()))
    assert field.convert(np.frombuffer(floats.tobytes(), "float32")).tolist() == [1, 2]


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
        ([1, 2, 3, 10**400], "type list cannot be converted: int too large"),
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


def test_arrays_of_a_batch_must_agree_in_length():
    with pytest.raises(DataError, match=r"same first length, got \{'a': 1, 'b': 2\}"):
        rows_of_batch({"a": NDArray([1]), "b": NDArray([1, 2])})


@pytest.mark.parametrize("dtype", ["U5", "S3", "object", "datetime64[s]", "i4,f4", "float33", 3])
def test_fields_of_no_numbers_are_refused(dtype):
    with pytest.raises(DataError, match=r"field 'x': got dtype .*, expected numbers, such as 'float32' or 'int64'"):
        Field("x", (), dtype)


@pytest.mark.parametrize("shape", [3, None, ("a",)])
def test_fields_with_a_shape_that_is_none_are_refused(shape):
    with pytest.raises(DataError, match=r"field 'x': got shape .*, expected a tuple of whole numbers"):
        Field("x", shape)


@pytest.mark.parametrize("name", [5, None, ("a",)])
def test_a_field_whose_name_is_no_text_is_refused(name):
    with pytest.raises(DataError, match=r"^Field: got .* as its name, expected text, such as 'data'"):
        Field(name)


@pytest.mark.parametrize("columns", ["x", ["x"]])
def test_columns_that_say_of_no_field_which_are_its_own_are_refused(columns):
    with pytest.raises(
        DataError, match=r"columns: got .*, expected a mapping from the names of fields to those of columns"
    ):
        check_fields([Field("x")], columns)


def test_fields_with_negative_lengths_are_refused_and_equal_ones_are_equal():
    with pytest.raises(DataError, match="non-negative"):
        Field("x", (-1,))
    assert Field("x", [1, 2], np.uint8) == Field("x", (1, 2), "uint8")


def test_a_batch_axis_is_shown_where_it_is_unusual():
    assert repr(Field("x", (5,), batch_axis=1)) == "Field(name='x', shape=(5,), dtype='float32', batch_axis=1)"
    assert str(Field("x", (5,), batch_axis=1)) == "'x' float32 (5,) with batch_axis 1"
    assert repr(Field("x", (5,))) == "Field(name='x', shape=(5,), dtype='float32')"
    assert Field("x", (5,), batch_axis=1) != Field("x", (5,))


@pytest.mark.parametrize("axis", [-1, 2, 1.0, True, "1"])
def test_a_batch_axis_that_is_none_is_refused(axis):
    with pytest.raises(DataError, match=r"field 'x': got batch_axis .*, expected a whole number from 0 to 1"):
        Field("x", (5,), batch_axis=axis)
