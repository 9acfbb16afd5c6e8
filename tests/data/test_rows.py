"""Rows: whatever a row is, its values reach the fields by name or by place, and a bad one is named."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparknet import DataError, Field
from sparknet.data import pack
from sparknet.data.columns import values_of_row
from sparknet.data.fields import rows_of_batch
from sparknet.data.images import ImageDecoder
from sparknet.data.images.encoded import EncodedField
from sparknet.data.rows import array_of_values, batch_of_rows

FIELDS = [Field("a", (), "int64"), Field("b", (), "int64")]


class Point(NamedTuple):
    y: int
    x: int


class FakeRow(tuple):
    """As pyspark.sql.Row: a tuple whose column names are in __fields__, and [] takes a name."""

    __slots__ = ()
    __fields__ = ("b", "a")

    def __getitem__(self, name):
        return tuple.__getitem__(self, self.__fields__.index(name))


class FakeVector:
    """As pyspark.ml.linalg.SparseVector: what it holds is told by toArray() alone."""

    def __init__(self, *values):
        self.values = values

    def toArray(self):  # noqa: N802 - Spark's name
        return np.array(self.values, float)


def test_rows_are_tuples_in_order_mappings_or_spark_rows():
    fields = [Field("a", (), "int64"), Field("b", (), "int64")]
    for r in ((1, 2), [1, 2], {"b": 2, "a": 1, "c": 3}, FakeRow((2, 1))):
        assert values_of_row(r, fields) == [1, 2]
    with pytest.raises(DataError, match="no column 'b'; it has 'a', 'c'"):
        values_of_row({"a": 1, "c": 2}, fields)
    with pytest.raises(DataError, match="a row has 3 values, expected 2: 'a' int64"):
        values_of_row((1, 2, 3), fields)


def test_namedtuples_are_matched_by_name():
    assert values_of_row(Point(1, 2), [Field("x"), Field("y")]) == [2, 1]


def test_a_batch_has_one_array_a_field_and_mixed_values_are_converted_one_by_one():
    fields = [Field("x", (2,), "float32"), Field("y", (), "int64")]
    batch = batch_of_rows([(b"\x01\xff", 1), ([3, 4], 2.0), (np.array([5, 6]), np.int8(3))], fields)
    assert batch["x"].to_host().tolist() == [[1, 255], [3, 4], [5, 6]]
    assert batch["y"].to_host().tolist() == [1, 2, 3]
    assert rows_of_batch(batch) == 3
    assert rows_of_batch(batch_of_rows([], fields)) == 0


def test_columns_map_fields_to_the_names_in_a_row():
    columns = {"a": "x", "b": "y"}
    record = np.array([(1, 2)], [("x", "i4"), ("y", "i4")])[0]
    for row in ({"x": 1, "y": 2}, Point(y=2, x=1), record):
        assert values_of_row(row, FIELDS, columns) == [1, 2]
    assert values_of_row({"x": 1}, FIELDS, {"a": "x", "b": "x"}) == [1, 1]
    with pytest.raises(DataError, match="a row has no column 'y'; it has 'x'"):
        values_of_row({"x": 1}, FIELDS, columns)
    with pytest.raises(DataError, match=r"a row is a tuple, which has no names; expected mappings or Rows"):
        values_of_row((1, 2), FIELDS, columns)


class TwiceNamed(FakeRow):
    """As a Row of a DataFrame after a join."""

    __slots__ = ()
    __fields__ = ("a", "b", "a")


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(DataError, match=r"a row has 2 columns named 'a', at \[0, 2\]; rename all but one"):
        values_of_row(TwiceNamed((1, 2, 3)), FIELDS)


def test_a_bad_row_is_named_by_its_number():
    with pytest.raises(DataError, match=r"^row 2: field 'b' int64 \(\): the float64 value 2.5") as caught:
        batch_of_rows([(1, 1), (2, 2), (3, 2.5), (4, "x")], FIELDS)
    assert caught.value.row == 2
    assert caught.value.reason.startswith("field 'b'")
    with pytest.raises(DataError, match=r"^row 1: a row has 3 values, expected 2"):
        batch_of_rows([(1, 1), (1, 2, 3)], FIELDS)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([[1, 2], [3, None]], "row 1: field 'x' .*it is null or has one; drop such rows or fill them"),
        ([[1, 2], None], "row 1: .*the value None of type NoneType cannot be converted: it is null"),
        ([[1, 2], [1, 2], [1]], r"row 2: .*got a value of shape \(1,\)"),
        ([b"ab", b"c"], r"row 1: .*got a value of shape \(1,\)"),
        ([[1, 2], [1, 300]], "row 1: .*does not fit uint8"),
        ([[1, 2], "ab"], "row 1: .*of type str cannot be converted"),
        ([FakeVector(1, 2), FakeVector(1, 2, 3)], r"row 1: .*got a value of shape \(3,\)"),
        (np.array([[1, 2], [-1, 2]]), "row 1: .*does not fit uint8"),
    ],
)
def test_the_value_that_does_not_fit_is_found_among_those_that_do(values, text):
    with pytest.raises(DataError, match=text):
        array_of_values(values, Field("x", (2,), "uint8"))


def test_memory_of_larger_elements_is_read_by_the_byte_alone_and_together():
    for array in (np.float32([1.5]), np.uint8([[1, 9], [2, 9]])[:, 0]):
        values = [memoryview(array)] * 2
        field = Field("x", (values[0].nbytes,), "uint8")
        assert array_of_values(values, field).tobytes() == 2 * field.convert(values[0]).tobytes() == 2 * array.tobytes()
    with pytest.raises(DataError, match=r"^row 0: .*got a value of shape \(4,\)"):
        array_of_values([memoryview(np.float32([1.5]))] * 2, Field("x", (1,)))


def test_vectors_become_arrays_alone_and_together():
    field = Field("x", (2, 1))
    assert field.convert(FakeVector(1, 2)).tolist() == [[1], [2]]
    assert array_of_values([FakeVector(1, 2), FakeVector(3, 4)], field).tolist() == [[[1], [2]], [[3], [4]]]


scalars = st.one_of(st.integers(0, 255), st.floats(0, 255, width=32), st.booleans())


@given(st.lists(st.one_of(st.binary(min_size=2, max_size=2), st.tuples(scalars, scalars)), max_size=6))
def test_values_together_become_what_they_become_alone(values):
    field = Field("x", (2,), "float32")
    together = array_of_values(values, field)
    assert together.shape == (len(values), 2)
    assert together.tobytes() == b"".join(field.convert(value).tobytes() for value in values)


def outcome(function, *args):
    try:
        return function(*args).tobytes()
    except DataError:
        return DataError


near = st.builds(lambda e, d, sign: sign * (2**e + d), st.integers(0, 64), st.integers(-2, 2), st.sampled_from([1, -1]))
numbers = st.one_of(near, near.map(float), st.just(2**60 + 2**36 + 1))
arrays = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(lambda i: np.array([i])),
    st.integers(0, 2**64 - 1).map(lambda i: np.array([i], np.uint64)),
    numbers.map(lambda x: np.array([x], np.float64)),
)


@given(
    st.one_of(*(st.lists(value, min_size=1, max_size=4) for value in (numbers, st.tuples(numbers), arrays))),
    st.sampled_from(["int64", "uint64", "int8", "float32", "float64", "complex64"]),
)
@example([[2**53 + 1], [1.0]], "int64")
@example([np.array([2**63 + 1], np.uint64), np.array([1])], "uint64")
@example([[2**60 + 2**36 + 1], [1.0]], "float32")  # rounded twice, it would be another
def test_large_integers_become_together_what_they_become_alone(values, dtype):
    field = Field("x", (1,) if np.ndim(values[0]) else (), dtype)
    alone = [outcome(field.convert, value) for value in values]
    assert outcome(array_of_values, values, field) == (DataError if DataError in alone else b"".join(alone))


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (([1.0, 2.0, 3.0], 7), Field("x", (3,))),
        ((1.0, 2.0, 3.0, 4.0), Field("x", (3,))),
        ((b"a file", "a.jpg"), EncodedField("x", (3, 4, 4), "uint8", decoder=ImageDecoder(4, 4))),
    ],
)
def test_a_tuple_of_more_values_than_the_one_field_is_said_to_need_names(row, field):
    text = rf"^row 0: field 'x' .*; the row is a tuple of {len(row)} values, which is taken as the one value of 'x': .* need names"
    with pytest.raises(DataError, match=text) as caught:
        batch_of_rows([row], [field])
    assert caught.value.row == 0


def test_what_a_tuple_has_no_part_in_is_said_without_it():
    for row in ([1.0, 2.0], {"x": [1.0, 2.0]}, np.zeros(2), ([1.0, 2.0],)):
        with pytest.raises(DataError, match=r"^row 0: ") as caught:
            batch_of_rows([row], [Field("x", (3,))])
        assert "is a tuple of" not in str(caught.value)
    assert batch_of_rows([(1.0, 2.0, 3.0)], [Field("x", (3,))])["x"].to_host().tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("name", ["DataFrame", "RDD"])
def test_data_on_spark_is_told_its_own_pack_before_it_is_gone_through(name):
    def refused(*_):
        raise AssertionError

    on_spark = type(
        name, (), {"__module__": "pyspark.sql.classic.dataframe", "__getitem__": refused, "__iter__": refused}
    )
    with pytest.raises(
        DataError, match=rf"pack\(\): got {name}, expected rows.*; sparknet.spark.pack is for data on Spark"
    ):
        pack(on_spark(), [Field("x", ())], 2)
