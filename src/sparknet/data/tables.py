"""Tables in this process's memory, as columns: pandas' DataFrames and pyarrow's Tables. Neither is imported."""

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Table", "table_of"]


class Table(NamedTuple):
    """A table: the names of its columns, of which some may be there twice, and the values of one, by its place."""

    names: list[Any]
    column: Callable[[int], Any]


def table_of(rows: Any) -> Table | None:
    """Return the table that an object is, by the attributes that tables have; None where it is none.

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
