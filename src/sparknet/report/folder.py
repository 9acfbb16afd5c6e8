"""The folder of a run's results. It is checked before the run, and one run at a time writes to it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparknet.errors import DataError
from sparknet.files.locking import locked
from sparknet.files.regular import kind_of

__all__ = ["EVENTS", "WEIGHTS", "WEIGHTS_OF_CAFFE", "check_folder", "opened_folder"]

EVENTS, WEIGHTS, WEIGHTS_OF_CAFFE = "events.jsonl", "weights.sparknet", "weights.caffemodel"


def check_folder(out: str) -> Path:
    """Return the path of the folder ``out``; nothing is made yet.

    Raises
    ------
    DataError
        ``out`` is no path, is no directory, or cannot be written to. Another run writes there. Or something with the name of a
        result is no regular file that may be replaced; links are not followed.
    """
    if not out or "\0" in out:
        msg = f"--out {out!r}: expected the path of a directory"
        raise DataError(msg)
    path = Path(out)
    if os.path.lexists(path) and not path.is_dir():  # a link that leads nowhere is no directory either
        msg = f"--out {path}: exists and is not a directory"
        raise DataError(msg)
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        msg = f"--out {path}: {there} is not a directory that can be written to"
        raise DataError(msg)
    if there == path:
        with locked(path, f"--out {path}"):
            _check_results(path)
    return path


@contextmanager
def opened_folder(path: Path) -> Iterator[None]:
    """Make the folder and keep other runs out of it inside the block; the errors are those of :func:`check_folder`."""
    path.mkdir(parents=True, exist_ok=True)
    with locked(path, f"--out {path}"):
        _check_results(path)
        yield


def _check_results(path: Path) -> None:
    for file in (path / EVENTS, path / WEIGHTS, path / WEIGHTS_OF_CAFFE):
        if found := _in_the_way(file):
            msg = (
                f"--out {path}: {file.name} is there and is {found}; expected none, or the file of an earlier run: "
                "remove it, or name another directory"
            )
            raise DataError(msg)


def _in_the_way(file: Path) -> str | None:
    """Return what is there, in words, if it must not be replaced by a file; else None."""
    if not os.path.lexists(file):
        return None
    mode = file.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return kind_of(mode) or (None if os.access(file, os.W_OK) else "read-only")
