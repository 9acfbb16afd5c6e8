"""The columns of tables in this process's memory: DataFrames of pandas and Tables of pyarrow. Neither package is imported."""

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Table", "table_of"]


class Table(NamedTuple):
    """A table: the names of its columns, which may repeat, and a function from a column's place to its values."""

    names: list[Any]
    column: Callable[[int], Any]


def table_of(rows: Any) -> Table | None:
    """Return an object as a Table, if it has the attributes of a table; else None.

    Numbers come as numpy arrays; nulls stay None and are not turned into NaN.
    """
    if hasattr(rows, "column_names") and hasattr(rows, "column"):  # pyarrow: Table, RecordBatch
        return Table(list(rows.column_names), lambda place: _arrow(rows.column(place)))
    if hasattr(rows, "iloc") and hasattr(rows, "columns"):  # pandas
        return Table(list(rows.columns), lambda place: rows.iloc[:, place].to_numpy())
    return None


def _arrow(column: Any) -> Any:
    if column.null_count:
        return column.to_pylist()
    return column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)
