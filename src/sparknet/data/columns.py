"""Columns: which columns of a row or table make up a field, and at which places they are.

A field is made of the column of its own name, or of the columns that the caller's ``columns`` names; the values of several are
joined. Names are looked up once for all rows with the same names.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from sparknet.data.fields import Columns, Field
from sparknet.errors import DataError

__all__ = [
    "ColumnReader",
    "advice_on_id",
    "advice_on_tuple",
    "check_columns",
    "columns_of",
    "few",
    "id_of_row",
    "named_columns",
    "values_of_row",
]

_SHOWN = 12  # names of columns in a message


def columns_of(field: Field, columns: Columns | None) -> tuple[str, ...]:
    """Return the names of a field's columns, in their order.

    Examples
    --------
    >>> columns_of(Field("data", (2,)), {"data": ["age", "tenure"]}), columns_of(Field("label"), None)
    (('age', 'tenure'), ('label',))
    """
    names = (columns or {}).get(field.name, field.name)
    return (names,) if isinstance(names, str) else tuple(names)


def named_columns(fields: Sequence[Field], columns: Columns | None) -> list[tuple[Field, str]]:
    """Return each field with the name of each of its columns, in order."""
    return [(f, name) for f in fields for name in columns_of(f, columns)]


def check_columns(wanted: Sequence[str], names: Sequence[Any], what: str) -> list[int]:
    """Return the place of each column in ``wanted`` among the ``names`` of ``what``.

    Raises
    ------
    DataError
        A column is not there, or there twice.
    """
    places = {name: place for place, name in enumerate(names)}
    missing = [name for name in wanted if name not in places]
    if missing:
        raise DataError(f"{what} has no column {few(missing)}; it has {few(names)}{_meant(missing, names)}")
    twice = [name for name in wanted if names.count(name) > 1] if len(places) < len(names) else []
    if twice:
        there = [i for i, name in enumerate(names) if name == twice[0]]
        msg = f"{what} has {len(there)} columns named {twice[0]!r}, at {there}; rename all but one"
        raise DataError(msg)
    return [places[name] for name in wanted]


def few(names: Sequence[Any], counts: Sequence[Any] | None = None) -> str:
    """Return names, each with its count, as text for a message: the first 12, and how many there are if there are more."""
    texts = [repr(name) for name in names[:_SHOWN]]
    if counts is not None:
        texts = [f"{text} {count}" for text, count in zip(texts, counts, strict=False)]
    return ", ".join(texts) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")


def _meant(missing: Sequence[str], names: Sequence[Any]) -> str:
    """Return a hint at columns with names like the missing ones, if there are too many columns to list them all."""
    texts = [str(name) for name in names]
    close = [match for name in missing[:_SHOWN] for match in get_close_matches(name, texts, n=1)]
    return f"; is {few(close)} meant?" if close and len(names) > _SHOWN else ""


class ColumnReader:
    """Takes the values of columns out of one row after another; :func:`values_of_row` does it for a single row."""

    def __init__(self, fields: Sequence[Field], columns: Columns | None = None) -> None:
        self.fields, self.columns = fields, columns
        self.wanted = [name for _, name in named_columns(fields, columns)]
        self._names: Sequence[str] | None = None
        self._places: list[int] = []

    def __call__(self, row: Any) -> list[Any]:
        """Return the value of each column, in the order of the fields and of each field's columns."""
        names = _names_of(row)
        if names is None:
            return self._by_place(row)
        if names != self._names:
            self._names, self._places = names, check_columns(self.wanted, names, "a row")
        if isinstance(row, tuple):  # a Row or a named tuple; [] of a Row may take names only
            return [tuple.__getitem__(row, place) for place in self._places]
        return [row[name] for name in self.wanted]

    def _by_place(self, row: Any) -> list[Any]:
        fields = self.fields
        if self.columns:
            msg = f"columns={dict(self.columns)!r}: a row is a {type(row).__name__}, which has no names; expected mappings or Rows"
            raise DataError(msg)
        if isinstance(row, tuple | list) and len(row) == len(fields):
            return list(row)
        if len(fields) == 1:
            return [row]
        size = f"{len(row)} values" if isinstance(row, tuple | list) else f"a {type(row).__name__}"
        needed = ", ".join(map(str, fields))
        msg = f"a row has {size}, expected {len(fields)}: {needed}; rows with more in them need names (mappings, Rows)"
        raise DataError(msg)


def values_of_row(row: Any, fields: Sequence[Field], columns: Columns | None = None) -> list[Any]:
    """Return the row's value for each column of each field: by name where the row has names, else by position.

    Parameters
    ----------
    row
        A mapping, a Spark Row, a named tuple or a record of a structured numpy array; or a tuple or list in the
        order of the fields; or, for one field, its value.
    fields
        Which values.
    columns
        Field name -> name in the row, or list of names, where it differs.

    Raises
    ------
    DataError
        A name is missing or there twice, or the row has another number of values.
    """
    return ColumnReader(fields, columns)(row)


def id_of_row(row: Any, id_column: str | None) -> str:
    """Return the value of a row's id column as text to put behind the row's place in a message; "" if it has no such column.

    Examples
    --------
    >>> id_of_row({"path": "a.jpg"}, "path"), id_of_row(("a.jpg", 1), "path")
    (" (path 'a.jpg')", '')
    """
    if id_column is None or list(_names_of(row) or ()).count(id_column) != 1:
        return ""
    (value,) = values_of_row(row, [Field(id_column)])
    return f" ({id_column} {value!r})"


def advice_on_id(row: Any, id_column: str | None) -> str:
    """Return, for the end of a message about a row, that the row has no such id column; "" if it has, or if none is wanted.

    Examples
    --------
    >>> advice_on_id(("a.jpg", 1), "path"), advice_on_id({"path": "a.jpg"}, "path")
    ("; id_column: the row has no 'path'", '')
    """
    return "" if id_column is None or id_of_row(row, id_column) else f"; id_column: the row has no {id_column!r}"


def advice_on_tuple(row: Any, fields: Sequence[Field]) -> str:
    """Return how a tuple of several values was read for a single field, for the end of a message; "" for any other row."""
    if len(fields) != 1 or not isinstance(row, tuple) or len(row) < 2 or _names_of(row) is not None:
        return ""
    return (
        f"; the row is a tuple of {len(row)} values, which is taken as the one value of {fields[0].name!r}: rows with more in "
        "them need names (mappings, Rows)"
    )


def _names_of(row: Any) -> Sequence[str] | None:
    """Return the names of a row's values, None if it has none."""
    if isinstance(row, Mapping):
        return list(row)
    # pyspark.sql.Row, named tuple, record of a structured array
    for holder, attribute in ((row, "__fields__"), (row, "_fields"), (getattr(row, "dtype", None), "names")):
        names = getattr(holder, attribute, None)
        if names:
            return tuple(names)
    return None
