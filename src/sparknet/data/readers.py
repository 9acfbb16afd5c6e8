"""Readers of two classic formats of image files: MNIST's IDX and CIFAR-10's binary batches.

Values are returned as stored. The size of a file is compared with its header before memory is taken. A gzip file is inflated as
it is read: up to the size in its header, and to 1 GiB or 16 times its size at most.
"""

import gzip
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.errors import DataError, FormatError
from sparknet.files.regular import inflated_limit, open_regular, size_of
from sparknet.serialization.memory.streams import read_up_to

__all__ = ["read_cifar10", "read_idx"]

_IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MAX_AXES = 64  # of a numpy array
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_RECORD = 1 + prod(_CIFAR_SHAPE)
_GZIP = b"\x1f\x8b"


def read_idx(path: str | Path) -> "np.ndarray[Any, Any]":
    """Read an IDX file, plain or gzip.

    Parameters
    ----------
    path
        The file; gzip is recognised by the first bytes, not by the name.

    Returns
    -------
    numpy.ndarray
        Shape and dtype as the header says (images (n, h, w) uint8, labels (n,) uint8), native byte order.

    Raises
    ------
    DataError
        The file is missing, is no IDX file (or no regular file at all), or is longer or shorter than its header says. Or it is
        gzip, and its header asks for more than 1 GiB and more than 16 times the file.

    Notes
    -----
    Format: http://yann.lecun.com/exdb/mnist/ - two zero bytes, a dtype code, the number of axes,
    their lengths as big-endian uint32, the values in row-major order.
    """
    with _opened(Path(path)) as contents:
        begin = contents.read(4)
        if len(begin) < 4 or begin[:2] != b"\0\0" or begin[2] not in _IDX_DTYPES or begin[3] > _MAX_AXES:
            msg = (
                f"{path}: not an IDX file (it begins with {begin.hex(' ')}, expected 00 00, a dtype code, and a number of axes "
                f"up to {_MAX_AXES})"
            )
            raise DataError(msg)
        dtype, ndim = np.dtype(_IDX_DTYPES[begin[2]]), begin[3]
        lengths = contents.read(4 * ndim)
        if len(lengths) < 4 * ndim:
            msg = f"{path}: ends within its IDX header; is the download complete?"
            raise DataError(msg)
        shape = struct.unpack(f">{ndim}I", lengths)
        data = contents.rest(prod(shape) * dtype.itemsize, 4 + 4 * ndim)
    try:
        return np.ndarray(shape, dtype, data).astype(dtype.newbyteorder("="), copy=False)
    except ValueError as error:  # empty, with other lengths that no address space holds
        msg = f"{path}: its IDX header asks for the shape {shape}: {error}"
        raise DataError(msg) from error


def read_cifar10(paths: Iterable[str | Path]) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    """Read CIFAR-10 binary files (``data_batch_1.bin``, ...), one after the other.

    Returns
    -------
    images, labels
        (n, 3, 32, 32) uint8, channels R, G, B; and (n,) uint8 in [0, 10).

    Raises
    ------
    DataError
        There is no file; or one is missing, is no regular file, is not a whole number of records, or has a label above 9;
        or one is gzip and inflates to more than 1 GiB and more than 16 times its size.

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
    """Return the bytes of a file, inflated if they are gzip.

    Raises
    ------
    DataError
        It is missing, no regular file, damaged, or inflates to more than 1 GiB and 16 times its size.
    """
    with _opened(path) as contents:
        data = contents.read(contents.limit + 1)
    if len(data) > contents.limit:
        raise contents.too_large(f"more than {contents.limit}")
    return data


class _Contents:
    """The contents of an open file, inflated if it is gzip; ``limit`` is the largest size in bytes."""

    def __init__(self, file: Any, path: Path) -> None:
        self._path, self._size = path, size_of(file)
        self._is_gzip = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        self._stream = gzip.GzipFile(fileobj=file) if self._is_gzip else file
        self.limit = inflated_limit(self._size, None) if self._is_gzip else self._size

    def read(self, count: int) -> bytes:
        """Return the next bytes, fewer if the file ends; memory grows only as bytes are read."""
        return read_up_to(self._stream, count).tobytes()

    def rest(self, count: int, before: int) -> Any:
        """Return the bytes behind the first ``before`` ones; a DataError unless they are ``count``."""
        expected = before + count
        if self._is_gzip and expected > self.limit:
            raise self.too_large(f"{expected}, as its header says")
        if self._is_gzip or self._size == expected:
            data = read_up_to(self._stream, count + 1)  # gzip compares its checksum only behind the last byte
            if len(data) == count:
                return data
            got = str(before + len(data)) if len(data) < count else f"more than {expected}"
        else:
            got = str(self._size)
        msg = f"{self._path}: has {got} bytes, its IDX header asks for {expected}; is the download complete?"
        raise DataError(msg)

    def too_large(self, inflated: str) -> DataError:
        """Return the error for a file that inflates to this many bytes."""
        return DataError(
            f"{self._path}: {self._size} bytes of gzip that become {inflated}; the limit is {self.limit}. "
            "Unpack it (gunzip) if you trust where it comes from"
        )


@contextmanager
def _opened(path: Path) -> Iterator[_Contents]:
    """Open a regular file; failures to open and read it are DataErrors."""
    try:
        file = open_regular(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        try:
            yield _Contents(file, path)
        except DataError:
            raise
        except (gzip.BadGzipFile, FormatError, zlib.error) as error:
            msg = f"{path}: damaged gzip file ({error}); is the download complete?"
            raise DataError(msg) from error
        except OSError as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({error.strerror})")
