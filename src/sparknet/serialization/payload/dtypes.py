"""The codes of element types in a message, from the table in :mod:`sparknet.dtypes`: dtype to code and back."""

from functools import cache
from typing import Any

import numpy as np

from sparknet.dtypes import TABLE
from sparknet.errors import FormatError, MissingDependency

_ROWS = {row.code: row for row in TABLE}
_BY_NAME = {row.name: row for row in TABLE}
NAMES = {row.code: row.name for row in TABLE}
BOOL = _BY_NAME["bool"].code
FLOATS = {_BY_NAME[name].code for name in ("float32", "float64")}  # what the lossy encodings are for


def itemsize(code: int) -> int:
    """Return the size of one element in bytes."""
    return 1 << (code & 0x0F)


@cache
def code_of(dtype: np.dtype[Any]) -> int:
    """Return the code of a numpy dtype of either byte order.

    Raises
    ------
    TypeError
        The type is not in the closed list.
    """
    row = _BY_NAME.get(dtype.name)
    if row is None or dtype.subdtype or dtype.type.__module__.partition(".")[0] != row.package:
        msg = f"dtype {dtype} cannot be serialized; convert the array to one of: {', '.join(NAMES.values())}"
        raise TypeError(msg)
    return row.code


@cache
def dtype_of(code: int) -> np.dtype[Any]:
    """Return the little-endian numpy dtype of ``code``.

    Raises
    ------
    FormatError
        The code is not in the list: the message comes from a newer version.
    MissingDependency
        The type is one of another package, ml_dtypes, which is not installed.
    """
    row = _ROWS.get(code)
    if row is None:
        msg = f"unknown dtype code 0x{code:02x}; the message needs a newer version of sparknet"
        raise FormatError(msg, tensor=None, offset=None)
    try:
        return row.dtype().newbyteorder("<") if row.is_numpys else row.dtype()
    except ImportError as error:
        msg = f"arrays of dtype {row.name} need the package {row.package}: pip install {row.package}"
        raise MissingDependency(msg, name=row.package) from error
