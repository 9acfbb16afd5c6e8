"""Memory of callers, and fresh memory for messages: at an address that is fast to copy to, and in huge pages where the system allows it.

Fresh memory is dear, because the kernel clears it page by page when it is first touched. numpy asks for huge pages for
large arrays, which makes it four times as cheap; Python's ``bytes`` does not.
"""

import ctypes
import os
import sys
from mmap import MADV_FREE, MADV_HUGEPAGE, PAGESIZE
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: of the payloads in a message, and so of memory for a message
Array = np.ndarray[Any, Any]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_LITTLE = "<|=" if sys.byteorder == "little" else "<|"


def as_memory(buffer: Any, caller: str) -> memoryview:
    """Return a bytes-like object as a flat memoryview of bytes; shares memory."""
    try:
        return memoryview(buffer).cast("B")
    except TypeError as error:
        fix = "; of a file, use load() or open it" if isinstance(buffer, str | os.PathLike) else ""
        msg = f"{caller}: got {type(buffer).__name__} ({error}); expected a contiguous bytes-like object{fix}"
        raise TypeError(msg) from error


def aligned(size: int) -> Bytes:
    """Return memory at a multiple of 64 bytes, as the payloads of a message in it then are.

    Large arrays of numpy begin 16 bytes into a page. Zen 3 processors copy from the start of a page (of a file's cache,
    say) to there at a tenth of their speed: reading a file of 244 MB takes 135 ms so, and 46 ms into memory that is aligned.
    """
    memory = np.empty(size + ALIGNMENT, np.uint8)
    begin = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[begin : begin + size]


def let_go(memory: Bytes) -> None:
    """Let the kernel have the pages of this memory, whose contents are not needed, as soon as it is short of any.

    Until then it is used again at the cost of a warm copy: filling 244 MB takes 31 ms before and 33 ms after this call, which takes 0.2 ms,
    and 70 ms in fresh memory. What was written since stays.
    """
    address = memory.__array_interface__["data"][0]
    first, last = -(-address // PAGESIZE) * PAGESIZE, (address + memory.nbytes) // PAGESIZE * PAGESIZE
    if first < last:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_FREE)


def writable_bytes(size: int) -> tuple[bytes, Bytes]:
    """Return a new ``bytes`` and an array over its memory, to be filled before anybody else sees it.

    It is made as C extensions make theirs, so that huge pages can be asked for before it is touched: filling 244 MB
    takes 30-37 ms, and ``b"".join`` 160-280 ms.
    """
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)(
        ("PyBytes_FromStringAndSize", ctypes.pythonapi)
    )
    data = new(None, size)
    address = id(data) + bytes.__basicsize__ - 1  # a bytes object ends with its contents and a zero
    page = -(-address // PAGESIZE) * PAGESIZE
    if page < address + size:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(page), ctypes.c_size_t(address + size - page), MADV_HUGEPAGE)
    memory: Any = (ctypes.c_char * size).from_address(address)
    memory.owner = data  # the array keeps it alive
    return data, np.frombuffer(memory, np.uint8)


def little_endian(dtype: "np.dtype[Any]") -> "np.dtype[Any]":
    """Return a dtype with the byte order of a message; itself where it has that already."""
    return dtype if dtype.byteorder in _LITTLE else dtype.newbyteorder("<")


def is_ready(array: Any) -> bool:
    """Say whether the array's memory holds its elements as a message does: host, C order, little-endian."""
    return type(array) is np.ndarray and array.flags.c_contiguous and array.dtype.byteorder in _LITTLE


def are_ready(arrays: list[Any]) -> bool:
    """Return ``all(map(is_ready, arrays))``, in a third of the time."""
    return (
        set(map(type, arrays)) <= {np.ndarray}
        and {array.flags.c_contiguous for array in arrays} <= {True}
        and all(dtype.byteorder in _LITTLE for dtype in {array.dtype for array in arrays})
    )


def as_bytes(array: Array) -> Bytes:
    """Return the bytes of a C-contiguous array; shares memory."""
    return np.frombuffer(array, np.uint8)
