"""Messages in files and streams. It owns opening, writing and closing; it knows nothing of the format."""

import io
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_FIRST = 1 << 20  # bytes allocated for a stream before any of them has come
_BUFFER = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that takes its place when the block ends without an error.

    The contents are on the disk (fsync) before the file gets its name, and the name is on the disk
    (fsync of the directory) when this returns. After an error nothing is left behind.
    """
    temporary = path.with_name(f".sparknet-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb", buffering=_BUFFER) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_at(file: BinaryIO, pieces: Iterable[tuple[int, Any]]) -> None:
    """Write (offset, block) pairs to a seekable file."""
    position = 0
    for offset, block in pieces:
        if offset != position:
            file.seek(offset)
        file.write(block)
        position = offset + len(block)


def write_all(file: Any, data: memoryview) -> None:
    """Write to a file object, a raw one included, which may take less than it is given."""
    while len(data):
        written = file.write(data)
        if written is None:
            if isinstance(file, io.RawIOBase):
                msg = "the file object takes no more now; dump() needs one that blocks"
                raise BlockingIOError(msg)
            return  # file-like objects that return nothing have taken all
        data = data[written:]


def read_up_to(file: Any, size: int, begin: bytes = b"") -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return ``begin`` and what comes next from a file object, ``size`` bytes in all, fewer if it ends.

    Memory grows with what has come, not with what is asked for.
    """
    filled = len(begin)
    buffer = np.empty(min(size, max(_FIRST, filled)), np.uint8)
    buffer[:filled] = np.frombuffer(begin, np.uint8)
    while filled < size:
        if filled == len(buffer):
            larger = np.empty(min(size, 4 * filled), np.uint8)
            larger[:filled] = buffer
            buffer = larger
        count = _read_into(file, buffer[filled:].data)
        if not count:
            return buffer[:filled]
        filled += count
    return buffer[:filled]


def _read_into(file: Any, target: memoryview) -> int:
    if hasattr(file, "readinto"):
        return file.readinto(target) or 0
    data = file.read(len(target))
    target[: len(data)] = data
    return len(data)
