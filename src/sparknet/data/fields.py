"""Field: name, shape and dtype of one input of a net; and batches made of rows by it.

A batch is an ordered mapping field name -> NDArray of shape ``(n, *field.shape)``. Values are
converted here and nowhere else; bytes are unsigned, as image formats mean them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from sparknet.errors import DataError
from sparknet.ndarray import NDArray

__all__ = ["Field", "batch_of_rows", "rows_of_batch", "values_of_row"]


@dataclass(frozen=True)
class Field:
    """One input of a net: its name, the shape of one example, and the dtype it is stored in.

    Parameters
    ----------
    name
        Name of the net's input (and of the column, unless said otherwise).
    shape
        Shape of one example, without the batch axis: ``(1, 28, 28)``; ``()`` for a label.
    dtype
        Any numpy dtype name or object; stored as its name.

    Examples
    --------
    >>> Field("data", (1, 28, 28), "uint8")
    Field(name='data', shape=(1, 28, 28), dtype='uint8')
    """

    name: str
    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Normalise shape and dtype, so that equal fields compare equal."""
        shape = tuple(int(n) for n in self.shape)
        if any(n < 0 for n in shape):
            msg = f"field {self.name!r}: got shape {shape}, expected non-negative lengths"
            raise DataError(msg)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "dtype", np.dtype(self.dtype).name)

    def __str__(self) -> str:
        """Return name, shape and dtype in the words of error messages."""
        return f"{self.name!r} {self.dtype} {self.shape}"

    def convert(self, value: Any) -> "np.ndarray[Any, Any]":
        r"""Return one example's value as an array of this field's shape and dtype.

        Numbers, (nested) sequences, numpy arrays and NDArrays keep their values; ``bytes`` are
        unsigned bytes in row-major order. A value that does not fit the dtype is refused.

        Raises
        ------
        DataError
            The value has the wrong number of elements, or the dtype cannot hold it.

        Examples
        --------
        >>> Field("x", (3,), "float32").convert(b"\x00\x01\xff")
        array([  0.,   1., 255.], dtype=float32)
        """
        is_bytes = isinstance(value, bytes | bytearray | memoryview)
        try:
            array = np.frombuffer(value, np.uint8) if is_bytes else np.asarray(value)
            if array.dtype.kind in "US" or (array.dtype == object and None in array.ravel().tolist()):
                raise DataError(self._unknown(value))  # numpy would parse strings and call None NaN
            if array.dtype == object:
                array = array.astype(np.float64)
            # A flat value is given this field's shape; one with another shape is not guessed at.
            if array.shape != self.shape and (array.size != prod(self.shape) or array.ndim > 1):
                raise DataError(self._misfit(array.shape))
            array = array.reshape(self.shape)
            if array.dtype.kind in "mM" or (array.dtype.kind == "c" and np.dtype(self.dtype).kind != "c"):
                raise DataError(self._lost(array))
            with np.errstate(all="ignore"):  # what was lost is looked for below
                out = array.astype(self.dtype)
        except (TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self._unknown(value)}: {error}") from error
        if out.dtype != array.dtype and _loses(array, out):
            raise DataError(self._lost(array))
        return out

    def _lost(self, array: "np.ndarray[Any, Any]") -> str:
        return f"field {self}: the {array.dtype} value {str(array.ravel()[:3])[1:-1]}... does not fit {self.dtype}"

    def _unknown(self, value: Any) -> str:
        return f"field {self}: the value {str(value)[:40]} of type {type(value).__name__} cannot be converted"

    def _misfit(self, shape: tuple[int, ...]) -> str:
        return (
            f"field {self}: got a value of shape {shape} ({prod(shape)} elements), "
            f"expected {self.shape} ({prod(self.shape)} elements)"
        )


def _loses(array: "np.ndarray[Any, Any]", out: "np.ndarray[Any, Any]") -> bool:
    """Say whether a conversion changed values other than by rounding to a float of fewer digits."""
    if out.dtype.kind in "iub":
        return not np.array_equal(out, array)
    return bool(np.any(np.isinf(out) & np.isfinite(array)))


def values_of_row(row: Any, fields: Sequence[Field]) -> list[Any]:
    """Return the row's value for each field: by name from a mapping or a Spark Row, else by position."""
    if isinstance(row, Mapping):
        missing = [f.name for f in fields if f.name not in row]
        if missing:
            raise DataError(_missing(missing, list(row)))
        return [row[f.name] for f in fields]
    names = getattr(row, "__fields__", None) or getattr(row, "_fields", None)  # pyspark.sql.Row, namedtuple
    if names:
        missing = [f.name for f in fields if f.name not in names]
        if missing:
            raise DataError(_missing(missing, list(names)))
        return [tuple.__getitem__(row, list(names).index(f.name)) for f in fields]
    if isinstance(row, tuple | list) and len(row) == len(fields):
        return list(row)
    if len(fields) == 1:
        return [row]
    size = f"{len(row)} values" if isinstance(row, tuple | list) else f"a {type(row).__name__}"
    msg = f"a row has {size}, expected {len(fields)}: {', '.join(map(str, fields))}"
    raise DataError(msg)


def _missing(missing: list[str], names: list[str]) -> str:
    return f"a row has no column {', '.join(map(repr, missing))}; its columns are {', '.join(map(repr, names))}"


def batch_of_rows(rows: Sequence[Any], fields: Sequence[Field]) -> dict[str, NDArray]:
    """Return one batch of all ``rows``; new memory.

    Examples
    --------
    >>> batch = batch_of_rows([(b"ab", 1), (b"cd", 0)], [Field("x", (2,), "uint8"), Field("y", (), "int64")])
    >>> batch["x"].shape, batch["y"].to_host().tolist()
    ((2, 2), [1, 0])
    """
    columns = zip(*(values_of_row(row, fields) for row in rows), strict=True) if rows else [()] * len(fields)
    return {f.name: NDArray(_column(values, f)) for f, values in zip(fields, columns, strict=True)}


def _column(values: Sequence[Any], field: Field) -> "np.ndarray[Any, Any]":
    """Return all values of a field as one array; at once where they are alike, else one by one."""
    shape = (len(values), *field.shape)
    alike = (
        bool(values)
        and all(type(v) is type(values[0]) for v in values)
        and not isinstance(values[0], bytes | bytearray | memoryview)
    )
    if alike and all(np.shape(v) == field.shape for v in values):
        return Field(field.name, shape, field.dtype).convert(np.asarray(values))
    out = np.empty(shape, field.dtype)
    for i, value in enumerate(values):
        out[i] = field.convert(value)
    return out


def rows_of_batch(batch: Mapping[str, NDArray]) -> int:
    """Return the number of examples in ``batch``; a DataError if its arrays disagree."""
    lengths = {name: array.shape[0] if array.ndim else 0 for name, array in batch.items()}
    if len(set(lengths.values())) != 1:
        msg = f"the arrays of a batch must have the same first length, got {lengths}"
        raise DataError(msg)
    return next(iter(lengths.values()))
