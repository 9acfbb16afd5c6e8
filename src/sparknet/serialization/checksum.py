"""The checksum of a tensor: CRC-32 of block sums, at the speed of reading memory.

A plain CRC-32 costs several times a copy of the same bytes. Here every full block of 4,096 bytes is
first summed as 512 little-endian 64-bit words modulo 2**64, which numpy does as fast as memory
delivers, and the CRC-32 (that of zlib) runs over the sums, 8 bytes a block, and then over the bytes
that fill no block. Any change within one byte changes exactly one sum, or the tail, and so the
CRC. A tensor smaller than a block has its plain CRC-32.
"""

from typing import Any
from zlib import crc32

import numpy as np

BLOCK = 4096
_WORDS = BLOCK // 8

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def checksum(data: Any) -> int:
    """Return the checksum of a C-contiguous array or memoryview, of any alignment."""
    if data.nbytes < BLOCK:
        return crc32(data)
    state = Checksum()
    state.update(np.frombuffer(data, np.uint8))
    return state.value()


class Checksum:
    """The checksum of bytes that come piece by piece; the pieces' sizes do not matter."""

    __slots__ = ("_crc", "_rest")

    def __init__(self) -> None:
        self._crc = 0
        self._rest = b""  # bytes after the last full block

    def update(self, data: Bytes) -> None:
        """Add a piece: a one-dimensional, contiguous uint8 array."""
        if self._rest:
            missing = BLOCK - len(self._rest)
            self._rest += data[:missing].tobytes()
            data = data[missing:]
            if len(self._rest) < BLOCK:
                return
            self._crc = crc32(_sums(np.frombuffer(self._rest, np.uint8)), self._crc)
            self._rest = b""
        full = len(data) // BLOCK * BLOCK
        if full:
            self._crc = crc32(_sums(data[:full]), self._crc)
        self._rest = data[full:].tobytes()

    def value(self) -> int:
        """Return the checksum of all pieces so far."""
        return crc32(self._rest, self._crc)


def _sums(blocks: Bytes) -> Any:
    """Return the sum of each block's words, modulo 2**64, as little-endian words."""
    words = blocks.view("<u8").reshape(-1, _WORDS)
    return np.add.reduce(words, axis=1, dtype=np.uint64).astype("<u8", copy=False)
