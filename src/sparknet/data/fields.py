"""Field: name, shape and dtype of one input of a net, and the conversion of a value to that shape and dtype.

A batch is an ordered mapping field name -> NDArray of shape ``(n, *field.shape)``. Values are converted here and nowhere else.
Bytes are read as unsigned, as image formats mean them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from sparknet.errors import DataError
from sparknet.ndarray import NDArray

__all__ = ["Columns", "Field", "as_array", "check_fields", "decoding_advice", "rows_of_batch"]

BYTES = bytes | bytearray | memoryview
Columns = Mapping[str, str | Sequence[str]]
"""Field name -> name of its column, or names of several columns whose values are joined."""


@dataclass(frozen=True)
class Field:
    """One input of a net: its name, the shape of one example, and the dtype in which examples are stored.

    Parameters
    ----------
    name
        Name of the net's input. The column has the same name, unless ``columns=`` says another one.
    shape
        Shape of one example, without the batch axis: ``(1, 28, 28)``; ``()`` for a label.
    dtype
        A numpy dtype of numbers or bool, or its name. The attribute is the name.
    batch_axis
        The batch axis of the net's input: 1 for ``(T, n, ...)``, as recurrent layers have it. A batch has its examples on the
        first axis in any case, ``(n, T, ...)``; a net that knows ``batch_axis`` moves the axes.

    Raises
    ------
    DataError
        The name, the shape, the dtype or the axis is of another kind.

    Examples
    --------
    >>> Field("data", (1, 28, 28), "uint8")
    Field(name='data', shape=(1, 28, 28), dtype='uint8')
    >>> Field("words", (20,), batch_axis=1)  # 20 steps of each example; the net's input is (20, n)
    Field(name='words', shape=(20,), dtype='float32', batch_axis=1)
    """

    name: str
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    batch_axis: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        """Check the arguments, and bring shape and dtype into one form, so that equal fields compare equal."""
        if not isinstance(self.name, str):
            msg = f"Field: got {self.name!r:.60} as its name, expected text, such as 'data'"
            raise DataError(msg)
        try:
            shape = tuple(int(n) for n in self.shape)
        except (TypeError, ValueError) as error:
            msg = (
                f"field {self.name!r}: got shape {self.shape!r}, expected a tuple of whole numbers, such as (3, 32, 32)"
            )
            raise DataError(msg) from error
        if any(n < 0 for n in shape):
            msg = f"field {self.name!r}: got shape {shape}, expected non-negative lengths"
            raise DataError(msg)
        axis = self.batch_axis
        if isinstance(axis, bool) or not isinstance(axis, int) or not 0 <= axis <= len(shape):
            msg = (
                f"field {self.name!r}: got batch_axis {axis!r}, expected a whole number from 0 to {len(shape)}, the axes of an "
                f"input of {shape} and the batch"
            )
            raise DataError(msg)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "dtype", self._dtype_name())

    def _dtype_name(self) -> str:
        with suppress(TypeError, ValueError):  # numpy does not know it
            dtype = np.dtype(self.dtype)
            if dtype.kind in "biufc":
                return dtype.name
        msg = f"field {self.name!r}: got dtype {self.dtype!r}, expected numbers, such as 'float32' or 'int64'"
        raise DataError(msg)

    def __repr__(self) -> str:
        """Return the call that makes this field."""
        axis = f", batch_axis={self.batch_axis}" * bool(self.batch_axis)
        return f"Field(name={self.name!r}, shape={self.shape}, dtype={self.dtype!r}{axis})"

    def __str__(self) -> str:
        """Return name, shape, dtype and an unusual batch axis in the words of error messages."""
        return f"{self.name!r} {self.dtype} {self.shape}" + f" with batch_axis {self.batch_axis}" * bool(
            self.batch_axis
        )

    def convert(self, value: Any) -> "np.ndarray[Any, Any]":
        r"""Return one example's value as an array of this field's shape and dtype.

        Numbers, (nested) sequences, numpy arrays, NDArrays and Spark's vectors, dense or sparse, keep
        their values; ``bytes`` are unsigned bytes in row-major order. A value that does not fit the dtype is refused.

        Raises
        ------
        DataError
            The value has the wrong number of elements, or the dtype cannot hold it.

        Examples
        --------
        >>> Field("x", (3,), "float32").convert(b"\x00\x01\xff")
        array([  0.,   1., 255.], dtype=float32)
        """
        try:
            array = as_array(value)
            if array.dtype == object and None in array.ravel().tolist():  # numpy would call it NaN
                raise DataError(f"{self._unknown(value)}: it is null or has one; drop such rows or fill them")
            if array.dtype.kind in "US":
                raise DataError(self._unknown(value))  # numpy would parse strings
            if array.dtype == object:
                array = array.astype(np.float64)
            # A flat value is given this field's shape; one with another shape is not guessed at.
            if array.shape != self.shape and (array.size != prod(self.shape) or array.ndim > 1):
                raise DataError(self._misfit(array.shape) + self._advice(value))
            array = array.reshape(self.shape)
            if array.dtype.kind in "mM" or (array.dtype.kind == "c" and np.dtype(self.dtype).kind != "c"):
                raise DataError(self._lost(array))
            with np.errstate(all="ignore"):  # what was lost is looked for below
                out = array.astype(self.dtype)
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self._unknown(value)}: {error}") from error
        if out.dtype != array.dtype and _loses(array, out):
            raise DataError(self._lost(array))
        return out

    def _lost(self, array: "np.ndarray[Any, Any]") -> str:
        return f"field {self}: the {array.dtype} value {str(array.ravel()[:3])[1:-1]}... does not fit {self.dtype}"

    def _unknown(self, value: Any) -> str:
        advice = decoding_advice(self) if hasattr(value, "keys") or hasattr(value, "asDict") else ""  # a struct
        return f"field {self}: the value {str(value)[:40]} of type {type(value).__name__} cannot be converted{advice}"

    def _misfit(self, shape: tuple[int, ...]) -> str:
        return (
            f"field {self}: got a value of shape {shape} ({prod(shape)} elements), "
            f"expected {self.shape} ({prod(self.shape)} elements)"
        )

    def _advice(self, value: Any) -> str:
        """Say how bytes are read, where a value of the wrong size is bytes."""
        if not isinstance(value, BYTES):
            return ""
        advice = f"; bytes are read as uint8, one for each element{decoding_advice(self)}"
        if len(bytes(value)) != prod(self.shape) * np.dtype(self.dtype).itemsize:
            return advice
        # They are not taken for what they may be: as many bytes may also be pixels of more channels.
        return (
            f"{advice}. Are these the bytes of {self.dtype} numbers? Then give an array, or np.frombuffer(value, "
            f"{self.dtype!r}); a DataFrame takes a column of arrays"
        )


def decoding_advice(field: Field) -> str:
    """Say which decoder makes values of a field that has the shape of images; "" for other fields."""
    if len(field.shape) != 3 or field.shape[0] not in (1, 3):
        return ""
    channels, height, width = field.shape
    return f"; encoded images take decoder=ImageDecoder({height}, {width}{', channels=1' * (channels == 1)})"


def as_array(value: Any) -> "np.ndarray[Any, Any]":
    """Return one example's value as numpy takes it; bytes as uint8."""
    if isinstance(value, BYTES):
        return np.frombuffer(value.tobytes() if isinstance(value, memoryview) else value, np.uint8)
    return np.asarray(value.toArray() if hasattr(value, "toArray") else value)


