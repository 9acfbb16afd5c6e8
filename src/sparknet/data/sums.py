"""Adding up the results of the shards of a data set: numbers, arrays, weights, and dicts of these by key.

A plain ``+`` would give wrong sums without an error. Python's joins lists and texts. numpy's broadcasts arrays of different
shapes, and makes True of two booleans.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sparknet.errors import DataError

__all__ = ["added", "check_summable"]


def check_summable(value: Any, what: str) -> Any:
    """Return the value if it can be added up; a DataError that begins with ``what`` for any other, such as a tuple.

    Examples
    --------
    >>> check_summable({"loss": (0.5, 20)}, "the sum")
    Traceback (most recent call last):
    sparknet.errors.DataError: the sum['loss']: got a tuple, expected what can be added up: a number, an array, a WeightCollection, or a dict of these
    """
    if _is_dict(value):
        for key, part in value.items():
            check_summable(part, f"{what}[{key!r}]")
    elif getattr(getattr(value, "dtype", None), "kind", None) == "b":
        msg = f"{what}: got booleans of {type(value).__name__}, whose sum tells no number; count them: x.sum(), or int(x) of one"
        raise DataError(msg)
    elif isinstance(value, Sequence | AbstractSet | bytearray) or not hasattr(value, "__add__"):
        msg = (
            f"{what}: got a {type(value).__name__}, expected what can be added up: a number, an array, a WeightCollection, "
            "or a dict of these"
        )
        raise DataError(msg)
    return value


def added(left: Any, right: Any) -> Any:
    """Return the sum of two values that :func:`check_summable` passed; dicts are added by key, a key of one alone is kept.

    Raises
    ------
    DataError
        They are of different kinds, or are arrays of different shapes.

    Examples
    --------
    >>> added({"rows": 3, "by": {"cat": 1}}, {"rows": 4, "by": {"dog": 2}})
    {'rows': 7, 'by': {'cat': 1, 'dog': 2}}
    """
    if _is_dict(left) and _is_dict(right):
        both = {key: added(left[key], right[key]) for key in left if key in right}
        return {**left, **right, **both}
    shapes = [
        getattr(value, "shape", ()) for value in (left, right)
    ]  # a number of numpy's and one of Python's are alike
    if shapes[0] != shapes[1]:
        msg = f"the sums of two shards are a {_named(left)} and a {_named(right)}; expected the same of each shard"
        raise DataError(msg)
    try:
        return left + right
    except TypeError as error:
        msg = f"the sums of two shards are a {_named(left)} and a {_named(right)}, which cannot be added: {error}"
        raise DataError(msg) from error


def _is_dict(value: Any) -> bool:
    """Say whether it is a mapping that has no ``+``; a WeightCollection and a Counter have one."""
    return isinstance(value, Mapping) and not hasattr(value, "__add__")


def _named(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
