"""Readers of the field's classic image files: MNIST's IDX and CIFAR-10's binary batches.

Both return uint8 exactly as stored. File sizes are checked against the header before memory is taken.
"""

import gzip
import struct
import zlib
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.errors import DataError

__all__ = ["read_cifar10", "read_idx"]

_IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_RECORD = 1 + prod(_CIFAR_SHAPE)


def read_idx(path: str | Path) -> "np.ndarray[Any, Any]":
    """Read an IDX file, plain or gzip.

    Parameters
    ----------
    path
        The file; gzip is recognised by its first bytes, not by its name.

    Returns
    -------
    numpy.ndarray
        Shape and dtype as the header says (images (n, h, w) uint8, labels (n,) uint8), native byte order.

    Raises
    ------
    DataError
        The file is missing, is no IDX file, or is longer or shorter than its header says.

    Notes
    -----
    Format: http://yann.lecun.com/exdb/mnist/ - two zero bytes, a dtype code, the number of axes,
    their lengths as big-endian uint32, the values in row-major order.
    """
    data = read_file(Path(path))
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_DTYPES:
        msg = f"{path}: not an IDX file (it begins with {data[:4].hex(' ')}, expected 00 00, a dtype code, a rank)"
        raise DataError(msg)
    dtype, ndim = np.dtype(_IDX_DTYPES[data[2]]), data[3]
    start = 4 + 4 * ndim
    shape = struct.unpack(f">{ndim}I", data[4:start]) if len(data) >= start else ()
    expected = start + prod(shape) * dtype.itemsize
    if len(shape) != ndim or len(data) != expected:
        msg = f"{path}: has {len(data)} bytes, its IDX header asks for {expected}; is the download complete?"
        raise DataError(msg)
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_cifar10(paths: Iterable[str | Path]) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    """Read CIFAR-10 binary files (``data_batch_1.bin``, ...), one after the other.

    Returns
    -------
    images, labels
        (n, 3, 32, 32) uint8, channels R, G, B; and (n,) uint8 in [0, 10).

    Raises
    ------
    DataError
        There is no file; or one is missing, is not a whole number of records, or has a label above 9.

    Notes
    -----
    Format: https://www.cs.toronto.edu/~kriz/cifar.html - records of one label byte and 3,072 pixels.
    """
    parts = []
    for path in paths:
        data = read_file(Path(path))
        if not data or len(data) % _CIFAR_RECORD:
            msg = f"{path}: has {len(data)} bytes, expected a multiple of {_CIFAR_RECORD} (a CIFAR-10 binary file)"
            raise DataError(msg)
        records = np.frombuffer(data, np.uint8).reshape(-1, _CIFAR_RECORD)
        if records[:, 0].max() > 9:
            msg = f"{path}: has the label {records[:, 0].max()}, expected 0 to 9 (is it CIFAR-100?)"
            raise DataError(msg)
        parts.append(records)
    if not parts:
        msg = "read_cifar10(): got no file, expected at least one, such as data_batch_1.bin"
        raise DataError(msg)
    records = np.concatenate(parts)
    return records[:, 1:].reshape(-1, *_CIFAR_SHAPE), records[:, 0].copy()


def read_file(path: Path) -> bytes:
    """Return the bytes of a file, unpacked if they are gzip; a DataError if it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise DataError(msg) from error
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path}: damaged gzip file ({error}); is the download complete?"
        raise DataError(msg) from error
