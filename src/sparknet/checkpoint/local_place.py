"""A checkpoint in a directory of this machine: a folder gets the name of its round, by a rename, when all of it is on the disk."""

import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sparknet.checkpoint.round_names import Folder, in_order, index_of, name_of_whole
from sparknet.checkpoint.run_file import RUN_FILE, add_run
from sparknet.errors import DataError
from sparknet.files.locking import LOCK_FILE, locked
from sparknet.files.regular import kind_of
from sparknet.files.replacing import TEMPORARY, explained, new_folder

__all__ = ["LocalPlace"]

_UNFINISHED = ".unfinished-"


class LocalPlace:
    """A directory for rounds. It is made if it is missing, and tried.

    Raises
    ------
    DataError
        Something else is in the directory, or a link, file or FIFO has the name of a round.
    OSError
        The directory cannot be made, read or written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with explained(directory, "a checkpoint needs a directory that can be read and written"):
            directory.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign()
            trial = directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
            trial.mkdir()  # fails now, not after a round, if nothing can be written
            trial.rmdir()

    def _refuse_foreign(self) -> None:
        for path in sorted(self._directory.iterdir()):
            is_round = index_of(path.name) is not None or path.name.startswith(_UNFINISHED)
            if not (is_round or path.name == RUN_FILE or path.name.startswith((LOCK_FILE, TEMPORARY))):
                msg = f"checkpoint: {self._directory} holds {path.name!r}; expected a directory for this alone, new or empty"
                raise DataError(msg)
            if is_round and not stat.S_ISDIR(mode := path.lstat().st_mode):
                what = "a symbolic link" if stat.S_ISLNK(mode) else kind_of(mode) or "a file"
                msg = f"checkpoint: {path} is {what}; expected a directory of a round: remove it, or name another directory"
                raise DataError(msg)

    def folders(self) -> list[Folder]:
        """Return the directories of whole rounds, the last one last."""
        return in_order([path for path in self._directory.iterdir() if index_of(path.name) is not None])

    @contextmanager
    def opened(self, folder: Folder) -> Iterator[Path]:
        """Return the directory of a round."""
        yield self._directory / folder.name

    @contextmanager
    def new_round(self, index: int) -> Iterator[Path]:
        """Return a directory to write to, which becomes that of a round at the end of the block."""
        target = self._directory / name_of_whole(index)
        with (
            explained(target, "this round cannot be kept, those before are whole"),
            new_folder(target, _UNFINISHED) as folder,
        ):
            yield folder

    def remove_old(self, keep: int) -> None:
        """Remove all but the last rounds, and what killed writers have left."""
        old = [self._directory / folder.name for folder in self.folders()[:-keep]]
        left = [path for path in self._directory.iterdir() if path.name.startswith(_UNFINISHED)]
        for path in [*old, *left]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:  # something new in the place of a round; rmtree would wait for a FIFO
                path.unlink()

    def record(self, facts: Mapping[str, Any]) -> None:
        """Add what is run to the list of runs."""
        with explained(self._directory / RUN_FILE, "what is run is said there before the first round"):
            add_run(self._directory, facts)

    def locked(self) -> AbstractContextManager[None]:
        """Keep other trainings from writing to the directory; readers are not kept out."""
        own = ": it is a training of this process, which ends with rounds.close()"
        return locked(self._directory, f"checkpoint: {self._directory}", own)
