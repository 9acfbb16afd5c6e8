"""What is strange in a folder of images, told before anything lists or reads it: links, FIFOs, names that Java cannot read.

Spark follows every link. A link to a folder above gives all images 41 times, and two of them give more than any machine lists.
An image whose link leads nowhere, or whose name is not in Java's encoding, is left out without a word.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from sparknet.errors import DataError
from sparknet.files.regular import kind_of

__all__ = ["check_folders"]

_HIDDEN = ("_", ".")  # Spark leaves out what is called so
_OUTSIDE = "links lead out of the folder ({count}), such as {path!r} to {target!r}: what is there is read too"
_INSIDE = (
    "links lead to what is in the folder itself ({count}), such as {path!r} to {target!r}: it is read more than once"
)
_NOWHERE = "links lead nowhere ({count}), such as {path!r} to {target!r}: they are left out"
_UNREADABLE = (
    "names are not in {target}, in which Java reads names here ({count}), such as {path!r}: what is called so is left out; "
    "rename it"
)
_Folder = tuple[int, int]  # device and number, by which a folder is known under every name


def check_folders(paths: Sequence[str], suffixes: tuple[str, ...], encoding: str) -> list[str]:
    """Return a sentence about each kind of strange thing under ``paths``.

    Parameters
    ----------
    paths
        Folders and files of this machine; what is in a folder and hidden (``_`` or ``.`` before the name) is left out.
    suffixes
        Lower-case endings of the files that are looked for.
    encoding
        That of the names of files in Java.

    Raises
    ------
    DataError
        A link leads to a folder that it is in; or a FIFO, socket or device is called like a file that is looked for.
    """
    found = _Found(suffixes, encoding)
    for path in paths:
        if Path(path).is_dir():
            found.walk(path)
        else:
            found.check_file(path)
    return found.sentences()


class _Found:
    """What was found so far: kind -> how often, with an example and where that leads to."""

    def __init__(self, suffixes: tuple[str, ...], encoding: str) -> None:
        self._suffixes, self._encoding = suffixes, encoding
        self._kinds: dict[str, tuple[int, str, str]] = {}

    def sentences(self) -> list[str]:
        """Return what was found, in words."""
        return [kind.format(count=n, path=path, target=target) for kind, (n, path, target) in self._kinds.items()]

    def walk(self, root: str) -> None:
        """Go through a folder, and once into each folder in it, whatever leads there."""
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
                with suppress(PermissionError):  # Spark names it
                    left += [(path, (*above, own)) for path in self._folders_in(folder, _target(root))]

    def check_file(self, path: str) -> None:
        """Refuse what is there, is called like a file that is looked for, and is no regular file."""
        kind = kind_of(Path(path).stat().st_mode) if Path(path).exists() else None
        if kind is not None and path.lower().endswith(self._suffixes):
            msg = f"{path!r} is {kind}, expected a file"
            raise DataError(msg)

    def _folders_in(self, folder: str, root: str) -> Iterator[str]:
        """Yield the folders in a folder; look at the files in it."""
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
