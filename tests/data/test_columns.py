"""Columns: several make one input, each converted as it would be alone; the one that does not fit is named."""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparknet import DataError, Field, NDArray
from sparknet.data import pack
from sparknet.data.columns import ColumnReader, check_columns
from sparknet.data.rows import batch_of_columns, batch_of_rows

JOINED = {"data": ["age", "scores", "tenure"]}
FIELDS = [Field("data", (2, 2)), Field("label", (), "int64")]
AGES, SCORES, TENURES, LABELS = [30, 40, 50], [[1.5, 2.5], [3.5, 4.5], [5.5, 6.5]], [7.25, 8.25, 9.25], [0, 1, 0]
EXPECTED = [[[30, 1.5], [2.5, 7.25]], [[40, 3.5], [4.5, 8.25]], [[50, 5.5], [6.5, 9.25]]]


class Customer(NamedTuple):
    label: int
    tenure: float
    scores: list
    age: int


class FakeVector:
    """As pyspark.ml.linalg.SparseVector: what it holds is told by toArray() alone."""

    def __init__(self, values):
        self.values = values

    def toArray(self):  # noqa: N802 - Spark's name
        return np.array(self.values, float)


ROWS = list(zip(LABELS, TENURES, SCORES, AGES, strict=True))
RECORD = np.dtype([("label", "i8"), ("tenure", "f8"), ("scores", "f8", (1, 2)), ("age", "i2")])
WAYS = {
    "mappings": [OrderedDict(zip(Customer._fields, row, strict=True)) for row in ROWS],
    "mappings in other orders": [
        dict(sorted(zip(Customer._fields, row, strict=True), reverse=i == 1)) for i, row in enumerate(ROWS)
    ],
    "named tuples": [Customer(*row) for row in ROWS],
    "vectors": [Customer(*row)._replace(scores=FakeVector(row[2])) for row in ROWS],
    "records": list(np.array([(a, b, [c], d) for a, b, c, d in ROWS], RECORD)),
    "columns": {"tenure": np.array(TENURES), "age": AGES, "scores": NDArray(np.array(SCORES)), "label": LABELS},
}


@pytest.mark.parametrize("rows", WAYS.values(), ids=WAYS)
def test_several_columns_make_one_input_in_the_order_they_are_named(rows):
    data = pack(rows, FIELDS, 2, columns=JOINED)
    assert [x for batch in data.batches for x in batch["data"].to_host().tolist()] == EXPECTED
    assert [y for batch in data.batches for y in batch["label"].to_host().tolist()] == LABELS


def test_bytes_among_columns_are_one_element_a_byte():
    batch = batch_of_rows([{"a": b"\x00\xff", "b": 0.5}], [Field("x", (3,))], {"x": ["a", "b"]})
    assert batch["x"].to_host().tolist() == [[0, 255, 0.5]]


def test_a_list_of_one_column_is_that_column():
    batch = batch_of_rows([{"a": [[1, 2], [3, 4]]}], [Field("x", (2, 2))], {"x": ["a"]})
    assert batch["x"].to_host().tolist() == [[[1, 2], [3, 4]]]


def test_no_rows_give_a_batch_without_rows():
    assert batch_of_rows([], FIELDS, JOINED)["data"].shape == (0, 2, 2)


# ---- laws
def outcome(function, *args):
    try:
        made = function(*args)
    except DataError:
        return DataError
    return (made["x"].to_host() if isinstance(made, dict) else made).tobytes()


numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([2**53 + 1, -(2**53) - 1, 0, 255, 256]),
    st.floats(),
    st.booleans(),
    st.just(None),
)
kinds = st.sampled_from(["scalar", "list", "array", "vector", "bytes"])


def value_of(kind, size):
    if kind == "bytes":
        return st.binary(min_size=size, max_size=size)
    if kind == "scalar":
        return numbers
    lists = st.lists(st.floats() if kind == "vector" else numbers, min_size=size, max_size=size)
    return {"list": lists, "array": lists.map(lambda v: np.array(v, object)), "vector": lists.map(FakeVector)}[kind]


@st.composite
def tables(draw):
    """Some columns of one kind each: the name, the number of elements, and the values of all rows."""
    rows = draw(st.integers(1, 3))
    columns = {}
    for name in "abc"[: draw(st.integers(2, 3))]:
        kind = draw(kinds)
        size = 1 if kind == "scalar" else draw(st.integers(1, 2))
        columns[name] = size, draw(st.lists(value_of(kind, size), min_size=rows, max_size=rows))
    return columns


