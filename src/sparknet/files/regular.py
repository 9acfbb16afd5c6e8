"""Files of unknown origin: which are opened, how much of them is read, and how much they may inflate to.

A device never ends, and opening a FIFO waits for its writer. So readers here open regular files only.
Messages are also read from streams, and :mod:`sparknet.serialization.reader.sources` opens those.
"""

import errno
import os
import stat
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO

from sparknet.errors import FormatError

__all__ = ["check_max_bytes", "check_name", "inflated_limit", "kind_of", "open_regular", "read_regular", "size_of"]

FREE = 1 << 30  # bytes that any file or message may inflate to
FACTOR = 16  # a larger one may inflate to so many times its size
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO (a pipe)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_name(path: Path) -> None:
    """Raise an OSError if a path has a NUL character: Python itself has a ValueError for it, which names no path."""
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "Has a NUL character, which no path has", str(path))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, also where a link leads to it; nothing else is opened or waited for.

    Raises
    ------
    OSError
        There is no such file, it cannot be read, or it is a directory (IsADirectoryError), FIFO, socket or device.

    Examples
    --------
    >>> open_regular(Path("/dev/zero"))
    Traceback (most recent call last):
    OSError: [Errno 22] Is a device, expected a regular file: '/dev/zero'
    """
    check_name(path)
    _check(path.stat().st_mode, path)  # before it is opened: a device may act on that
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    try:
        _check(os.fstat(file.fileno()).st_mode, path)  # another may lie there since
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: Path, limit: int, what: str) -> bytes:
    """Return the contents of a regular file that has at most ``limit`` bytes; ``what`` says what it should be.

    Raises
    ------
    FormatError
        It is larger. Nothing was read.
    OSError
        As for :func:`open_regular`.
    """
    with open_regular(path) as file:
        size = size_of(file)
        if size > limit:
            msg = f"{size} bytes; {what} has at most {limit}"
            raise FormatError(msg, tensor=None, offset=None)
        return file.read(size)


def size_of(file: BinaryIO) -> int:
    """Return the size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def inflated_limit(size: int, max_bytes: int | None) -> int:
    """Return the bytes that a file or message of ``size`` bytes may inflate to: ``max_bytes``, by default 1 GiB or 16 times its size.

    Raises
    ------
    ValueError
        ``max_bytes`` is no number of bytes.
    """
    check_max_bytes(max_bytes)
    return max(FREE, FACTOR * size) if max_bytes is None else max_bytes


def check_max_bytes(max_bytes: Any) -> None:
    """Raise a ValueError unless ``max_bytes`` is a number of bytes or None."""
    if max_bytes is None or (type(max_bytes) is int and max_bytes >= 0):  # at once: each small message comes here
        return
    if isinstance(max_bytes, Real) and not isinstance(max_bytes, bool) and float(max_bytes) >= 0:
        return
    msg = f"max_bytes: got {max_bytes!r:.60}, expected a number of bytes, such as 2**30, or None for 1 GiB or 16 times the source"
    raise ValueError(msg)


def kind_of(mode: int) -> str | None:
    """Return what a file is that is not a regular one, in words; None for a regular one."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # which changes nothing for a regular file


def _check(mode: int, path: Path) -> None:
    kind = kind_of(mode)
    if kind is not None:
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, f"Is {kind}, expected a regular file", str(path))
