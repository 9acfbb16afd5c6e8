"""A file takes the place of another as a whole: it is written under another name, and renamed when it is on the disk.

A writer that is killed leaves its temporary file behind. Its name says the machine, and the system's lock on it ends with its
writer, however that ends. So the next writer in the directory knows which ones nobody writes any more, and removes them.
"""

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sparknet.serialization.locking import is_at
from sparknet.serialization.regular import check_name

__all__ = ["check_link", "replacing", "sync"]

_BUFFER = 1 << 20
# Of this machine alone: where machines share a directory, some file systems keep the locks of each apart.
_BEGIN = f".sparknet-{os.uname().nodename.replace(os.sep, '_')}-"
_TEMPORARY = re.compile(rf"{re.escape(_BEGIN)}[0-9a-f]{{16}}\.tmp")


@contextmanager
def replacing(path: Path, *, follow_links: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file, to write and read, that takes the place of ``path`` when the block ends without an error.

    It lies beside the file that ``path`` leads to, through symbolic links, and has that file's permissions. Without
    ``follow_links`` a link is refused, and one that comes meanwhile is itself replaced. The contents are on the disk (fsync)
    before the file gets its name, and the name is on the disk (fsync of the directory) when this returns. After an error
    nothing is left behind; where only the last fsync fails, the new file stands. What killed writers left in the directory is
    removed first.

    Raises
    ------
    OSError
        ``path`` is no regular file, or a link that is not to be followed; its directory is missing, or cannot be read and
        written; or the disk is full or fails. It names ``path``.
    """
    check_name(path)
    check_link(path, follow_links=follow_links)
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


def check_link(path: Path, *, follow_links: bool) -> None:
    """Raise an OSError if there is a link that is not to be followed."""
    if not follow_links and path.is_symlink():
        raise OSError(errno.ELOOP, "Is a symbolic link, which is not followed; remove it", str(path))


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
    _remove_left(target.parent)
    with _naming(path):
        temporary, opened = _created(target.parent)
    try:
        with _told(path), opened as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(target)  # while it is open: whoever removes what is left would take it for that
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _created(directory: Path) -> tuple[Path, BinaryIO]:
    """Return a new file, open and locked."""
    while True:
        path = directory / f"{_BEGIN}{secrets.token_hex(8)}.tmp"
        file = path.open("x+b", buffering=_BUFFER)
        with suppress(OSError):  # no locks here: then nobody else gets one either
            fcntl.flock(file, fcntl.LOCK_EX)
        if is_at(file.fileno(), path):  # another writer may have removed it before it was locked
            return path, file
        file.close()


def _remove_left(directory: Path) -> None:
    """Remove the temporary files of this machine that no living process writes."""
    with suppress(OSError), os.scandir(directory) as entries:
        left = [Path(entry) for entry in entries if _TEMPORARY.fullmatch(entry.name) and _is_regular(entry)]
        for path in left:
            with suppress(OSError):  # locked; of another user; removed meanwhile; no locks here
                _remove_unlocked(path)


def _is_regular(entry: "os.DirEntry[str]") -> bool:
    return entry.is_file(follow_symlinks=False)


def _remove_unlocked(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)  # NFS locks only what is open for writing
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_at(descriptor, path):
            path.unlink()
    finally:
        os.close(descriptor)


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


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name the path, and say what is there now, where the disk refuses what is written."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        what = f"{error.strerror}; nothing was written, and a file that was there is as it was"
        raise OSError(error.errno, what, str(path)) from error
