"""What metadata may be: plain values, shallow enough for any reader in any language."""

from numbers import Integral, Real
from typing import Any

from sparknet.errors import shown

MAX_DEPTH = 4  # lists and maps within the metadata map
MAX_ITEMS = 1024  # entries of one list or map
_SCALARS = (str, bytes, int, float, bool, type(None))


def check_metadata(metadata: Any) -> None:
    """Raise a TypeError or ValueError if ``metadata`` cannot be written as it is."""
    if type(metadata) is not dict:
        msg = f"metadata: got {type(metadata).__name__}, expected a dict with str keys"
        raise TypeError(msg)
    problem = metadata_problem(metadata)
    if problem:
        raise ValueError(problem)


def metadata_problem(value: Any, where: str = "metadata", depth: int = 0) -> str:
    """Say what is wrong with a value of the metadata and where it is, or nothing."""
    if type(value) is int and not -(2**63) <= value < 2**64:
        return f"{where}: the integer {value} does not fit 64 bits"
    if type(value) in _SCALARS:
        return ""
    if type(value) not in (dict, list):
        got = f"{where}: got {type(value).__name__}, expected str, int, float, bool, None, bytes, a list or a dict"
        return f"{got}{_plainer(value)}"
    if depth > MAX_DEPTH or len(value) > MAX_ITEMS:
        return f"{where}: deeper than {MAX_DEPTH} levels, or more than {MAX_ITEMS} entries"
    wrong = [key for key in value if type(key) is not str] if type(value) is dict else []
    if wrong:
        return f"{where}: the key {shown(wrong[0])} is not a str; write str(key)"
    entries = value.items() if type(value) is dict else enumerate(value)
    problems = (metadata_problem(entry, f"{where}[{key!r}]", depth + 1) for key, entry in entries)
    return next(filter(None, problems), "")


def _plainer(value: Any) -> str:
    """Say how a value becomes a plain one, where it is a number, an array or a sequence."""
    if isinstance(value, Real):
        return f"; write {'int' if isinstance(value, Integral) else 'float'}(x)"
    if hasattr(value, "tolist"):
        return "; write x.tolist(), or send it as an array of the object"
    return "; write list(x)" if isinstance(value, tuple | set | frozenset) else ""
