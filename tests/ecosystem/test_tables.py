"""Tables packed as columns: pyarrow's, and what has pandas' attributes; what is said of columns that are not there."""

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from sparknet import DataError, Field
from sparknet.clusters.spark.packing.arrow import batch_of_arrow
from sparknet.data import ImageDecoder, pack
from sparknet.data.rows import batch_of_rows

FIELDS = [Field("x", (2,)), Field("y", (), "int64")]
COLUMNS = {"x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "y": [1, 2, 3]}


class Frame:
    """As pandas.DataFrame (2.3): ``columns``, ``iloc[:, place].to_numpy()``; iterating gives the names of the columns."""

    def __init__(self, *columns):
        self._columns = columns
        self.columns = [name for name, _ in columns]
        self.iloc = self

    def __iter__(self):
        return iter(self.columns)

    def __getitem__(self, key):
        rows, place = key
        assert rows == slice(None)
        _, values = self._columns[place]
        made = np.empty(len(values), object) if isinstance(values[0], list) else np.asarray(values)
        made[:] = values
        return type("Series", (), {"to_numpy": lambda _: made})()


TABLES = {
    "Table": pa.table,
    "chunked Table": lambda columns: pa.concat_tables([pa.table(columns).slice(0, 2), pa.table(columns).slice(2)]),
    "RecordBatch": lambda columns: pa.table(columns).to_batches()[0],
    "DataFrame": lambda columns: Frame(*columns.items()),
    "mapping": dict,
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_a_table_is_taken_as_columns(make):
    data = pack(make({"more": ["a", "b", "c"], **COLUMNS}), FIELDS, 2, columns={"x": "x"})
    assert data.count() == 3
    assert [batch["x"].tolist() for batch in data.batches] == [COLUMNS["x"][:2], COLUMNS["x"][2:]]
    assert [batch["y"].tolist() for batch in data.batches] == [[1, 2], [3]]


@pytest.mark.parametrize("make", [TABLES["Table"], TABLES["RecordBatch"]], ids=["Table", "RecordBatch"])
def test_a_null_is_named_by_its_row_and_not_taken_for_nan(make):
    with pytest.raises(DataError, match=r"row 1: field 'y' .* it is null"):
        pack(make({**COLUMNS, "y": [1, None, 3]}), FIELDS, 2)


def test_columns_that_are_missing_or_twice_are_named_and_no_others_of_many():
    with pytest.raises(DataError, match=r"pack\(\): the Table has no column 'y'; it has 'x'$"):
        pack(pa.table({"x": [1.0]}), FIELDS, 2)
    with pytest.raises(DataError, match=r"the Frame has 2 columns named 'x', at \[0, 1\]"):
        pack(Frame(("x", [1.0]), ("x", [2.0])), [Field("x", ())], 2)
    many = {f"column{i:03d}": [1.0] for i in range(300)}
    with pytest.raises(
        DataError, match=r"no column 'colum003'; it has .* \(300 in all\); is 'column003' meant\?"
    ) as raised:
        pack(many, [Field("colum003", ())], 2)
    assert str(raised.value).count("column1") == 0
    with pytest.raises(DataError) as raised:
        pack(many, [Field("data", (300,))], 2, columns={"data": [*many, "column300", "colum001"]})
    assert str(raised.value).startswith("pack(): the mapping has no column 'column300', 'colum001'; it has 'column000'")
    assert str(raised.value).endswith("(300 in all); is 'column230', 'column001' meant?")


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_several_columns_of_a_table_make_one_input(make):
    table = make({"z": [7, 8, 9], **COLUMNS})
    (batch,) = pack(table, [Field("data", (2, 2))], 3, columns={"data": ["y", "x", "z"]}).batches
    assert batch["data"].tolist() == [[[1, 1], [2, 7]], [[2, 3], [4, 8]], [[3, 5], [6, 9]]]
    with pytest.raises(
        DataError, match=r"row 0: field 'data', column 'more', .*the value a of type str_? cannot be converted"
    ):
        pack(make({"more": ["a", "b", "c"], **COLUMNS}), [Field("data", (2,))], 3, columns={"data": ["y", "more"]})


values = {
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int8(): st.integers(-128, 127),
    pa.bool_(): st.booleans(),
    pa.binary(): st.binary(max_size=2),
    pa.list_(pa.float64()): st.lists(st.one_of(st.none(), st.floats()), min_size=1, max_size=2),
    pa.list_(pa.int32()): st.lists(st.integers(-5, 5), max_size=2),
}


@st.composite
def batches(draw):
    rows, kinds = draw(st.integers(1, 3)), draw(st.lists(st.sampled_from(list(values)), min_size=2, max_size=3))
    columns = [draw(st.lists(st.one_of(st.none(), values[k]), min_size=rows, max_size=rows)) for k in kinds]
    columns = [
        [next(filter(None, v), None)] * rows if draw(st.booleans()) else v for v in columns
    ]  # of one size more often
    return pa.record_batch([pa.array(v, k) for v, k in zip(columns, kinds, strict=True)], list("abc"[: len(kinds)]))


@given(batches(), st.integers(1, 5), st.sampled_from(["float32", "float64", "int64", "uint8"]))
@example(pa.record_batch({"a": [2**53 + 1], "b": [1.0]}), 2, "int64")
@example(pa.record_batch({"a": [b"ab", b"cd"], "b": [[1.0], [2.0]], "c": [True, False]}), 4, "float32")
def test_columns_are_joined_by_arrow_as_by_rows_bit_for_bit_and_refused_alike(batch, size, dtype):
    fields, columns = (Field("x", (size,), dtype),), {"x": batch.schema.names}

    def outcome(function, rows):
        try:
            return function(rows, fields, columns)["x"].to_host().tobytes()
        except DataError as error:
            return error.row, str(error).partition(" dtype")[0].partition("the ")[0]

    assert outcome(batch_of_arrow, batch) == outcome(batch_of_rows, batch.to_pylist())


def test_what_is_neither_rows_nor_columns_is_refused():
    with pytest.raises(DataError, match=r"pack\(\): got int, expected rows, or a mapping or table of columns"):
        pack(3, FIELDS, 2)


@pytest.mark.parametrize("kind", ["Table", "chunked Table", "RecordBatch"])
def test_a_decoder_takes_image_files_and_structs_with_them_from_a_table(kind):
    files = []
    for value in (10, 20, 30):
        file = io.BytesIO()
        Image.new("RGB", (4, 3), (value, 0, 255)).save(file, "PNG")
        files.append(file.getvalue())
    for column in (files, [{"bytes": data, "path": None} for data in files]):
        table = TABLES[kind]({"image": column})
        data = pack(table, [Field("image", (3, 2, 2), "uint8")], 3, decoder=ImageDecoder(2, 2))
        assert data.first_batch()["image"].to_host()[:, 0, 1, 1].tolist() == [10, 20, 30]
