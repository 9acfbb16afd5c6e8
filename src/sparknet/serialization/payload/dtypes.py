"""The closed list of element types that a message may hold, and their one-byte codes.

The low half of a code is log2 of the item size in bytes, so that a reader in any language knows the
size of a payload before it knows what to do with the type. Codes are never reused or changed. A dtype is
found by its code in this table, never by parsing text: there is no way to an object, structured or
zero-size type.
"""

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from sparknet.errors import FormatError, MissingDependency

# code -> name; the last three come from the package ml_dtypes, numpy has no such types of its own
NAMES = {
    0x10: "bool",
    0x20: "int8",
    0x21: "int16",
    0x22: "int32",
    0x23: "int64",
    0x30: "uint8",
    0x31: "uint16",
    0x32: "uint32",
    0x33: "uint64",
    0x41: "float16",
    0x42: "float32",
    0x43: "float64",
    0x83: "complex64",
    0x84: "complex128",
    0x51: "bfloat16",
    0x60: "float8_e4m3fn",
    0x70: "float8_e5m2",
}
BOOL = 0x10
FLOATS = {0x42, 0x43}  # what the lossy encodings are for
_FOREIGN = {0x51, 0x60, 0x70}
_BY_NAME = {name: code for code, name in NAMES.items()}


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
    code = _BY_NAME.get(dtype.name)
    package = dtype.type.__module__.partition(".")[0]
    if code is None or dtype.subdtype or package != ("ml_dtypes" if code in _FOREIGN else "numpy"):
        msg = f"dtype {dtype} cannot be serialized; convert the array to one of: {', '.join(NAMES.values())}"
        raise TypeError(msg)
    return code


@cache
def dtype_of(code: int) -> np.dtype[Any]:
    """Return the little-endian numpy dtype of ``code``.

    Raises
    ------
    FormatError
        The code is not in the list: the message comes from a newer version.
    MissingDependency
        The type is one of ml_dtypes' and that package is not installed.
    """
    name = NAMES.get(code)
    if name is None:
        msg = f"unknown dtype code 0x{code:02x}; the message needs a newer version of sparknet"
        raise FormatError(msg, tensor=None, offset=None)
    if code not in _FOREIGN:
        return np.dtype(name).newbyteorder("<")
    try:
        dtype: np.dtype[Any] = np.dtype(getattr(import_module("ml_dtypes"), name))
    except ImportError as error:
        msg = f"arrays of dtype {name} need the package ml_dtypes: pip install ml_dtypes"
        raise MissingDependency(msg, name="ml_dtypes") from error
    return dtype
