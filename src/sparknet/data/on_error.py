"""What happens to a bad row or image: the values of ``on_error`` that the verbs take."""

from collections.abc import Sequence
from typing import Literal, TypeVar

from sparknet.errors import DataError

__all__ = ["ERROR_OR_DROP", "OnError", "checked_on_error"]

OnError = Literal["error", "null", "drop"]
ERROR_OR_DROP: tuple[Literal["error", "drop"], ...] = ("error", "drop")
_MEANING = {"error": "", "null": " (the row's new columns)", "drop": " (the row)"}

Word = TypeVar("Word", bound=str)


def checked_on_error(on_error: str, caller: str, known: Sequence[Word]) -> Word:
    """Return one of the ``known`` words; ``"raise"`` is another word for ``"error"``.

    Raises
    ------
    DataError
        It is none of them; the message begins with ``caller``.

    Examples
    --------
    >>> checked_on_error("raise", "Decode", ERROR_OR_DROP)
    'error'
    """
    word = "error" if on_error == "raise" else on_error
    for one in known:
        if word == one:
            return one
    *words, last = [f"{name!r}{_MEANING[name]}" for name in known]
    expected = f"{', '.join(words)} or {last}" if words else last
    why = ": there are no new columns that could be null" if word == "null" else ""
    msg = f"{caller}: on_error: got {on_error!r}, expected {expected}{why}"
    raise DataError(msg)
