"""The scratch directories of an executor, where Python workers keep files.

Spark removes these directories when the executor ends, so nothing else has to remove the files.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["local_directories", "naming", "restore", "restore_directories"]

_SUBDIRECTORIES = 64  # spark.diskStore.subDirectories


def local_directories() -> list[Path]:
    """Return the scratch directories of the executor (``spark.local.dir``); outside of an executor that of the system."""
    return [Path(name) for name in os.environ.get("SPARK_LOCAL_DIRS", tempfile.gettempdir()).split(",")]


@contextmanager
def naming(directory: Path) -> Iterator[None]:
    """Name the directory in an error of writing to it, such as a full disk. Python does not name it, and the user has not chosen it."""
    try:
        yield
    except OSError as error:
        what = f"{error.strerror}, in spark.local.dir, where minibatches are put"
        raise OSError(error.errno, what, str(directory)) from error


def restore_directories(_element: object = None) -> None:
    """Create the scratch directories again if they were removed while the executor ran.

    Spark creates their sub-directories once and never again, so every later shuffle on that executor would fail.
    """
    if "SPARK_LOCAL_DIRS" in os.environ:
        for directory in local_directories():
            restore(directory)


def restore(directory: Path) -> None:
    """Create one of the scratch directories again, with its sub-directories."""
    for number in range(_SUBDIRECTORIES):
        (directory / f"{number:02x}").mkdir(mode=0o770, parents=True, exist_ok=True)
