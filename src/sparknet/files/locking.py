"""One writer in a directory at a time: a lock that ends with its process, however that ends.

The lock is on a file in the directory. The system releases it when the process is killed, so a file that is left behind locks
nothing. Readers need no lock: a file gets its name when all of it is written.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from sparknet.errors import DataError
from sparknet.files.regular import kind_of

__all__ = ["LOCK_FILE", "is_at", "locked"]

LOCK_FILE = ".sparknet.lock"

_LOG = logging.getLogger(__name__)
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # a link is not followed, a FIFO is not waited for
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}  # NFS, mostly
_LONGEST = 200  # bytes of the file that are shown


@contextmanager
def locked(directory: Path, what: str, own: str = "") -> Iterator[None]:
    """Hold the lock of a directory for the length of the block.

    Parameters
    ----------
    directory
        It exists. The file :data:`LOCK_FILE` is made in it, and removed after the block.
    what
        The start of messages: what the directory is for, and which it is.
    own
        The end of the message if this process itself holds the lock: how to release it.

    Raises
    ------
    DataError
        The lock is held, by another process or by this one.
    OSError
        The file cannot be made, or something that is no regular file has its name.

    Notes
    -----
    If the file system has no locks, a warning says so once for each directory, and the block runs without a lock.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory, locked(Path(directory), "--out"):
    ...     os.listdir(directory)
    ['.sparknet.lock']
    """
    descriptor = _taken(directory / LOCK_FILE, what, own)
    try:
        yield
    finally:
        _release(descriptor, directory / LOCK_FILE)


def _taken(path: Path, what: str, own: str) -> int:
    """Return the open file, locked."""
    while True:
        descriptor = _opened(path)
        try:
            _lock(descriptor, path, what, own)
            if is_at(descriptor, path):  # the holder before removes its file, and another may have been made since
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        descriptor = os.open(path, _FLAGS, 0o666)
    except OSError as error:
        kind = "a symbolic link" if error.errno == errno.ELOOP else _kind_at(path)
        if kind is None:
            raise
        raise _misplaced(error.errno, kind, path) from error
    kind = kind_of(os.fstat(descriptor).st_mode)
    if kind is not None:
        os.close(descriptor)
        raise _misplaced(errno.EINVAL, kind, path)
    return descriptor


def _kind_at(path: Path) -> str | None:
    with suppress(OSError):
        return kind_of(path.stat().st_mode)
    return None


def _misplaced(number: int | None, kind: str, path: Path) -> OSError:
    return OSError(number, f"Is {kind}, expected a lock's file or none; remove it", str(path))


def _lock(descriptor: int, path: Path, what: str, own: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, _LONGEST, 0).decode(errors="replace") or "another process"
        msg = (
            f"{what}: {holder} writes there; expected a directory that nobody else writes to: name another one, or end that "
            f"run first{own * (holder == _this_process())}"
        )
        raise DataError(msg, holder=holder) from error
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        _say_unlocked(path.parent, what, str(error.strerror))


@cache
def _say_unlocked(directory: Path, what: str, reason: str) -> None:
    _LOG.warning(
        "%s: the file system of %s has no locks (%s): two runs that write there at once are not kept apart",
        *(what, directory, reason),
    )


def is_at(descriptor: int, path: Path) -> bool:
    """Say whether an open file is the one that has this path now."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Write who holds the lock into the file, for the messages of others. On a full disk that is left out."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _this_process().encode(), 0)


def _this_process() -> str:
    return f"process {os.getpid()} on {os.uname().nodename}"


def _release(descriptor: int, path: Path) -> None:
    with suppress(OSError):  # the directory may be gone, or closed
        if is_at(descriptor, path):
            path.unlink()  # still locked: nobody else can hold a lock on it
    with suppress(OSError):  # no locks here
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # also where a forked child has the file
    os.close(descriptor)
