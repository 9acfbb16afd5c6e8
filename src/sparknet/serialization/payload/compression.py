"""Lossless compression of chunks: zstd or LZ4 over byte planes. The sole importer of both packages.

The first bytes of a chunk's elements are put side by side, then their second bytes, and so on: signs and exponents of weights
repeat, the last bits do not. That gains more than a higher level of zstd, and makes level 1 no worse than level 3.

A chunk is inflated into memory of the size that the header of the message makes it, never of one that compressed bytes
declare, and the sum over all tensors is compared with the caller's limit before the first is inflated (:func:`check_limit`).
"""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from sparknet.errors import FormatError, MissingDependency, shown
from sparknet.files.regular import inflated_limit
from sparknet.serialization.memory.buffers import Bytes

_LEVEL = 1
_WINDOW_LOG = 21  # zstd frames that ask for more than 2 MiB, the largest chunk, are refused


class Method(NamedTuple):
    """One method: its functions, and the error that its library raises for bad bytes."""

    compress: Callable[[Bytes], bytes]
    inflate: Callable[[Bytes, int], bytes]  # how many bytes it should give: the caller compares
    error: type[Exception]


def method_of(compression: str) -> Method:
    """Return a compression method, for use by one thread.

    Raises
    ------
    ValueError
        There is no such method.
    MissingDependency
        Its library is not installed.
    """
    make = METHODS.get(compression) if isinstance(compression, str) else None
    if make is None:
        msg = f"compression {shown(compression)} is not known; expected one of {', '.join(map(repr, METHODS))}, or None"
        raise ValueError(msg)
    return make()


def compress_chunk(method: Method, chunk: Bytes, width: int, scratch: Bytes) -> bytes:
    """Return the compressed chunk, or its own bytes if they do not get fewer.

    Parameters
    ----------
    chunk
        The bytes of whole elements, one or more.
    width
        Size of an element in bytes.
    scratch
        Memory to work in, of at least as many bytes as the chunk.

    Examples
    --------
    >>> chunk = np.arange(1000, dtype="<u4").view(np.uint8)
    >>> stored = compress_chunk(method_of("lz4"), chunk, 4, np.empty(4000, np.uint8))
    >>> len(stored) < 1500
    True
    >>> back = np.empty_like(chunk)
    >>> inflate_chunk(method_of("lz4"), np.frombuffer(stored, np.uint8), 4, back), (back == chunk).all()
    ('', np.True_)
    """
    planes = chunk
    if width > 1:
        planes, length = scratch[: len(chunk)], len(chunk) // width
        for byte in range(width):
            planes[byte * length : (byte + 1) * length] = chunk[byte::width]
    stored = method.compress(planes)
    return stored if len(stored) < len(chunk) else chunk.tobytes()


def inflate_chunk(method: Method, stored: Bytes, width: int, chunk: Bytes) -> str:
    """Inflate a chunk that is stored compressed; say what is wrong with the stored bytes, or nothing."""
    try:
        planes = np.frombuffer(method.inflate(stored, len(chunk)), np.uint8)
    except method.error as error:
        return f"cannot be inflated: {error}"
    if len(planes) != len(chunk):
        return f"inflates to {len(planes)} bytes, expected {len(chunk)}"
    length = len(chunk) // width
    for byte in range(width):
        chunk[byte::width] = planes[byte * length : (byte + 1) * length]
    return ""


def check_limit(inflated: int, message: int, max_bytes: int | None) -> None:
    """Refuse a message whose compressed tensors are too large.

    Parameters
    ----------
    inflated, message
        Bytes of the compressed tensors that are asked for when they are inflated, and of the whole message.
    max_bytes
        The limit; None: 1 GiB, or 16 times the message if that is more.

    Raises
    ------
    FormatError
        The limit is exceeded. Nothing of that size was allocated.
    """
    limit = inflated_limit(message, max_bytes)
    if inflated > limit:
        msg = (
            f"the compressed tensors inflate to {inflated} bytes, from a message of {message}; the limit is {limit}. "
            f"Pass max_bytes={inflated} if you trust where it comes from"
        )
        raise FormatError(msg, tensor=None, offset=None)


def _zstd() -> Method:
    # chosen by version: each import of a module that is missing searches for it again, which takes longer than inflating a chunk
    zstd: Any = _import("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd", "backports.zstd")
    compressor = zstd.ZstdCompressor(_LEVEL)
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}

    def compress(chunk: Bytes) -> bytes:
        frame: bytes = compressor.compress(chunk, compressor.FLUSH_FRAME)
        return frame

    def inflate(stored: Bytes, size: int) -> bytes:
        frame = zstd.ZstdDecompressor(options=options)
        chunk: bytes = frame.decompress(stored, size)
        if not frame.eof or frame.unused_data:
            msg = f"it is not one zstd frame of {size} bytes"
            raise zstd.ZstdError(msg)
        return chunk

    return Method(compress, inflate, zstd.ZstdError)


def _lz4() -> Method:
    block: Any = _import("lz4.block", "lz4")

    def compress(chunk: Bytes) -> bytes:
        stored: bytes = block.compress(chunk, store_size=False)
        return stored

    def inflate(stored: Bytes, size: int) -> bytes:
        chunk: bytes = block.decompress(stored, uncompressed_size=size)
        return chunk

    return Method(compress, inflate, block.LZ4BlockError)


METHODS: dict[str, Callable[[], Method]] = {"zstd": _zstd, "lz4": _lz4}


def _import(module: str, package: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        msg = f"this compression needs the package {package}: pip install 'sparknet[compression]'"
        raise MissingDependency(msg, name=package) from error
