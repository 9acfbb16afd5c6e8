"""Checkpoints: where a training stands after a round, in a directory, whole or not at all.

Weights, solver states and the steps that each worker has taken are all that the next round starts from: the order of the
minibatches and every random choice follow from the seed and those steps. So a training that goes on from a checkpoint has
the bits of one that was never broken off. Nothing here knows how to train.
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.averaging import first_nonfinite
from sparknet.errors import DataError, FormatError
from sparknet.ndarray import NDArray
from sparknet.nets.base import SolverState
from sparknet.serialization import inspect, load, save
from sparknet.weights import WeightCollection

__all__ = ["Checkpoint", "Position"]

_FORMAT = "sparknet checkpoint, version 1"
_UNSAID = {"ragged": "reshape"}  # settings that older checkpoints do not name: what they were then
_ROUND = re.compile(r"round-(\d{6,})")
_UNFINISHED = ".unfinished-"
_KEPT = 2  # rounds: where the disk damages the last one, there is another


@dataclass(frozen=True)
class Position:
    """Where a training stands between two rounds.

    Parameters
    ----------
    rounds
        How many are finished.
    weights, states
        What the next round starts from; one solver state for all workers, or one for each.
    steps
        Minibatches that each worker has gone through: its place in its shard.
    """

    rounds: int
    weights: WeightCollection = field(repr=False)
    states: Sequence[SolverState] = field(repr=False)
    steps: Sequence[int]


class Checkpoint:
    """A directory of the last two positions of a training.

    ``round-000042`` is written after the round with the index 42: under another name, which is changed when all of it is on
    the disk. It holds ``weights.sparknet``, ``state-0.sparknet`` and so on, and ``position.sparknet``: the steps, and as its
    metadata the settings. All are files of :func:`sparknet.save`, with checksums, for ``sparknet inspect`` and
    :func:`sparknet.load`.

    Parameters
    ----------
    directory
        Made if it is missing; it holds nothing else.
    settings
        What a training has to have in common with the one that it goes on from. Compared as text.

    Raises
    ------
    DataError
        Something else is in the directory.
    OSError
        The directory cannot be made, read or written.

    Examples
    --------
    >>> import tempfile
    >>> position = Position(1, WeightCollection({"ip": [[0.5]]}), [{"iteration": NDArray(np.int64(10))}], [10])
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     Checkpoint(directory, {"seed": 7}).write(position)
    ...     found = Checkpoint(directory, {"seed": 7}).read()
    >>> found.rounds, found.steps, found.weights == position.weights
    (1, [10], True)
    """

    def __init__(self, directory: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self._directory = Path(directory)
        self._settings = {name: str(value) for name, value in settings.items()}
        with _named(self._directory, "a checkpoint needs a directory that can be read and written"):
            self._directory.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign()
            with self._unfinished():  # what could not be written later is refused now
                pass

    def _refuse_foreign(self) -> None:
        names = sorted(path.name for path in self._directory.iterdir())
        foreign = [name for name in names if not (_ROUND.fullmatch(name) or name.startswith(_UNFINISHED))]
        if foreign:
            msg = (
                f"checkpoint: {self._directory} holds {foreign[0]!r}; expected a directory for this alone, new or empty"
            )
            raise DataError(msg)

    def folders(self) -> list[Path]:
        """Return the directories of whole rounds, the last one last."""
        found = [path for path in self._directory.iterdir() if _ROUND.fullmatch(path.name)]
        return sorted(found, key=_index)

    def read(self) -> Position | None:
        """Return the last position, in memory of its own; None where there is none.

        Raises
        ------
        DataError
            It was written with other settings, or by another version of sparknet.
        FormatError
            It is damaged; the message says what to remove.
        """
        if not (folders := self.folders()):
            return None
        *before, last = folders
        try:
            return self._read(last)
        except (FormatError, FileNotFoundError) as error:
            fix = f"go on from {before[-1]}" if before else "begin anew"
            msg = f"checkpoint: {last} is damaged: {error}; remove this directory to {fix}"
            raise FormatError(msg) from error

    def _read(self, folder: Path) -> Position:
        facts = inspect(folder / "position.sparknet").metadata
        if facts.get("format") != _FORMAT:
            msg = f"checkpoint: {folder} is a {facts.get('format')!r}, expected a {_FORMAT!r}; name another directory"
            raise DataError(msg)
        for name, value in self._settings.items():
            written = facts["settings"].get(name, _UNSAID.get(name))
            if value != written:
                msg = (
                    f"checkpoint: got {name}={value}, expected {name}={written}, with which {folder} was written; "
                    "go on with that, or name another directory for a new training"
                )
                raise DataError(msg, setting=name, got=value, expected=written)
        names = ["weights", "position", *(f"state-{i}" for i in range(facts["states"]))]
        weights, position, *states = (load(folder / f"{name}.sparknet", mmap=False) for name in names)
        return Position(_index(folder) + 1, weights, states, position["steps"].to_host().tolist())

    def write(self, position: Position, *, nonfinite: bool = False) -> None:
        """Write a position, and remove all but the last two; when this returns, it is on the disk.

        Parameters
        ----------
        position
            Where the training stands.
        nonfinite
            Write NaN and infinities too. By default a position with such numbers, from which no training recovers, does not
            take the place of the last finite one.

        Raises
        ------
        DataError
            The position is not finite, the message names the first array; or the directory has this round already, or a later
            one: another training writes there. Nothing was written.
        OSError
            It cannot be written; those before are as they were.
        """
        found = None if nonfinite else first_nonfinite(position.weights, position.states)
        if found is not None:
            msg = (
                f"checkpoint: after round {position.rounds - 1} {found}; expected finite numbers, what is there stays as it is. "
                "Write it all the same with write(position, nonfinite=True)"
            )
            raise DataError(msg, layer=found.layer, index=found.index)
        target = self._directory / f"round-{position.rounds - 1:06d}"
        for written in self.folders():
            if _index(written) >= _index(target):
                msg = (
                    f"checkpoint: {written} is there already, expected {target.name} to be the next; does another training "
                    "write there? Give each a directory of its own"
                )
                raise DataError(msg)
        facts = {"format": _FORMAT, "settings": self._settings, "states": len(position.states)}
        steps = NDArray(np.array(position.steps, np.int64))
        with _named(target, "this round cannot be kept, those before are whole"), self._unfinished() as folder:
            save(folder / "weights.sparknet", position.weights)
            for i, state in enumerate(position.states):
                save(folder / f"state-{i}.sparknet", state)
            save(folder / "position.sparknet", {"steps": steps}, metadata=facts)  # syncs the folder too
            folder.rename(target)
            _sync(self._directory)
        self._remove_old()

    def _remove_old(self) -> None:
        left = [path for path in self._directory.iterdir() if path.name.startswith(_UNFINISHED)]
        for path in [*self.folders()[:-_KEPT], *left]:
            shutil.rmtree(path)

    @contextmanager
    def _unfinished(self) -> Iterator[Path]:
        """Make a directory that is gone after the block, unless it was given another name."""
        folder = self._directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _index(folder: Path) -> int:
    return int(folder.name.removeprefix("round-"))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    """Name the path that the caller knows, and say ``what`` it means, where the system refuses."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; {what}", str(path)) from error
