"""Batches made of rows, whatever a row is: a tuple, a mapping, a Spark Row, a record, a bare value.

A value that does not fit is named by its row; the cluster adds where that row is.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from math import prod
from typing import Any

import numpy as np

from sparknet.data.fields import BYTES, Field
from sparknet.errors import DataError
from sparknet.ndarray import NDArray

__all__ = ["array_of_values", "batch_of_rows", "check_columns", "values_of_row"]

_ROUNDED = (np.float64, np.complex128)  # what integers of 64 bits and other numbers are stacked to
_EXACT = 2.0**53  # integers below are exact there
_SHOWN = 12  # names of columns in a message


def check_columns(wanted: Sequence[str], names: Sequence[str], what: str) -> None:
    """Raise a DataError unless each column in ``wanted`` is there, once, among the ``names`` of ``what``."""
    for name in wanted:
        if not isinstance(name, str):
            got = f"{len(name)} names" if isinstance(name, list | tuple) else repr(name)
            raise DataError(f"columns: got {got} for a field, expected the name of one column{_lost(name, names)}")
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(f"{what} has no column {_few(missing)}; it has {_few(names)}{_meant(missing, names)}")
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        places = [i for i, name in enumerate(names) if name == twice[0]]
        msg = f"{what} has {len(places)} columns named {twice[0]!r}, at {places}; rename all but one"
        raise DataError(msg)


def _few(names: Sequence[Any]) -> str:
    """Return names for a message: all, or the first of many and how many there are."""
    rest = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + rest


def _meant(missing: Sequence[str], names: Sequence[Any]) -> str:
    """Name the columns that are called much like the missing ones, where a list of all would not be read."""
    texts = [str(name) for name in names]
    close = [match for name in missing[:_SHOWN] for match in get_close_matches(name, texts, n=1)]
    return f"; is {_few(close)} meant?" if close and len(names) > _SHOWN else ""


def _lost(wanted: Any, names: Sequence[Any]) -> str:
    """Say which names in a list of columns are not there at all."""
    if not isinstance(wanted, list | tuple):
        return ""
    missing = [name for name in wanted if name not in names]
    join = ": join the columns into one of arrays first"
    return f"{join}; and there is no column {_few(missing)}" if missing else join


def values_of_row(row: Any, fields: Sequence[Field], columns: Mapping[str, str] | None = None) -> list[Any]:
    """Return the row's value for each field: by name where the row has names, else by position.

    Parameters
    ----------
    row
        A mapping, a Spark Row, a named tuple or a record of a structured numpy array; or a tuple or list in the
        order of the fields; or, for one field, its value.
    fields
        Which values.
    columns
        Field name -> name in the row, where they differ.

    Raises
    ------
    DataError
        A name is missing or there twice, or the row has another number of values.
    """
    names = _names_of(row)
    if names is not None:
        wanted = [(columns or {}).get(f.name, f.name) for f in fields]
        check_columns(wanted, names, "a row")
        by_name = not isinstance(row, tuple)  # a Row and a named tuple are tuples; [] of a Row may take names only
        return [row[name] if by_name else tuple.__getitem__(row, names.index(name)) for name in wanted]
    if columns:
        msg = (
            f"columns={dict(columns)!r}: a row is a {type(row).__name__}, which has no names; expected mappings or Rows"
        )
        raise DataError(msg)
    if isinstance(row, tuple | list) and len(row) == len(fields):
        return list(row)
    if len(fields) == 1:
        return [row]
    size = f"{len(row)} values" if isinstance(row, tuple | list) else f"a {type(row).__name__}"
    needed = ", ".join(map(str, fields))
    msg = f"a row has {size}, expected {len(fields)}: {needed}; rows with more in them need names (mappings, Rows)"
    raise DataError(msg)


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


def batch_of_rows(
    rows: Sequence[Any], fields: Sequence[Field], columns: Mapping[str, str] | None = None
) -> dict[str, NDArray]:
    """Return one batch of all ``rows``; new memory.

    Parameters
    ----------
    rows, fields, columns
        As for :func:`values_of_row`.

    Raises
    ------
    DataError
        A row does not fit; its ``row`` is the number of the row, its ``reason`` the message without it.

    Examples
    --------
    >>> batch = batch_of_rows([(b"ab", 1), (b"cd", 0)], [Field("x", (2,), "uint8"), Field("y", (), "int64")])
    >>> batch["x"].shape, batch["y"].to_host().tolist()
    ((2, 2), [1, 0])
    """
    table = []
    for i, row in enumerate(rows):
        try:
            table.append(values_of_row(row, fields, columns))
        except DataError as error:
            raise error.placed(f"row {i}", row=i) from error
    by_field = zip(*table, strict=True) if table else [()] * len(fields)
    return {f.name: NDArray(array_of_values(values, f)) for f, values in zip(fields, by_field, strict=True)}


def array_of_values(values: "Sequence[Any] | np.ndarray[Any, Any]", field: Field) -> "np.ndarray[Any, Any]":
    """Return all values of a field as one array of shape ``(n, *field.shape)``: at once where they are alike.

    ``values`` is a sequence of what :meth:`Field.convert` takes, or one array whose first axis counts the examples.
    The DataError of a value that does not fit has ``row`` and ``reason`` as for :func:`batch_of_rows`.
    """
    shape = (len(values), *field.shape)
    stacked = _stacked(values, field) if len(values) else None
    if stacked is not None:
        with suppress(DataError):  # the loop below finds out which value it was
            return Field(field.name, shape, field.dtype).convert(stacked.reshape(shape))
    out = np.empty(shape, field.dtype)
    for i, value in enumerate(values):
        try:
            out[i] = field.convert(value)
        except DataError as error:
            raise error.placed(f"row {i}", row=i) from error
    return out


def _stacked(values: Any, field: Field) -> "np.ndarray[Any, Any] | None":
    """Return values that are alike as one array with the right number of elements, else None."""
    size, first = prod(field.shape), values[0]
    if not isinstance(values, np.ndarray):
        if any(type(value) is not type(first) for value in values):
            return None  # stacked, they would take each other's type
        if isinstance(first, BYTES):
            alike = all(len(value) == size for value in values)
            return np.frombuffer(b"".join(values), np.uint8) if alike and size else None
        try:
            values = np.asarray([value.toArray() for value in values] if hasattr(first, "toArray") else values)
        except ValueError:  # of different lengths
            return None
        if values.dtype == object or (values.dtype in _ROUNDED and (np.abs(values) >= _EXACT).any()):
            return None  # integers among floats, or of two dtypes, have been rounded before the field was asked
    return values if values.shape[1:] in (field.shape, (size,)) else None
