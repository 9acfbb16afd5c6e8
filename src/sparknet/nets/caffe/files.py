"""Finding and reading the files that a user and a prototxt name. What is not found says where it was looked for.

A file that a prototxt names is looked for beside the solver, then beside the net, then in the working folder. Caffe
looks in the working folder alone, so its own examples name files from its root: a name with a folder in it is looked
for in the folders above the solver's, too.
"""

import logging
from pathlib import Path

from sparknet.errors import FormatError, NetError, SparknetError
from sparknet.formats import format_of, prototxt
from sparknet.formats.outline import outline
from sparknet.nets.caffe.notes import note
from sparknet.nets.caffe.runtime import MissingFileError

__all__ = ["Places", "is_there", "read_text", "shown", "solver_text"]

_SHOWN = 100  # characters of a path in a message
_LISTED = 5  # files of a folder in a message


class Places:
    """The folders in which a file that a prototxt names is looked for, in this order; the working folder comes last.

    Parameters
    ----------
    folders
        Of the solver, of the net. None for a file that the user names: it is in the working folder or nowhere.
    """

    def __init__(self, *folders: Path) -> None:
        self.folders = tuple(dict.fromkeys([*folders, Path()]))
        self._tree = folders[0].absolute().parents if folders else ()

    def find(self, name: str, what: str) -> Path:
        """Return where the file ``name`` is; an absolute one is nowhere else.

        Raises
        ------
        MissingFileError
            It is in none of the folders.
        NetError
            It is a folder.
        """
        paths = list(dict.fromkeys(folder / name for folder in [*self.folders, *self._above(name)])) if name else []
        for path in paths:
            if is_there(path):
                _check_file(path, what)
                return path
        first = shown(paths[0]) if paths else "''"
        looked = ", ".join(repr(str(folder.absolute())) for folder in self.folders if folder != Path())
        work = f"working folder {str(Path.cwd())!r}"
        above = (
            "" if not self._above(name) else ", and in the folders above the first" if looked else " and those above it"
        )
        where = f"; looked in {looked} and the {work}{above}" if looked and len(paths) > 1 else f" ({work}{above})"
        msg = f"no {what} at {first}{where}{self._namesake(name)}"
        raise MissingFileError(msg, path=name)

    def _namesake(self, name: str) -> str:
        """Return where a file of the same last name lies without the folders of ``name``, for the end of a message; or nothing."""
        bare = Path(name).name
        found = next((folder / bare for folder in self.folders if name and bare and is_there(folder / bare)), None)
        return f". There is {shown(found)}: write {bare!r}" if found else ""

    def _above(self, name: str) -> list[Path]:
        """Return the folders above the solver's, the nearest first, for a name that may begin at one of them."""
        return list(self._tree) if len(Path(name).parts) > 1 else []


def solver_text(solver: str | Path) -> tuple[str, str]:
    """Return the text of a solver and its name in messages: the path, or ``"solver"`` where it is a text itself.

    A text has a line break, or is no file and has a brace or quotes or fields of Caffe; ``hdfs://a/b`` is a path.
    """
    if isinstance(solver, str):
        if not solver.strip():
            msg = f"the solver is {solver!r}; expected the path of a solver prototxt, or its text"
            raise NetError(msg)
        if "\n" in solver or (not is_there(Path(solver)) and (set("{\"'") & set(solver) or outline(solver))):
            return solver, "solver"
    return read_text(Path(solver), "solver prototxt"), str(solver)


def read_text(path: Path, what: str) -> str:
    """Return the text of a file that the user calls ``what``.

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
        msg = f"the {what} {shown(path)} cannot be read as text: {error}{_what(path, error)}"
        raise NetError(msg, path=str(path)) from error
    if not is_utf8:
        note(f"{path} is not UTF-8: read as Latin-1, which is right but for names in other letters", logging.WARNING)
    return text


def shown(path: Path) -> str:
    """Return a path for a message: quoted, and not longer than a line."""
    text = str(path)
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 20]}...{text[-17:]}")


def is_there(path: Path) -> bool:
    """Say whether there is something at a path; a name that no file can have (too long, with a NUL) is not there."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _what(path: Path, error: Exception) -> str:
    """Return what a file is that is no text, for the end of a message; or nothing."""
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
        msg = f"the {what} {shown(path)} cannot be read{how}: it is a folder; name a file in it{has}"
        raise NetError(msg, path=str(path))
