"""The names of the folders of rounds, on a disk and elsewhere, and which rounds may follow which.

``round-000042`` is a round on a disk. Where there is no rename, the folder of each try has a name of its own:
``round-000042-0123456789abcdef``. So a copy of such a folder on a disk is a round too.
"""

import re
import secrets
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from sparknet.errors import DataError

__all__ = ["Folder", "check_next", "in_order", "index_of", "name_of_try", "name_of_whole"]

_ROUND = re.compile(r"round-(\d{6,})(-[0-9a-f]{16})?")


class Folder(Protocol):
    """The folder of a round. Its text is where it is, for messages."""

    @property
    def name(self) -> str:
        """Its name alone."""
        ...


def name_of_whole(index: int) -> str:
    """Return the name of a folder that gets it when it is whole."""
    return f"round-{index:06d}"


def name_of_try(index: int) -> str:
    """Return the name of a folder that has it from the first file on, and that no other folder ever had."""
    return f"{name_of_whole(index)}-{secrets.token_hex(8)}"


def index_of(name: str, *, of_a_try: bool | None = None) -> int | None:
    """Return the index of the round in the name of a folder; None if it is another name, or not of the kind that is asked for."""
    found = _ROUND.fullmatch(name)
    if found is None or of_a_try not in (None, found[2] is not None):
        return None
    return int(found[1])


def in_order(folders: Sequence[Folder]) -> list[Folder]:
    """Return the folders of rounds, the last one last."""
    return sorted(folders, key=lambda folder: (_index(folder), folder.name))


def check_next(folders: Sequence[Folder], index: int | None = None) -> None:
    """Raise a DataError if two folders have the same round, or one has the round ``index`` or a later one.

    Parameters
    ----------
    folders
        In their order.
    index
        The round that is written next; None if none is written.
    """
    for before, after in pairwise(folders):
        if _index(before) == _index(after):
            msg = (
                f"checkpoint: {before} and {after} are the same round, expected one: two trainings have written there at the same "
                "time; remove the one that is not wanted, with all its later rounds, and give each training a place of its own"
            )
            raise DataError(msg)
    for written in folders:
        if index is not None and _index(written) >= index:
            msg = (
                f"checkpoint: {written} is there already, expected round {index} to be the next; does another training "
                "write there? Give each a directory of its own"
            )
            raise DataError(msg)


def _index(folder: Folder) -> int:
    found = index_of(folder.name)
    assert found is not None
    return found
