"""A file or a folder appears as a whole: it is written under another name, and renamed when all of it is there.

A writer that is killed leaves its temporary file behind. The name of that file says the machine, and the system's lock on it
ends with its writer, however that ends. So the next writer in the same folder knows which of these files nobody writes any
more, and removes them.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sparknet.files.locking import is_at
from sparknet.files.regular import check_name

__all__ = ["TEMPORARY", "check_link", "explained", "new_folder", "replacing", "whole_file"]

_BUFFER = 1 << 20
# Of this machine alone: where machines share a directory, some file systems keep the locks of each apart.
TEMPORARY = ".sparknet-"  # begins the names of files that are being written
_BEGIN = f"{TEMPORARY}{os.uname().nodename.replace(os.sep, '_')}-"
_TEMPORARY = re.compile(rf"{re.escape(_BEGIN)}[0-9a-f]{{16}}\.tmp")
_UNCHANGED = "nothing was written, and a file that was there is as it was"


@contextmanager
def replacing(path: Path, *, follow_links: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file, to write and read, that takes the place of ``path`` when the block ends without an error.

    The temporary file lies beside the file that ``path`` leads to through symbolic links, and gets that file's permissions.
    Without ``follow_links`` a link is refused; a link that appears meanwhile is itself replaced. The contents are on the disk
    (fsync) before the file gets its name, and the name is on the disk (fsync of the directory) when this returns. After an
    error nothing is left behind. If only the last fsync fails, the new file stays. Files that killed writers left in the
    directory are removed first.

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
    with _directory_named(path):
        directory = os.open(target.parent, os.O_RDONLY)  # an error now, not after all is written
    try:
        with _refusal_named(path), whole_file(target, called=path) as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def whole_file(target: Path, *, synced: bool = True, called: Path | None = None) -> Iterator[BinaryIO]:
    """Open a new file, to write and read, that takes the place of ``target`` when the block ends without an error.

    :func:`replacing` is this for a path that a user names: it looks at what is there first, keeps its permissions, and waits until
    the new name is on the disk.

    Parameters
    ----------
    target
        A link there is itself replaced. What killed writers left in its directory is removed.
    synced
        Whether the contents have to be on the disk before the file gets its name. A cache, which may be lost, does not need it.
    called
        The path that errors name instead of ``target``.
    """
    _remove_left(target.parent)
    with _directory_named(target if called is None else called):
        temporary, opened = _created(target.parent)
    try:
        with opened as file:
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())
            temporary.replace(target)  # while it is open: whoever removes what is left would take it for that
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def new_folder(target: Path, prefix: str) -> Iterator[Path]:
    """Make a folder that is called ``target`` when the block ends without an error, and is removed after an error.

    Parameters
    ----------
    target
        It must not exist. When this returns, its name is on the disk; that its contents are is the task of the block.
    prefix
        Begins the name that the folder has meanwhile, beside ``target``. The caller removes what killed writers left.
    """
    folder = target.parent / f"{prefix}{secrets.token_hex(8)}"
    folder.mkdir()
    try:
        yield folder
        folder.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def explained(path: Path | str, what: str) -> Iterator[None]:
    """Name ``path`` in an OSError of the block, and say ``what`` it means there, in the place of what was said below.

    Examples
    --------
    >>> with explained(Path("round-000003"), "this round cannot be kept"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device; this round cannot be kept: 'round-000003'
    """
    try:
        yield
    except OSError as error:
        own = error.__cause__ if isinstance(error.__cause__, OSError) else error  # the system's words, once
        raise OSError(error.errno, f"{own.strerror or error.strerror}; {what}", str(path)) from error


def check_link(path: Path, *, follow_links: bool) -> None:
    """Raise an OSError if there is a link that is not to be followed."""
    if not follow_links and path.is_symlink():
        raise OSError(errno.ELOOP, "Is a symbolic link, which is not followed; remove it", str(path))


def _sync(directory: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    """Return the permissions of the file at ``path``, None if there is none; an OSError if a file must not replace it."""
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
def _directory_named(path: Path) -> Iterator[None]:
    """Name the caller's path in the error if the directory or the temporary file cannot be opened."""
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        what = f"{error.strerror}; its directory has to be there, and to be readable and writable"
        raise type(error)(error.errno, what, str(path)) from error


@contextmanager
def _refusal_named(path: Path) -> Iterator[None]:
    """Name the path in the error if the disk refuses what is written, and say what is there now."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, f"{error.strerror}; {_UNCHANGED}", str(path)) from error
