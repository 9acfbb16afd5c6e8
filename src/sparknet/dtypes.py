"""The table of element types. A new type is a new row here; arrays, messages and weight files take theirs from it.

The list is closed: a type is found by its name or code, so there is no way to an object, structured or zero-size type. The
codes are those of the wire format (``docs/reference/format_v1.md``). The low half of a code is log2 of the item size in
bytes, so that a reader in any language knows the size of a payload before it knows the type. Codes are never reused or changed.
"""

from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

__all__ = ["TABLE", "Row"]


class Row(NamedTuple):
    """An element type.

    Parameters
    ----------
    code
        Its byte in a message.
    name
        What numpy calls it.
    safetensors
        What a ``.safetensors`` file calls it; None: the format has no such type.
    package
        The package that defines it. numpy's files (``.npy``, ``.npz``) keep the types of numpy alone.
    in_cupy
        Whether cupy compiles kernels for it.
    """

    code: int
    name: str
    safetensors: str | None = None
    package: str = "numpy"
    in_cupy: bool = True

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return 1 << (self.code & 0x0F)

    @property
    def is_numpys(self) -> bool:
        """Whether numpy itself defines it."""
        return self.package == "numpy"

    def dtype(self) -> np.dtype[Any]:
        """Return numpy's dtype, in this machine's byte order.

        Raises
        ------
        ImportError
            The package that defines it is not installed.
        """
        return np.dtype(self.name) if self.is_numpys else np.dtype(getattr(import_module(self.package), self.name))


TABLE = (
    Row(0x10, "bool", "BOOL"),
    Row(0x20, "int8", "I8"),
    Row(0x21, "int16", "I16"),
    Row(0x22, "int32", "I32"),
    Row(0x23, "int64", "I64"),
    Row(0x30, "uint8", "U8"),
    Row(0x31, "uint16", "U16"),
    Row(0x32, "uint32", "U32"),
    Row(0x33, "uint64", "U64"),
    Row(0x41, "float16", "F16"),
    Row(0x42, "float32", "F32"),
    Row(0x43, "float64", "F64"),
    Row(0x83, "complex64", "C64"),
    Row(0x84, "complex128"),
    Row(0x51, "bfloat16", "BF16", "ml_dtypes"),
    Row(0x60, "float8_e4m3fn", "F8_E4M3", "ml_dtypes", in_cupy=False),
    Row(0x70, "float8_e5m2", "F8_E5M2", "ml_dtypes", in_cupy=False),
)
