"""The checksum of a tensor: CRC-32 of block sums, at the speed of reading memory.

A plain CRC-32 costs several times a copy of the same bytes. Here every full block of 4,096 bytes is
first summed as 512 little-endian 64-bit words modulo 2**64, which numpy does as fast as memory
delivers, and the CRC-32 (that of zlib) runs over the sums, 8 bytes a block, and then over the bytes
that fill no block. Any change within one byte changes exactly one sum, or the tail, and so the
CRC. A tensor smaller than a block has its plain CRC-32.
"""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np

from sparknet.serialization.memory.buffers import Bytes
from sparknet.serialization.memory.cores import each

BLOCK = 4096
CACHED = 1 << 20  # bytes copied at a time, and summed while they are in the cache; a multiple of BLOCK
PIECE = 1 << 23  # bytes that one core takes at a time; a multiple of CACHED
_WORDS = BLOCK // 8


def checksum(data: Any) -> int:
    """Return the checksum of a C-contiguous array or memoryview, of any alignment."""
    return crc32(data if data.nbytes < BLOCK else _digest(np.frombuffer(data, np.uint8)))


def transfer(sources: Sequence[Any], targets: Sequence[Any] | None = None, *, sums: bool = True) -> list[int]:
    """Return the checksum of each C-contiguous array, and copy it to its target on the way, if there are targets.

    Parameters
    ----------
    sources, targets
        Pairs of arrays of equal size in bytes.
    sums
        False: only copy; the numbers that are returned mean nothing.
    """
    found = [0] * len(sources)
    pieces: list[tuple[int, int]] = []  # index, start
    for index, source in enumerate(sources):
        if targets is not None or source.nbytes > CACHED:
            pieces += [(index, start) for start in range(0, source.nbytes, PIECE)]
        elif sums:
            found[index] = checksum(source)
    if not pieces:
        return found
    flat = {index: np.frombuffer(sources[index], np.uint8) for index, _ in pieces}
    into = {index: np.frombuffer(targets[index], np.uint8) for index, _ in pieces} if targets is not None else {}

    def work(piece: tuple[int, int]) -> bytes:
        index, start = piece
        digests = []
        for begin in range(start, min(start + PIECE, len(flat[index])), CACHED):
            block = flat[index][begin : begin + CACHED]
            if into:
                copied = into[index][begin : begin + CACHED]
                copied[:] = block
                block = copied  # what is summed is what was written, even if somebody changes the source meanwhile
            if sums:
                digests.append(_digest(block))
        return b"".join(digests)

    for (index, _), digest in zip(pieces, each(work, pieces), strict=True):
        found[index] = crc32(digest, found[index])
    return found


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
            self._crc = crc32(_digest(np.frombuffer(self._rest, np.uint8)), self._crc)
            self._rest = b""
        full = len(data) // BLOCK * BLOCK
        self._crc = crc32(_digest(data[:full]), self._crc)
        self._rest = data[full:].tobytes()

    def value(self) -> int:
        """Return the checksum of all pieces so far."""
        return crc32(self._rest, self._crc)


def _digest(data: Bytes) -> bytes:
    """Return what the CRC-32 runs over: the sum of each full block's words, modulo 2**64, and the rest as it is."""
    full = len(data) // BLOCK * BLOCK
    words = data[:full].view("<u8").reshape(-1, _WORDS)
    sums = np.add.reduce(words, axis=1, dtype=np.uint64)
    return bytes(sums.astype("<u8", copy=False).data) + bytes(data[full:].data)
