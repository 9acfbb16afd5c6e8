"""Files of a Python worker, in the directories that Spark gives its executor for such things.

Spark removes these directories when the executor ends; what is put there needs no other owner.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["local_directories", "naming", "restore", "restore_directories"]

_SUBDIRECTORIES = 64  # spark.diskStore.subDirectories


def local_directories() -> list[Path]:
    """Return the executor's scratch directories (``spark.local.dir``); the system's outside of an executor."""
    return [Path(name) for name in os.environ.get("SPARK_LOCAL_DIRS", tempfile.gettempdir()).split(",")]


@contextmanager
def naming(directory: Path) -> Iterator[None]:
    """Name the directory in an error of writing there, such as on a full disk: Python names none, and nobody has chosen it."""
    try:
        yield
    except OSError as error:
        what = f"{error.strerror}, in spark.local.dir, where minibatches are put"
        raise OSError(error.errno, what, str(directory)) from error


def restore_directories(_element: object = None) -> None:
    """Make Spark's scratch directories again where they were removed under a running executor.

    Spark makes their sub-directories once and takes it that they stay: every later shuffle on that executor failed.
    """
    if "SPARK_LOCAL_DIRS" in os.environ:
        for directory in local_directories():
            restore(directory)


def restore(directory: Path) -> None:
    """Make one of Spark's scratch directories again, with its sub-directories."""
    for number in range(_SUBDIRECTORIES):
        (directory / f"{number:02x}").mkdir(mode=0o770, parents=True, exist_ok=True)
