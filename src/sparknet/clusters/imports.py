"""What workers cannot import: an error gets the place where the driver has the module, and the way to bring it to them.

Nothing is imported here to find that out: what the driver could import is among its modules.
"""

import re
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparknet.errors import SparknetError

__all__ = ["executors_fix", "forks_fix", "helped"]

_ANY_FIX = (
    "; the executors need what the driver imports: install it there (the Python is PYSPARK_PYTHON), "
    "or send it with spark-submit --py-files or SparkContext.addPyFile"
)
_FORKS_FIX = (
    "; a worker process is a fork of this one, made when the training begins, so it has what was imported by then: import it at the top "
    "of your program"
)
# A package that is missing or cannot be imported, in the words of Python or of sparknet.
_IMPORT = re.compile(r"\b(ModuleNotFoundError|ImportError|MissingDependency)\b")
_NO_MODULE = re.compile(r"No module named '(\w+)")
_INSTALLED = {"site-packages", "dist-packages"}  # what pip has put there, pip is to put on the executors


def helped(error: SparknetError, fix_of: Callable[[str], str]) -> SparknetError:
    """Return an error of a worker with what ``fix_of`` says of it behind the message; the error itself if that is nothing."""
    fix = fix_of(f"{type(error).__name__}: {error}")
    if not fix:
        return error
    _, _, *state = tuple[Any, ...](error.__reduce__())  # what pickle keeps: also fields that are slots
    return type(error)(f"{error}{fix}", **dict(*state))


def executors_fix(said: str) -> str:
    """Return what helps against an error of an executor, to be put behind it; "" if the error is not about an import.

    Examples
    --------
    >>> executors_fix("ZeroDivisionError: division by zero")
    ''
    """
    if not _IMPORT.search(said):
        return ""
    missing = _NO_MODULE.search(said)
    place = None if missing is None else _place(missing[1])
    if missing is None or place is None:
        return _ANY_FIX
    name, is_file = missing[1], place.suffix == ".py"
    sent = str(place) if is_file else f"{name}.zip"
    made = "" if is_file else f" (python -m zipfile -c {sent} {place} makes it)"
    return (
        f"; the driver has it as {place}: send it to the executors with spark-submit --py-files {sent} or "
        f"SparkContext.addPyFile({sent!r}){made}, or install it there (the Python is PYSPARK_PYTHON)"
    )


def forks_fix(said: str) -> str:
    """Return what helps against an error of a child process, to be put behind it; "" if the error is not about an import."""
    is_import = "ModuleNotFoundError" in said or "ImportError" in said  # what else is missing says itself how to get it
    return _FORKS_FIX if is_import else ""


def _place(name: str) -> Path | None:
    """Return the file or folder of a module that was not installed, such as one beside the program; None of any other."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None or name == __name__.partition(".")[0]:
        return None
    path = Path(file)
    path = path.parent if path.name == "__init__.py" else path
    is_pythons = path.is_relative_to(sysconfig.get_path("stdlib")) or not (path.suffix == ".py" or path.is_dir())
    return None if is_pythons or _INSTALLED & set(path.parts) else path
