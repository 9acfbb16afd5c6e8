"""Reading from and writing to open files and streams. This module knows neither the format nor the names of files."""

import io
import os
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from sparknet.errors import FormatError
from sparknet.serialization.memory.buffers import Bytes, aligned
from sparknet.serialization.memory.checksum import PIECE
from sparknet.serialization.memory.cores import each

_FIRST = 1 << 20  # bytes allocated for a stream before any of them has come
_BUFFER = 1 << 20


def write_at(file: BinaryIO, pieces: Iterable[tuple[int, Any]]) -> None:
    """Write (offset, block) pairs to a seekable file."""
    position = 0
    for offset, block in pieces:
        if offset != position:
            file.seek(offset)
        file.write(block)
        position = offset + len(block)


def write_all(file: Any, parts: Iterable[memoryview]) -> None:
    """Write to a socket or file object, a raw one included, which may take less than it is given."""
    put = file.sendall if hasattr(file, "sendall") else partial(_write, file)
    for block in _joined(parts):
        put(block)


def _joined(parts: Iterable[memoryview]) -> Iterator[memoryview]:
    """Yield the parts, small neighbours as one: a system call costs as much as a copy of some KiB."""
    run: list[memoryview] = []
    size = 0
    for part in parts:
        if run and size + len(part) > _BUFFER:
            yield memoryview(b"".join(run)) if len(run) > 1 else run[0]
            run, size = [], 0
        run.append(part)
        size += len(part)
    if run:
        yield memoryview(b"".join(run)) if len(run) > 1 else run[0]


def _write(file: Any, data: memoryview) -> None:
    while len(data):
        written = file.write(data)
        if written is None:
            if isinstance(file, io.RawIOBase):
                raise _not_blocking("takes", "dump()")
            return  # file-like objects that return nothing have taken all
        if not written:
            msg = f"{type(file).__name__}.write() took 0 of {len(data)} bytes; dump() needs one that takes some"
            raise OSError(msg)
        data = data[written:]


def read_at(file: BinaryIO, target: Bytes) -> int:
    """Fill ``target`` with the start of a file, on several cores; return where the file ends, if it does before."""
    view, size = target.data, len(target)

    def work(start: int) -> int:
        position, end = start, min(start + PIECE, size)
        while position < end:
            count = os.preadv(file.fileno(), [view[position:end]], position)
            if not count:
                return position
            position += count
        return size

    return min(each(work, range(0, size, PIECE)), default=size)


def read_up_to(file: Any, size: int, begin: bytes = b"") -> Bytes:
    """Return ``begin`` and what comes next from a socket or file object, ``size`` bytes in all, fewer if it ends.

    Memory grows with what has come, not with what is asked for.
    """
    filled = len(begin)
    buffer = aligned(min(size, max(_FIRST, filled)))
    buffer[:filled] = np.frombuffer(begin, np.uint8)
    while filled < size:
        if filled == len(buffer):
            larger = aligned(min(size, 4 * filled))
            larger[:filled] = buffer
            buffer = larger
        count = read_into(file, buffer[filled:].data)
        if not count:
            break
        filled += count
    return buffer[:filled]


def read_into(file: Any, target: memoryview) -> int:
    """Read from a socket or file object into memory; return the number of bytes, 0 at the end."""
    try:
        count = _read_some(file, target)
    except EOFError as error:  # of gzip and its like: a plain end is 0 bytes
        msg = f"the stream ends early: {error}"
        raise FormatError(msg, tensor=None, offset=None) from error
    if count is None:
        raise _not_blocking("gives", "reading")
    return count


def _read_some(file: Any, target: memoryview) -> int | None:
    for method in "recv_into", "readinto":
        if hasattr(file, method):
            return getattr(file, method)(target)  # type: ignore[no-any-return]
    data = file.read(len(target))
    if not isinstance(data, bytes | bytearray | memoryview | None):
        msg = f"{type(file).__name__}.read() gives {type(data).__name__}, expected bytes: open it with mode 'rb'"
        raise TypeError(msg)
    target[: len(data or b"")] = data or b""
    return None if data is None else len(data)


def _not_blocking(what: str, caller: str) -> BlockingIOError:
    return BlockingIOError(f"the file object {what} no more now; {caller} needs one that blocks")
