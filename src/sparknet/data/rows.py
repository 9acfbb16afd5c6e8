"""Batches made of rows or of columns. A row may be a tuple, a mapping, a Spark Row, a record or a bare value.

The error for a value that does not fit names its row, and its column if the field has several. A cluster adds where that row
is.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from sparknet.data.columns import ColumnReader, advice_on_tuple, columns_of, few
from sparknet.data.fields import BYTES, Columns, Field, as_array
from sparknet.data.images.encoded import EncodedField
from sparknet.errors import DataError
from sparknet.ndarray import NDArray

__all__ = ["array_of_values", "batch_of_columns", "batch_of_rows"]

_ROUNDED = (np.float64, np.complex128)  # the dtypes of stacked floats, also with integers of 64 bits among them
_EXACT = 2.0**53  # float64 holds every smaller integer


def batch_of_rows(rows: Sequence[Any], fields: Sequence[Field], columns: Columns | None = None) -> dict[str, NDArray]:
    """Return one batch of all ``rows``, in new memory.

    Parameters
    ----------
    rows, fields, columns
        As for :func:`~sparknet.data.columns.values_of_row`.

    Raises
    ------
    DataError
        A row does not fit. The error's ``row`` is the number of the row, its ``reason`` is the message without that number.

    Examples
    --------
    >>> batch = batch_of_rows([(b"ab", 1), (b"cd", 0)], [Field("x", (2,), "uint8"), Field("y", (), "int64")])
    >>> batch["x"].shape, batch["y"].to_host().tolist()
    ((2, 2), [1, 0])
    """
    read, table = ColumnReader(fields, columns), []
    for i, row in enumerate(rows):
        try:
            table.append(read(row))
        except DataError as error:
            raise error.placed(f"row {i}", row=i) from error
    try:
        return batch_of_columns(zip(*table, strict=True) if table else [()] * len(read.wanted), fields, columns)
    except DataError as error:
        bad = getattr(error, "row", None)
        advice = "" if bad is None else advice_on_tuple(rows[bad], fields)
        if not advice:
            raise
        raise DataError(f"{getattr(error, 'reason', error)}{advice}").placed(f"row {bad}", row=bad) from error


def batch_of_columns(
    values: Iterable[Any], fields: Sequence[Field], columns: Columns | None = None
) -> dict[str, NDArray]:
    """Return one batch of whole columns, which come in the order of the fields and, for each field, of its columns.

    Examples
    --------
    >>> batch = batch_of_columns([[1, 2], [[3, 4], [5, 6]]], [Field("x", (3,))], {"x": ["a", "b"]})
    >>> batch["x"].to_host().tolist()
    [[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]
    """
    given, batch = iter(values), {}
    for f in fields:
        names = columns_of(f, columns)
        ours = list(islice(given, len(names)))
        batch[f.name] = NDArray(array_of_values(ours[0], f) if len(ours) == 1 else _joined(ours, f, names))
    return batch


@dataclass(frozen=True)
class _Part(Field):
    """One of several columns of a field; an example's value in it has this shape."""

    column: str = ""

    def __str__(self) -> str:
        return f"{self.name!r}, column {self.column!r}, {self.dtype} {self.shape}"


def _joined(values: Sequence[Any], field: Field, names: Sequence[str]) -> "np.ndarray[Any, Any]":
    """Return a field's examples: the flat values of its columns, one column after the other. A column has values of one size."""
    rows = len(values[0])
    if any(len(column) != rows for column in values):
        msg = f"field {field}: its columns have different lengths: {few(names, [len(column) for column in values])}"
        raise DataError(msg)
    out = np.empty((rows, prod(field.shape)), field.dtype)
    parts = _parts(values, field, names) if rows else []
    end = 0
    for part, column in zip(parts, values, strict=False):
        begin, end = end, end + prod(part.shape)
        out[:, begin:end] = array_of_values(column, part).reshape(rows, -1)
    return out.reshape(rows, *field.shape)


def _parts(values: Sequence[Any], field: Field, names: Sequence[str]) -> list[_Part]:
    """Return the part of each column in the field, by its first value; a DataError unless the parts make up the field."""
    parts = [_Part(field.name, _shape(v), field.dtype, column=n) for v, n in zip(values, names, strict=True)]
    sizes = [prod(part.shape) for part in parts]
    if sum(sizes) == prod(field.shape):
        return parts
    for part, column in zip(parts, values, strict=True):
        array_of_values(column[:1], part)  # raises for a null or a text, which has no size
    msg = f"field {field}: its columns have {sum(sizes)} elements, {few(names, sizes)}; expected {prod(field.shape)}"
    raise DataError(msg).placed("row 0", row=0)


def _shape(values: Any) -> tuple[int, ...]:
    """Return the shape of a column's first value; () if it has none."""
    shape: tuple[int, ...] = ()
    if isinstance(values, np.ndarray) and values.dtype != object:
        shape = values.shape[1:]
    else:
        with suppress(TypeError, ValueError):
            shape = as_array(values[0]).shape
    return shape


def array_of_values(values: "Sequence[Any] | np.ndarray[Any, Any]", field: Field) -> "np.ndarray[Any, Any]":
    """Return all values of a field as one array of shape ``(n, *field.shape)``; values of one kind are converted at once.

    ``values`` is a sequence of values that :meth:`Field.convert` takes, or one array whose first axis counts the examples.
    The DataError for a value that does not fit has ``row`` and ``reason`` as for :func:`batch_of_rows`.
    """
    shape = (len(values), *field.shape)
    stacked = _stacked(values, field) if len(values) and not isinstance(field, EncodedField) else None
    if stacked is not None:
        with suppress(DataError):  # the loop below finds the value
            return Field(field.name, shape, field.dtype).convert(stacked.reshape(shape))
    out = np.empty(shape, field.dtype)
    for i, value in enumerate(values):
        try:
            out[i] = field.convert(value)
        except DataError as error:
            raise error.placed(f"row {i}", row=i) from error
    return out


def _stacked(values: Any, field: Field) -> "np.ndarray[Any, Any] | None":
    """Return values of one kind as one array with the right number of elements, else None."""
    size, first = prod(field.shape), values[0]
    if not isinstance(values, np.ndarray):
        if len(set(map(type, values))) > 1:
            return None  # stacking would give them one type
        if isinstance(first, memoryview):
            return None  # its elements may have several bytes, and gaps between them
        if isinstance(first, BYTES):
            alike = all(len(value) == size for value in values)
            return np.frombuffer(b"".join(values), np.uint8) if alike and size else None
        try:
            values = np.asarray([value.toArray() for value in values] if hasattr(first, "toArray") else values)
        except ValueError:  # of different lengths
            return None
        if values.dtype == object or (values.dtype in _ROUNDED and (np.abs(values) >= _EXACT).any()):
            return None  # large integers were rounded: they are among floats, or of two dtypes
    return values if values.shape[1:] in (field.shape, (size,)) else None