@given(tables(), st.sampled_from(["int64", "uint8", "float32", "float64"]))
@example({"a": (1, [2**53 + 1]), "b": (1, [0.5])}, "float64")
@example({"a": (1, [2**53 + 1]), "b": (1, [1.0])}, "int64")  # stacked with floats, it would lose a digit
def test_joined_columns_are_each_column_alone_one_after_the_other(columns, dtype):
    field = Field("x", (sum(size for size, _ in columns.values()),), dtype)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*(v for _, v in columns.values()), strict=True)]
    alone = [
        outcome(Field(name, (size,), dtype).convert, row[name]) for row in rows for name, (size, _) in columns.items()
    ]
    expected = DataError if DataError in alone else b"".join(alone)
    names = {"x": list(columns)}
    assert outcome(batch_of_rows, rows, [field], names) == expected
    assert outcome(batch_of_columns, [v for _, v in columns.values()], [field], names) == expected


# ---- refused
def rows_with(**changes):
    rows = [dict(row) for row in WAYS["mappings"]]
    rows[1].update(changes)
    return rows


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tenure": None}, r"^row 1: field 'data', column 'tenure', float32 \(\): the value None .* it is null"),
        ({"scores": [1, None]}, r"^row 1: field 'data', column 'scores', float32 \(2,\): .* it is null or has one"),
        (
            {"age": "old"},
            r"^row 1: field 'data', column 'age', float32 \(\): the value old of type str cannot be converted",
        ),
        (
            {"scores": [1, 2, 3]},
            r"^row 1: field 'data', column 'scores', .*shape \(3,\) \(3 elements\), expected \(2,\)",
        ),
        ({"age": [1, 2], "scores": [3]}, r"^row 1: field 'data', column 'age', .*shape \(2,\)"),
    ],
)
def test_the_column_that_does_not_fit_is_named_with_its_row(changes, text):
    with pytest.raises(DataError, match=text) as caught:
        batch_of_rows(rows_with(**changes), FIELDS, JOINED)
    assert caught.value.row == 1


def test_whole_numbers_that_lose_digits_are_refused_by_their_column():
    with pytest.raises(DataError, match=r"row 0: field 'x', column 'b', uint8 \(\): the int64 value 300"):
        batch_of_rows([{"a": 1, "b": 300}], [Field("x", (2,), "uint8")], {"x": ["a", "b"]})


def test_a_column_that_is_missing_is_named_alone():
    with pytest.raises(DataError, match=r"a row has no column 'tenure'; it has 'label', 'scores', 'age'$"):
        batch_of_rows([{"label": 1, "scores": [1, 2], "age": 3}], FIELDS, JOINED)


def test_columns_that_do_not_make_up_the_field_are_told_by_their_sizes():
    text = r"row 0: field 'data' float32 \(2, 2\): its columns have 3 elements, 'age' 1, 'scores' 2; expected 4"
    with pytest.raises(DataError, match=text):
        pack(WAYS["columns"], FIELDS, 2, columns={"data": ["age", "scores"]})
    first_is_null = [{"age": 1, "scores": None, "tenure": 1, "label": 0}]
    with pytest.raises(DataError, match=r"row 0: field 'data', column 'scores', .* it is null"):
        pack(first_is_null, FIELDS, 2, columns=JOINED)


def test_columns_of_different_lengths_are_refused():
    text = r"field 'x' float32 \(2,\): its columns have different lengths: 'a' 2, 'b' 3"
    with pytest.raises(DataError, match=text):
        pack({"a": [1, 2], "b": [1, 2, 3]}, [Field("x", (2,))], 2, columns={"x": ["a", "b"]})


@pytest.mark.parametrize("given_", [[], [1, 2], {"a", "b"}, 3, ["a", ["b"]], None])
def test_columns_that_are_no_names_are_refused(given_):
    text = "columns: got .* for field 'data', expected the name of a column, or a list of names"
    with pytest.raises(DataError, match=text):
        pack(WAYS["columns"], FIELDS, 2, columns={"data": given_})


def test_one_column_twice_in_a_field_is_refused():
    with pytest.raises(DataError, match="columns: got 'age' twice for field 'data', expected each column once"):
        pack(WAYS["columns"], FIELDS, 2, columns={"data": ["age", "tenure", "age", "scores"]})


# ---- cost
def test_names_are_looked_up_once_for_rows_of_the_same_names(monkeypatch):
    calls = []
    monkeypatch.setattr("sparknet.data.columns.check_columns", lambda *args: calls.append(1) or check_columns(*args))
    read = ColumnReader(FIELDS, JOINED)
    for rows in (WAYS["mappings"], WAYS["named tuples"]):
        assert [read(row) for row in rows] == [[row[3], row[2], row[1], row[0]] for row in ROWS]
    assert len(calls) == 2
