"""The directory of checkpoints: one folder for each of the last rounds, whole or not at all."""

import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparknet.averaging import first_nonfinite
from sparknet.checkpoint.position import Position
from sparknet.checkpoint.round_files import read_round, write_round
from sparknet.checkpoint.run_file import RUN_FILE, add_run
from sparknet.data.layout import is_whole
from sparknet.errors import DataError, FormatError
from sparknet.files.locking import LOCK_FILE, locked
from sparknet.files.regular import kind_of
from sparknet.files.replacing import TEMPORARY, explained, new_folder

__all__ = ["Checkpoint"]

_ROUND = re.compile(r"round-(\d{6,})")
_UNFINISHED = ".unfinished-"


class Checkpoint:
    """A directory with the last positions of a training.

    The folder ``round-000042`` is written after the round with the index 42. It has another name until all of it is on the disk.
    It holds ``weights.sparknet``, ``state-0.sparknet`` and so on for the solver states, ``rule-0.sparknet`` and so on for the
    rule's state, and ``position.sparknet``: the steps, with the settings as metadata. :func:`sparknet.save` writes all of them,
    with checksums; ``sparknet inspect`` and :func:`sparknet.load` read them.

    The metadata of each file has the round and an identity of this round. A file of another round or training is refused. Files
    of older versions have no identity; they are read with a warning.

    Parameters
    ----------
    directory
        Made if it is missing. It holds nothing else, except ``run.json`` and, while a training writes, a lock file.
    settings
        Settings that must be the same when a training goes on. They are compared as text.
    notes
        Name -> text of what may change when a training goes on. :meth:`read` logs a warning with both texts for each change.
    may_differ
        Names of settings of which :meth:`read` logs a warning with both values, where they differ.
    keep
        How many rounds are kept. With more than one there is another where the disk damages the last.

    Raises
    ------
    DataError
        Something else is in the directory, or a link, file or FIFO has the name of a round.
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
        self,
        directory: str | os.PathLike[str],
        settings: Mapping[str, Any],
        notes: Mapping[str, str] | None = None,
        *,
        may_differ: Collection[str] = (),
        keep: int = 2,
    ) -> None:
        if not is_whole(keep, 1):
            msg = f"checkpoint: keep={keep!r}; expected a whole number of rounds of at least 1"
            raise ValueError(msg)
        self._keep, self._may_differ = keep, frozenset(may_differ)
        self._directory = Path(directory)
        self._settings = {name: str(value) for name, value in settings.items()}
        self._notes = dict(notes or {})
        self._is_held = False
        with explained(self._directory, "a checkpoint needs a directory that can be read and written"):
            self._directory.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign()
            trial = self._directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
            trial.mkdir()  # fails now, not after a round, if nothing can be written
            trial.rmdir()

    def _refuse_foreign(self) -> None:
        for path in sorted(self._directory.iterdir()):
            is_round = _ROUND.fullmatch(path.name) or path.name.startswith(_UNFINISHED)
            if not (is_round or path.name == RUN_FILE or path.name.startswith((LOCK_FILE, TEMPORARY))):
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
        """Return the last position, in memory of its own; None if there is none.

        Raises
        ------
        DataError
            The position was written with other settings, or by another version of sparknet.
        FormatError
            The position is damaged, or has a file of another round or training; the message says what to remove.
        """
        if not (folders := self.folders()):
            return None
        *before, last = folders
        try:
            return read_round(last, _index(last), self._settings, self._notes, self._may_differ)
        except (FormatError, FileNotFoundError) as error:
            fix = f"go on from {before[-1]}" if before else "begin anew"
            msg = f"checkpoint: {last} is damaged: {error}; remove this directory to {fix}"
            raise FormatError(msg) from error

    def write(self, position: Position, *, nonfinite: bool = False) -> None:
        """Write a position and remove all but the last ones (``keep``). The position is on the disk when this returns.

        Parameters
        ----------
        position
            The position after a round.
        nonfinite
            Write NaN and infinities too. By default such a position is refused and the last finite one stays, because no
            training recovers from NaN.

        Raises
        ------
        DataError
            The position is not finite; the message names the first such array. Or the directory has this round or a later one
            already, because another training writes there. Nothing was written.
        OSError
            The position cannot be written; earlier ones stay as they are.
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

    def record(self, facts: Mapping[str, Any]) -> None:
        """Add what is run, with the settings and notes, to the list in ``run.json``: for people, nothing is read from it.

        Raises
        ------
        OSError
            The file cannot be written, or something that is no regular file has its name.
        """
        with explained(self._directory / RUN_FILE, "what is run is said there before the first round"):
            add_run(self._directory, {**facts, "settings": self._settings, "notes": self._notes})

    @contextmanager
    def held(self, index: int | None = None) -> Iterator[None]:
        """Keep other trainings from writing to the directory for the length of the block; readers are not kept out.

        Parameters
        ----------
        index
            The round that is written next; None if none is written.

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
        for path in [*self.folders()[: -self._keep], *left]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:  # something new in the place of a round; rmtree would wait for a FIFO
                path.unlink()


def _index(folder: Path) -> int:
    return int(folder.name.removeprefix("round-"))