def _loses(array: "np.ndarray[Any, Any]", out: "np.ndarray[Any, Any]") -> bool:
    """Say whether a conversion changed values other than by rounding to a float of fewer digits."""
    if out.dtype.kind in "iub":
        return not np.array_equal(out, array)
    return bool(np.any(np.isinf(out) & np.isfinite(array)))


def check_fields(fields: Sequence[Field], columns: Columns | None = None) -> tuple[Field, ...]:
    """Return the fields as a tuple; a DataError if two share a name, or ``columns`` does not say which columns each has."""
    if not isinstance(fields, list | tuple) or not all(isinstance(f, Field) for f in fields):
        msg = f"fields: got {str(fields)[:60]}, expected a list such as [Field('data', (3, 32, 32), 'uint8'), Field('label')]"
        raise DataError(msg)
    names = [f.name for f in fields]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice or not names:
        got = f"the field {twice[0]!r} twice" if twice else "no field"
        msg = f"fields: got {got}; expected one Field for each input of the net"
        raise DataError(msg)
    if not isinstance(columns, Mapping | None):
        msg = f"columns: got {columns!r:.60}, expected a mapping from the names of fields to those of columns"
        raise DataError(msg)
    unknown = [name for name in columns or () if name not in names]
    if unknown:
        msg = f"columns: got {', '.join(map(repr, unknown))}; expected names of fields: {', '.join(map(repr, names))}"
        raise DataError(msg)
    for name, given in (columns or {}).items():
        _check_names(name, given)
    return tuple(fields)


def _check_names(name: str, given: Any) -> None:
    """Raise a DataError unless a column, or a list of several, is given for a field."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not names or not all(isinstance(n, str) for n in names):
        msg = f"columns: got {given!r:.60} for field {name!r}, expected the name of a column, or a list of names"
        raise DataError(msg)
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        msg = f"columns: got {twice!r} twice for field {name!r}, expected each column once"
        raise DataError(msg)


def rows_of_batch(batch: Mapping[str, NDArray]) -> int:
    """Return the number of examples in ``batch``; a DataError if its arrays disagree."""
    lengths = {name: array.shape[0] if array.ndim else 0 for name, array in batch.items()}
    if len(set(lengths.values())) != 1:
        msg = f"the arrays of a batch must have the same first length, got {lengths}"
        raise DataError(msg)
    return next(iter(lengths.values()))
