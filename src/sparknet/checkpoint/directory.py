"""The checkpoint of a training: its last rounds, each whole or not at all. Where they lie is up to a place."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sparknet.averaging import first_nonfinite
from sparknet.checkpoint.local_place import LocalPlace
from sparknet.checkpoint.place import RoundsPlace, local_path
from sparknet.checkpoint.position import Position
from sparknet.checkpoint.remote_place import RemotePlace
from sparknet.checkpoint.round_files import read_round, write_round
from sparknet.checkpoint.round_names import Folder, check_next, index_of
from sparknet.data.layout import is_whole
from sparknet.errors import DataError, FormatError

__all__ = ["Checkpoint"]


class Checkpoint:
    """A directory with the last positions of a training.

    The folder ``round-000042`` is written after the round with the index 42. It has another name until all of it is on the disk.
    It holds ``weights.sparknet``, ``state-0.sparknet`` and so on for the solver states, ``rule-0.sparknet`` and so on for the
    rule's state, and ``position.sparknet``: the steps, with the settings as metadata. :func:`sparknet.save` writes all of them,
    with checksums; ``sparknet inspect`` and :func:`sparknet.load` read them.

    The metadata of each file has the round and an identity of this round. A file of another round or training is refused. Files
    of older versions have no identity; they are read with a warning.

    In a folder of another file system, which has no rename, ``-`` and 16 digits of its own follow the name of a folder, and the file
    ``whole.json`` is put there last. What has no such file is no round. A round is written to a scratch directory first (``TMPDIR``).

    Parameters
    ----------
    directory
        Made if it is missing. It holds nothing else, except ``run.json`` and, while a training writes, a lock file. Or a URL such as
        ``s3://bucket/run`` or ``hdfs://host/run`` of a file system that fsspec has a driver for; ``file:///run`` is a directory.
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
        Something else is in the directory, or a link, file or FIFO has the name of a round; or the URL is none that fsspec knows.
    MissingDependency
        fsspec or its driver for this URL is not installed.
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
        self.directory, path = os.fspath(directory), local_path(directory)
        self._place: RoundsPlace = RemotePlace(self.directory) if path is None else LocalPlace(path)
        self._settings = {name: str(value) for name, value in settings.items()}
        self._notes = dict(notes or {})
        self._is_held = False

    def folders(self) -> list[Folder]:
        """Return the folders of whole rounds, the last one last: paths, where it is a directory of this machine."""
        return self._place.folders()

    def read(self) -> Position | None:
        """Return the last position, in memory of its own; None if there is none.

        Raises
        ------
        DataError
            The position was written with other settings, or by another version of sparknet; or two folders have the same round.
        FormatError
            The position is damaged, or has a file of another round or training; the message says what to remove.
        """
        folders = self.folders()
        check_next(folders)
        if not folders:
            return None
        *before, last = folders
        index = index_of(last.name)
        assert index is not None
        try:
            with self._place.opened(last) as copy:
                return read_round(copy, index, self._settings, self._notes, self._may_differ, called=last)
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
        index = position.rounds - 1
        with self.held(index):
            with self._place.new_round(index) as folder:
                write_round(folder, position, self._settings, self._notes)
            self._place.remove_old(self._keep)

    def record(self, facts: Mapping[str, Any]) -> None:
        """Add what is run, with the settings and notes, to the list in ``run.json``: for people, nothing is read from it.

        Raises
        ------
        OSError
            The file cannot be written, or something that is no regular file has its name.
        """
        self._place.record({**facts, "settings": self._settings, "notes": self._notes})

    @contextmanager
    def held(self, index: int | None = None) -> Iterator[None]:
        """Keep other trainings from writing to the directory for the length of the block; readers are not kept out.

        Folders of other file systems have no locks; the log says so once.

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
            check_next(self.folders(), index)
            yield
            return
        with self._place.locked():
            check_next(self.folders(), index)
            self._is_held = True
            try:
                yield
            finally:
                self._is_held = False
