"""Finding and reading the files that a user or a prototxt names. The error for a missing file names the folders that were searched.

A file in a prototxt is searched beside the solver, then beside the net, then in the working folder. Caffe searches the working
folder alone, and its own examples name files from Caffe's root. So a name with a folder in it is also searched in the folders above
the solver's.
"""

import logging
from pathlib import Path

from sparknet.errors import FormatError, NetError, SparknetError
from sparknet.formats import format_of, prototxt
from sparknet.formats.outline import outline
from sparknet.nets.caffe.notes import note
from sparknet.nets.caffe.runtime import MissingFileError

__all__ = ["Places", "is_there", "quoted", "read_text", "solver_text"]

_SHOWN = 100  # characters of a path in a message
_LISTED = 5  # files of a folder in a message


class Places:
    """The folders in which a file of a prototxt is searched, in this order; the working folder comes last.

    Parameters
    ----------
    folders
        The folders of the solver and of the net. There is none for a file that the user names: it is in the working folder.
    """

    def __init__(self, *folders: Path) -> None:
        self.folders = tuple(dict.fromkeys([*folders, Path()]))
        self._tree = folders[0].absolute().parents if folders else ()

    def find(self, name: str, what: str) -> Path:
        """Return the path of the file ``name``; an absolute name is its path.

        Raises
        ------
        MissingFileError
            The file is in none of the folders.
        NetError
            ``name`` is a folder.
        """
        paths = list(dict.fromkeys(folder / name for folder in [*self.folders, *self._above(name)])) if name else []
        for path in paths:
            if is_there(path):
                _check_file(path, what)
                return path
        first = quoted(paths[0]) if paths else "''"
        looked = ", ".join(repr(str(folder.absolute())) for folder in self.folders if folder != Path())
        work = f"working folder {str(Path.cwd())!r}"
        above = (
            "" if not self._above(name) else ", and in the folders above the first" if looked else " and those above it"
        )
        where = f"; looked in {looked} and the {work}{above}" if looked and len(paths) > 1 else f" ({work}{above})"
        msg = f"no {what} at {first}{where}{self._namesake(name)}"
        raise MissingFileError(msg, path=name)

    def _namesake(self, name: str) -> str:
        """Return a hint at a file with the last part of ``name``, for the end of a message; "" if there is none."""
        bare = Path(name).name
        found = next((folder / bare for folder in self.folders if name and bare and is_there(folder / bare)), None)
        return f". There is {quoted(found)}: write {bare!r}" if found else ""

    def _above(self, name: str) -> list[Path]:
        """Return the folders above the solver's, the nearest first, if ``name`` may begin at one of them."""
        return list(self._tree) if len(Path(name).parts) > 1 else []


def solver_text(solver: str | Path) -> tuple[str, str]:
    """Return the text of a solver and its name in messages: the path, or ``"solver"`` if the text itself was given.

    A text has a line break; or it is no existing file, and has a brace, quotes or fields of Caffe. ``hdfs://a/b`` is a path.
    """
    if isinstance(solver, str):
        if not solver.strip():
            msg = f"the solver is {solver!r}; expected the path of a solver prototxt, or its text"
            raise NetError(msg)
        if "\n" in solver or (not is_there(Path(solver)) and (set("{\"'") & set(solver) or outline(solver))):
            return solver, "solver"
    return read_text(Path(solver), "solver prototxt"), str(solver)


def read_text(path: Path, what: str) -> str:
    """Return the text of a file; messages call it ``what``.

    Raises
    ------
    NetError
        It is missing (then a MissingFileError), a folder, or no text.
    """
    if not is_there(path):
        return Places().find(str(path), what).read_text()  # raises
    _check_file(path, what, " as text")
    try:
        text, is_utf8 = prototxt.read_text(path)
    except (OSError, FormatError, UnicodeDecodeError) as error:
        msg = f"the {what} {quoted(path)} cannot be read as text: {error}{_what(path, error)}"
        raise NetError(msg, path=str(path)) from error
    if not is_utf8:
        note(f"{path} is not UTF-8: read as Latin-1, which is right but for names in other letters", logging.WARNING)
    return text


def quoted(path: Path) -> str:
    """Return a path for a message: quoted, and not longer than a line."""
    text = str(path)
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 20]}...{text[-17:]}")


def is_there(path: Path) -> bool:
    """Say whether something is at a path; False for a name that no file can have (too long, with a NUL)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _what(path: Path, error: Exception) -> str:
    """Return what kind of file this is, if it is no text, for the end of a message; "" if that is unknown."""
    try:
        found = format_of(path) if isinstance(error, UnicodeDecodeError) else None
    except (SparknetError, OSError):
        return ""
    return (
        f". It is of the format {found}, which holds arrays: weights are given apart from the solver" if found else ""
    )


def _check_file(path: Path, what: str, how: str = "") -> None:
    if path.is_dir():
        names = sorted(found.name for found in path.glob("*.prototxt"))[:_LISTED]
        has = f"; it has {', '.join(names)}" if names else ""
        msg = f"the {what} {quoted(path)} cannot be read{how}: it is a folder; name a file in it{has}"
        raise NetError(msg, path=str(path))
