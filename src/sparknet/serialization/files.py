"""Messages in files and streams. It owns opening, writing and closing; it knows nothing of the format."""

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sparknet.errors import FormatError
from sparknet.serialization.checksum import PIECE
from sparknet.serialization.cores import each
from sparknet.serialization.memory import Bytes, aligned

_FIRST = 1 << 20  # bytes allocated for a stream before any of them has come
_BUFFER = 1 << 20


@contextmanager
def replacing(path: Path, *, follow_links: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of ``path`` when the block ends without an error.

    It lies beside the file that ``path`` leads to, through symbolic links, and has that file's permissions. Without
    ``follow_links`` a link is refused, and one that comes meanwhile is itself replaced. The contents are on the disk (fsync)
    before the file gets its name, and the name is on the disk (fsync of the directory) when this returns. After an error
    nothing is left behind; where only the last fsync fails, the new file stands.

    Raises
    ------
    OSError
        ``path`` is no regular file, or a link that is not to be followed; its directory is missing, or cannot be read and
        written; or the disk fails.
    """
    if not follow_links and path.is_symlink():
        raise OSError(errno.ELOOP, "Is a symbolic link, which is not followed; remove it", str(path))
    mode = _permissions(path)
    # absolute paths may lead through closed directories
    target = path.resolve() if follow_links and path.is_symlink() else path
    with _naming(path):
        directory = os.open(target.parent, os.O_RDONLY)  # what cannot be synced later is refused now
    try:
        with _temporary(path, target, mode) as file:
            yield file
        os.fsync(directory)
    finally:
        os.close(directory)


def sync(directory: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(path: Path, target: Path, mode: int | None) -> Iterator[BinaryIO]:
    """Open a new file, which is called ``target`` in the end; ``path`` is what the caller calls it."""
    temporary = target.with_name(f".sparknet-{secrets.token_hex(8)}.tmp")
    try:
        with _naming(path):
            opened = temporary.open("xb", buffering=_BUFFER)
        with opened as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _permissions(path: Path) -> int | None:
    """Return those of the file at ``path``, None where there is none; refuse what must not be written, or replaced by a file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory; name a file in it", str(path))
    if not stat.S_ISREG(mode):
        what = "Not a regular file, and one would take its place; use dump(obj, open(path, 'wb'))"
        raise OSError(errno.EINVAL, what, str(path))
    if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):  # as open(path, "wb") does
        raise PermissionError(
            errno.EACCES, "Permission denied; the file is read-only, and would be replaced", str(path)
        )
    return stat.S_IMODE(mode)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the path that the caller knows, where its directory or the temporary file cannot be opened."""
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        what = f"{error.strerror}; its directory has to be there, and to be readable and writable"
        raise type(error)(error.errno, what, str(path)) from error


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


def _not_blocking(what: str, who: str) -> BlockingIOError:
    return BlockingIOError(f"the file object {what} no more now; {who} needs one that blocks")
