"""One array in a ``.npy`` file, in the format of ``numpy.save``. Arrays that need pickle are refused."""

import ast
import io
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib import format as numpy_format

from sparknet.dtypes import TABLE
from sparknet.errors import FormatError
from sparknet.files.regular import open_regular, size_of
from sparknet.files.replacing import replacing
from sparknet.formats.contents import Array, Contents, admitted, check_dtypes, flatten, only, refused
from sparknet.ndarray import NDArray
from sparknet.serialization.memory.streams import read_up_to

__all__ = ["DTYPES", "read", "read_array", "write"]

DTYPES = tuple(row.name for row in TABLE if row.is_numpys)  # numpy writes other packages' types as bytes without a type
_HEADER = 12 + 10_000  # most bytes: magic, version and length, then the text, of which numpy takes 10,000
# version -> bytes of the header's length, and numpy's parser of both
_HEADERS = {(1, 0): (2, numpy_format.read_array_header_1_0), (2, 0): (4, numpy_format.read_array_header_2_0)}
_LONG = re.compile(rb"(?<=\d)L\b")  # as Python 2 wrote whole numbers


def read(path: Path, max_bytes: int | None) -> Contents:  # noqa: ARG001 - nothing in it is compressed
    """Return the array of a file, writable and independent of the file."""
    with open_regular(path) as file, refused(".npy"):
        return Contents(NDArray(read_array(file, size_of(file), "")), {})


def write(path: Path, obj: Any, metadata: dict[str, Any]) -> None:  # noqa: ARG001 - the format has none
    """Write the one array in ``obj``."""
    arrays = flatten(obj)
    array = only(arrays, ".npy")
    check_dtypes(arrays, DTYPES, ".npy")
    with replacing(path) as file:
        # not the file itself: on a full disk, numpy would say how many elements it wrote, and not why
        numpy_format.write_array(SimpleNamespace(write=file.write), array, allow_pickle=False)


def read_array(file: Any, size: int, name: str) -> Array:
    """Return the array in the ``size`` bytes that come next from a file object.

    numpy's own reader allocates what the header declares. This one compares that with ``size`` first, and allocates memory
    as bytes arrive.
    """
    head = io.BytesIO(file.read(min(size, _HEADER)))
    shape, fortran_order, dtype = _header(head)
    if dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0:
        msg = f"tensor {name!r} has dtype {dtype} and shape {shape}; expected plain numbers"
        raise FormatError(msg, tensor=name, offset=None)
    expected = math.prod(shape) * dtype.itemsize
    got = size - head.tell()
    if got != expected:
        msg = f"tensor {name!r} has {got} bytes; its shape {shape} and dtype {dtype} need {expected}"
        raise FormatError(msg, tensor=name, offset=None)
    data = read_up_to(file, expected, head.read())
    file.read(1)  # to the end of a zip entry, where its CRC is compared
    array: Array = np.ndarray(shape, dtype, data, order="F" if fortran_order else "C")
    return admitted(name, array)


def _header(head: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, order and dtype of a header, and move ``head`` behind it.

    numpy takes a text that Python does not parse for one of Python 2, and may look for its end for seconds. So the text is
    parsed here first.
    """
    width, parse = _HEADERS[numpy_format.read_magic(head)]
    length = int.from_bytes(head.read(width), "little")
    text = head.read(length)
    if len(text) < length:
        msg = f"a header of {length} bytes, of which there are {len(text)}"
        raise ValueError(msg)
    text = _LONG.sub(b"", text)
    try:
        ast.literal_eval(text.decode("latin-1"))
    except (MemoryError, RecursionError):  # Python's parser has a full stack
        msg = "a header of too many brackets in one another"
        raise ValueError(msg) from None
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = parse(io.BytesIO(len(text).to_bytes(width, "little") + text))
    return found
