"""The directory of checkpoints: one folder for each of the last two rounds, whole or not at all."""

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparknet.averaging import first_nonfinite
from sparknet.checkpoint.position import Position
from sparknet.checkpoint.round_files import read_round, write_round
from sparknet.errors import DataError, FormatError
from sparknet.files.locking import LOCK_FILE, locked
from sparknet.files.regular import kind_of
from sparknet.files.replacing import explained, new_folder

__all__ = ["Checkpoint"]

_ROUND = re.compile(r"round-(\d{6,})")
_UNFINISHED = ".unfinished-"
_KEPT = 2  # rounds: where the disk damages the last one, there is another


class Checkpoint:
    """A directory of the last two positions of a training.

    ``round-000042`` is written after the round with the index 42: under another name, which is changed when all of it is on
    the disk. It holds ``weights.sparknet``, ``state-0.sparknet`` and so on, and ``position.sparknet``: the steps, and as its
    metadata the settings; a rule with state has a file ``rule-0.sparknet`` and so on for each name in it. All are files of :func:`sparknet.save`, with checksums, for ``sparknet inspect`` and
    :func:`sparknet.load`. The metadata of each says the round and an identity that is the round's own: a file of another round
    or training is refused. Files of older versions have no identity; they are read, and a warning says so.

    Parameters
    ----------
    directory
        Made if it is missing; it holds nothing else, but for a lock's file while it is written to.
    settings
        What a training has to have in common with the one that it goes on from. Compared as text.
    notes
        What may be another then: name -> text. :meth:`read` logs a warning for each that is, with both texts.

    Raises
    ------
    DataError
        Something else is in the directory, or a link, file or FIFO in the place of a round.
    OSError
        The directory cannot be made, read or written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sparknet import NDArray, WeightCollection
    >>> position = Position(1, WeightCollection({"ip": [[0.5]]}), [{"iteration": NDArray(np.int64(10))}], [10])
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     Checkpoint(directory, {"seed": 7}).write(position)
    ...     found = Checkpoint(directory, {"seed": 7}).read()
    >>> found.rounds, found.steps, found.weights == position.weights
    (1, [10], True)
    """

    def __init__(
        self, directory: str | os.PathLike[str], settings: Mapping[str, Any], notes: Mapping[str, str] | None = None
    ) -> None:
        self._directory = Path(directory)
        self._settings = {name: str(value) for name, value in settings.items()}
        self._notes = dict(notes or {})
        self._is_held = False
        with explained(self._directory, "a checkpoint needs a directory that can be read and written"):
            self._directory.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign()
            trial = self._directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
            trial.mkdir()  # what could not be written later is refused now
            trial.rmdir()

    def _refuse_foreign(self) -> None:
        for path in sorted(self._directory.iterdir()):
            is_round = _ROUND.fullmatch(path.name) or path.name.startswith(_UNFINISHED)
            if not (is_round or path.name.startswith(LOCK_FILE)):
                msg = f"checkpoint: {self._directory} holds {path.name!r}; expected a directory for this alone, new or empty"
                raise DataError(msg)
            if is_round and not stat.S_ISDIR(mode := path.lstat().st_mode):
                what = "a symbolic link" if stat.S_ISLNK(mode) else kind_of(mode) or "a file"
                msg = f"checkpoint: {path} is {what}; expected a directory of a round: remove it, or name another directory"
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
            It is damaged, or has a file of another round or training; the message says what to remove.
        """
        if not (folders := self.folders()):
            return None
        *before, last = folders
        try:
            return read_round(last, _index(last), self._settings, self._notes)
        except (FormatError, FileNotFoundError) as error:
            fix = f"go on from {before[-1]}" if before else "begin anew"
            msg = f"checkpoint: {last} is damaged: {error}; remove this directory to {fix}"
            raise FormatError(msg) from error

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
        found = None if nonfinite else first_nonfinite(position.weights, position.states, position.rule_state)
        if found is not None:
            msg = (
                f"checkpoint: after round {position.rounds - 1} {found}; expected finite numbers, what is there stays as it is. "
                "Write it all the same with write(position, nonfinite=True)"
            )
            raise DataError(msg, layer=found.layer, index=found.index)
        target = self._directory / f"round-{position.rounds - 1:06d}"
        with self.held(position.rounds - 1):
            what = "this round cannot be kept, those before are whole"
            with explained(target, what), new_folder(target, _UNFINISHED) as folder:
                write_round(folder, position, self._settings, self._notes)
            self._remove_old()

    @contextmanager
    def held(self, index: int | None = None) -> Iterator[None]:
        """Keep other trainings out of the directory for the length of the block; who only reads is not kept out.

        Parameters
        ----------
        index
            The round that is to be written next; None where nothing is written.

        Raises
        ------
        DataError
            Another training writes there now, or has written this round or a later one.
        """
        if self._is_held:
            self._check_next(index)
            yield
            return
        own = ": it is a training of this process, which ends with rounds.close()"
        with locked(self._directory, f"checkpoint: {self._directory}", own):
            self._check_next(index)
            self._is_held = True
            try:
                yield
            finally:
                self._is_held = False

    def _check_next(self, index: int | None) -> None:
        for written in self.folders():
            if index is not None and _index(written) >= index:
                msg = (
                    f"checkpoint: {written} is there already, expected round {index} to be the next; does another training "
                    "write there? Give each a directory of its own"
                )
                raise DataError(msg)

    def _remove_old(self) -> None:
        left = [path for path in self._directory.iterdir() if path.name.startswith(_UNFINISHED)]
        for path in [*self.folders()[:-_KEPT], *left]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:  # it came meanwhile; rmtree waits for a FIFO
                path.unlink()


def _index(folder: Path) -> int:
    return int(folder.name.removeprefix("round-"))
