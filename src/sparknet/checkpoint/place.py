"""Where a checkpoint lies: a directory of this machine, or a folder of another file system, with the same few operations.

What is written, and what must fit, is up to :class:`~sparknet.checkpoint.Checkpoint`.
"""

import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from sparknet.checkpoint.round_names import Folder
from sparknet.errors import DataError
from sparknet.files.by_fsspec import check_driver

__all__ = ["RoundsPlace", "local_path"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(:|//?)(.*)", re.DOTALL)  # of one letter it is no scheme
_ON_THIS_MACHINE = {"file", "local"}


class RoundsPlace(Protocol):
    """Where rounds are kept."""

    def folders(self) -> list[Folder]:
        """Return the folders of whole rounds, the last one last."""
        ...

    def opened(self, folder: Folder) -> AbstractContextManager[Path]:
        """Return the directory of this machine that has the files of a whole round, for the length of a block."""
        ...

    def new_round(self, index: int) -> AbstractContextManager[Path]:
        """Return a directory of this machine to write a round to. The round is whole when the block has ended without an error."""
        ...

    def remove_old(self, keep: int) -> None:
        """Remove all but the last rounds, and what killed writers have left."""
        ...

    def record(self, facts: Mapping[str, Any]) -> None:
        """Add what is run to the list of runs."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Keep other trainings from writing there, as far as the place can, for the length of a block."""
        ...


def local_path(directory: str | os.PathLike[str]) -> Path | None:
    """Return the path of a directory of this machine; None if it is a folder of another file system, which fsspec has a driver for.

    Raises
    ------
    DataError
        The text has a scheme, and is no URL; or fsspec does not know the scheme.
    MissingDependency
        fsspec or its driver is not installed.

    Examples
    --------
    >>> local_path("run/1"), local_path("file:///data/run")
    (PosixPath('run/1'), PosixPath('/data/run'))
    """
    text = os.fspath(directory)
    found = _SCHEME.match(text)
    if found is None or (found[2] == ":" and "://" not in found[3]):
        return Path(directory)
    scheme, mark, rest = found.groups()
    if scheme in _ON_THIS_MACHINE and mark == "/":  # as Hadoop writes it
        return Path(f"/{rest}")
    if scheme in _ON_THIS_MACHINE and mark == "//" and rest.startswith("/"):
        return Path(rest)
    if scheme in _ON_THIS_MACHINE and mark == "//":
        fix = f"{scheme}:///{rest} for an absolute path, or a path without {scheme}://"
    elif "::" in text:
        fix = "one scheme: what one file system keeps of another need not be there after a crash"
    elif mark == "/":
        fix = f"{scheme}://{rest} as text: a Path takes a slash from it. A directory of this name is ./{text}"
    else:
        check_driver(text)
        return None
    msg = f"checkpoint={text!r}: expected {fix}"
    raise DataError(msg)
