"""A checkpoint in a folder of another file system, such as an object store, that has neither rename nor locks.

A round is written to a scratch directory of this machine first, then copied, file after file, into a folder with a name that no other
folder ever had. The last file that is put there, ``whole.json``, names all others: without it, or if it is cut, the folder is no round.
So after a kill at any moment the rounds before are as they were. Nothing is written over, and nothing is renamed.
"""

import errno
import json
import logging
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sparknet.checkpoint.round_names import Folder, check_next, in_order, index_of, name_of_try
from sparknet.checkpoint.run_file import RUN_FILE, with_run
from sparknet.errors import DataError
from sparknet.files.by_fsspec import RemoteFolder
from sparknet.files.replacing import explained

__all__ = ["RemotePlace"]

_WHOLE = "whole.json"
_TRIAL = ".sparknet-trial-"
_FILE = re.compile(r"[a-z]+(-\d+)?\.sparknet")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _RemoteRound:
    """The folder of a round; its text is its URL."""

    place: str
    name: str

    def __str__(self) -> str:
        return f"{self.place}/{self.name}"


class RemotePlace:
    """A folder of another file system for rounds. It is tried.

    Parameters
    ----------
    url
        ``scheme://...``, as fsspec takes it.

    Raises
    ------
    DataError
        Something else is in the folder, or fsspec does not know the scheme.
    MissingDependency
        fsspec or its driver is not installed.
    OSError
        The folder cannot be reached, listed, read, written, or removed from.
    """

    def __init__(self, url: str) -> None:
        with explained(url, "a checkpoint needs a folder that can be listed, read, written and removed from"):
            self._folder = RemoteFolder(url)
            self._refuse_foreign()
            self._try()
        self._files = dict[str, list[str]]()  # of the rounds that are known to be whole: they never change

    def _refuse_foreign(self) -> None:
        for name in self._folder.names():
            if index_of(name, of_a_try=True) is None and name != RUN_FILE and not name.startswith(_TRIAL):
                msg = f"checkpoint: {self._folder.url} holds {name!r}; expected a folder for this alone, new or empty"
                raise DataError(msg)

    def _try(self) -> None:
        """Write, read, list and remove a file: an error now, not after a round."""
        self._folder.make()
        name, content = f"{_TRIAL}{secrets.token_hex(8)}", b"sparknet"
        self._folder.write(name, content)
        is_there = name in self._folder.names() and self._folder.read(name) == content
        self._folder.remove_file(name)
        if not is_there:
            raise OSError(errno.EIO, "What was written there is not there, or is something else")

    def folders(self) -> list[Folder]:
        """Return the folders of whole rounds, the last one last."""
        found = [name for name in self._folder.names() if index_of(name, of_a_try=True) is not None]
        return in_order([_RemoteRound(self._folder.url, name) for name in found if self._is_whole(name)])

    def _is_whole(self, name: str) -> bool:
        if name not in self._files:
            with suppress(FileNotFoundError):  # it is being written, or its writer was killed
                files = _named_in(self._folder.read(f"{name}/{_WHOLE}"))
                if files is not None:
                    self._files[name] = files
        return name in self._files

    @contextmanager
    def opened(self, folder: Folder) -> Iterator[Path]:
        """Return a scratch directory with a copy of the files of a round."""
        with _scratch() as scratch:
            for file in self._files[folder.name]:
                self._folder.get(f"{folder.name}/{file}", scratch / file)
            yield scratch

    @contextmanager
    def new_round(self, index: int) -> Iterator[Path]:
        """Return a scratch directory to write to. What is there at the end of the block is put in a new folder, as a whole round."""
        name = name_of_try(index)
        what = f"this round cannot be kept, those before are whole (it is written to {tempfile.gettempdir()} first)"
        with explained(f"{self._folder.url}/{name}", what), _scratch() as scratch:
            yield scratch
            files = sorted(path.name for path in scratch.iterdir())
            self._folder.make(name)
            for file in files:
                self._folder.put(scratch / file, f"{name}/{file}")
            check_next(self.folders(), index)  # there is no lock: somebody else may have written it meanwhile
            self._folder.write(f"{name}/{_WHOLE}", json.dumps({"files": files}).encode())
            self._files[name] = files

    def remove_old(self, keep: int) -> None:
        """Remove all but the last rounds, and what killed writers have left."""
        kept = {folder.name for folder in self.folders()[-keep:]}
        for name in self._folder.names():
            if name.startswith(_TRIAL):
                self._folder.remove_file(name)
            elif name not in kept and index_of(name, of_a_try=True) is not None:
                self._files.pop(name, None)
                self._folder.remove_file(f"{name}/{_WHOLE}")  # first, or a part of a round would pass for a whole one
                self._folder.remove(name)

    def record(self, facts: Mapping[str, Any]) -> None:
        """Add what is run to the list of runs."""
        where = f"{self._folder.url}/{RUN_FILE}"
        with explained(where, "what is run is said there before the first round"):
            self._folder.write(RUN_FILE, with_run(lambda: self._folder.read(RUN_FILE), facts, where))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Say, once, that nothing is locked."""
        _say_unlocked(self._folder.url)
        yield


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sparknet-round-") as directory:
        yield Path(directory)


def _named_in(content: bytes) -> list[str] | None:
    """Return the files that a ``whole.json`` names; None if it was not put to its end, or is something else."""
    try:
        files: Any = json.loads(content)["files"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    return files if _are_names(files) else None


def _are_names(files: Any) -> bool:
    return isinstance(files, list) and all(isinstance(file, str) and _FILE.fullmatch(file) for file in files)


@cache
def _say_unlocked(url: str) -> None:
    _LOG.warning(
        "checkpoint: %s has no locks: a second training that writes there is noticed only when both have the same round. Give each "
        "a place of its own",
        url,
    )
