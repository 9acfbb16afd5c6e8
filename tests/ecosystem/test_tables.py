"""Tables packed as columns: pyarrow's, and what has pandas' attributes; what is said of columns that are not there."""

import numpy as np
import pyarrow as pa
import pytest

from sparknet import DataError, Field
from sparknet.data import pack

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
    assert str(raised.value).startswith("columns: got 302 names for a field, expected the name of one column")
    assert str(raised.value).endswith("there is no column 'column300', 'colum001'")


def test_what_is_neither_rows_nor_columns_is_refused():
    with pytest.raises(DataError, match=r"pack\(\): got int, expected rows, or a mapping or table of columns"):
        pack(3, FIELDS, 2)
