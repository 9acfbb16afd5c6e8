"""Converts the arrays of a weight file to another dtype, for formats that do not have theirs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sparknet.errors import SchemaError
from sparknet.formats.contents import ALONE
from sparknet.ndarray import NDArray
from sparknet.weights import WeightCollection

__all__ = ["cast", "check_cast"]

_DTYPES = ("float16", "float32", "float64")


def check_cast(dtype: Any) -> None:
    """Raise a SchemaError unless arrays can be cast to ``dtype``."""
    if dtype not in _DTYPES:
        msg = f"dtype: got {dtype!r}, expected {', '.join(_DTYPES)}"
        raise SchemaError(msg, got=dtype, expected=_DTYPES)


def cast(obj: Any, dtype: str) -> Any:
    """Return the contents of a file with the arrays in ``dtype``. 0-d whole numbers, such as counts of steps, stay as they are.

    Raises
    ------
    SchemaError
        An array holds no real numbers, or a finite number that is infinite in ``dtype``.

    Examples
    --------
    >>> cast({"mean": NDArray(np.zeros(2)), "iteration": NDArray(7)}, "float32")["mean"].dtype
    dtype('float32')
    """
    if isinstance(obj, WeightCollection):
        layers = obj.items()
        return WeightCollection(
            {name: [_cast(f"{name}/{i}", a, dtype) for i, a in enumerate(arrays)] for name, arrays in layers}
        )
    if isinstance(obj, Mapping):
        return {name: _cast(name, array, dtype) for name, array in obj.items()}
    return _cast(ALONE, obj, dtype)


def _cast(name: str, array: NDArray, dtype: str) -> NDArray:
    host = array.to_host()
    if host.dtype.kind in "iu" and not host.ndim:
        return array
    if host.dtype.kind not in "biufV":  # "V": bfloat16 and float8 of ml_dtypes
        msg = f"tensor {name!r} is {host.dtype.name}; expected real numbers, to make {dtype} of them"
        raise SchemaError(msg, tensor=name, got=host.dtype.name, expected=dtype)
    with np.errstate(over="ignore"):
        out = host.astype(dtype)
    if (np.isinf(out) & np.isfinite(host)).any():
        msg = f"tensor {name!r} has numbers that {dtype} has no place for: they would become infinite"
        raise SchemaError(msg, tensor=name, got=host.dtype.name, expected=dtype)
    return NDArray(out)
