"""A check of folders of images before Spark lists them: links, FIFOs, and names that Java cannot read.

Spark follows every link. A link to a folder above gives all images 41 times, and two such links give more files than any
machine can list. Spark leaves out, without a message, an image whose link leads nowhere or whose name is not in Java's encoding.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from sparknet.errors import DataError
from sparknet.files.regular import kind_of

__all__ = ["check_folders"]

_HIDDEN = ("_", ".")  # Spark leaves out names that begin so
_OUTSIDE = "links lead out of the folder ({count}), such as {path!r} to {target!r}: what is there is read too"
_INSIDE = (
    "links lead to what is in the folder itself ({count}), such as {path!r} to {target!r}: it is read more than once"
)
_NOWHERE = "links lead nowhere ({count}), such as {path!r} to {target!r}: they are left out"
_UNREADABLE = (
    "names are not in {target}, in which Java reads names here ({count}), such as {path!r}: what is called so is left out; "
    "rename it"
)
_Folder = tuple[int, int]  # device and inode: they identify a folder whatever path leads to it


def check_folders(paths: Sequence[str], suffixes: tuple[str, ...], encoding: str) -> list[str]:
    """Return a sentence about each kind of thing under ``paths`` that the user should know of.

    Parameters
    ----------
    paths
        Folders and files of this machine. Hidden entries of a folder (``_`` or ``.`` begins the name) are left out.
    suffixes
        Lower-case endings of the files that are wanted.
    encoding
        Java's encoding of file names.

    Raises
    ------
    DataError
        A link leads to a folder that contains it; or a FIFO, socket or device has the name of a wanted file.
    """
    findings = _Findings(suffixes, encoding)
    for path in paths:
        if Path(path).is_dir():
            findings.walk(path)
        else:
            findings.check_file(path)
    return findings.sentences()


class _Findings:
    """The findings so far: for each kind the number, an example, and where that leads to."""

    def __init__(self, suffixes: tuple[str, ...], encoding: str) -> None:
        self._suffixes, self._encoding = suffixes, encoding
        self._kinds: dict[str, tuple[int, str, str]] = {}

    def sentences(self) -> list[str]:
        """Return a sentence about each kind."""
        return [kind.format(count=n, path=path, target=target) for kind, (n, path, target) in self._kinds.items()]

    def walk(self, root: str) -> None:
        """Go through a folder and the folders below it, once each, whatever leads there."""
        seen = set[_Folder]()
        left: list[tuple[str, tuple[_Folder, ...]]] = [(root, ())]
        while left:
            folder, above = left.pop()
            status = Path(folder).stat()
            own = status.st_dev, status.st_ino
            if own in above:
                msg = (
                    f"{folder!r} leads by a link to {_target(folder)!r}, a folder that it is in: its images would be there again and "
                    "again; remove the link"
                )
                raise DataError(msg)
            if own not in seen:
                seen.add(own)
                with suppress(PermissionError):  # Spark itself names the folder
                    left += [(path, (*above, own)) for path in self._folders_in(folder, _target(root))]

    def check_file(self, path: str) -> None:
        """Refuse an existing FIFO, socket or device that has the name of a wanted file."""
        kind = kind_of(Path(path).stat().st_mode) if Path(path).exists() else None
        if kind is not None and path.lower().endswith(self._suffixes):
            msg = f"{path!r} is {kind}, expected a file"
            raise DataError(msg)

    def _folders_in(self, folder: str, root: str) -> Iterator[str]:
        """Yield the folders in a folder; check the files in it."""
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir())
                if entry.name.startswith(_HIDDEN) or not (is_folder or entry.name.lower().endswith(self._suffixes)):
                    continue
                if not self._is_readable(entry.name):
                    self._add(_UNREADABLE, entry.path, self._encoding)
                    continue
                if entry.is_symlink():
                    self._look_at_link(entry.path, root)
                if is_folder:
                    yield entry.path
                elif not entry.is_file(follow_symlinks=False):
                    self.check_file(entry.path)

    def _look_at_link(self, path: str, root: str) -> None:
        target = _target(path)
        is_inside = Path(target).is_relative_to(root)
        self._add(_NOWHERE if not Path(path).exists() else _INSIDE if is_inside else _OUTSIDE, path, target)

    def _is_readable(self, name: str) -> bool:
        try:
            name.encode(self._encoding)
        except UnicodeEncodeError:
            return False
        return True

    def _add(self, kind: str, path: str, target: str) -> None:
        count, *example = self._kinds.get(kind, (0, path, target))
        self._kinds[kind] = (count + 1, *example)  # type: ignore[assignment]


def _target(path: str) -> str:
    return os.path.realpath(path)
