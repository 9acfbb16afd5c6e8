"""The line of the user's own program that raised an exception, for messages about functions that sparknet calls."""

import sysconfig
import traceback
from pathlib import Path

__all__ = ["line_of"]

_PACKAGE = str(Path(__file__).parents[1])
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def line_of(error: BaseException) -> str:
    """Return ``file:line`` of the last call outside sparknet, installed packages and Python's library.

    If there is no such call, it is the last call of all.

    Examples
    --------
    >>> try:
    ...     Path("absent").read_text()
    ... except OSError as error:
    ...     line_of(error).endswith(":2")
    True
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((_PACKAGE, "<frozen", *_LIBRARIES))]
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno}"
