"""What callers give instead of an array, and how it becomes one. For the texts of errors only."""

from collections.abc import Mapping
from typing import Any

from sparknet.ndarray import NDArray

__all__ = ["no_array"]


def no_array(given: Any, name: str) -> str:
    """Say what was given in the place of the array of that name, or of the whole object, and what to write instead.

    Examples
    --------
    >>> no_array(0.1, "lr")
    "'lr' is a float; expected an NDArray or a numpy array; write np.asarray(x), or metadata={'lr': x}"
    """
    kind = type(given).__name__
    got = (
        f"{name!r} is a {kind}; expected an NDArray or a numpy array"
        if name
        else f"got a {kind}; expected an NDArray, a numpy array, a mapping of these or a WeightCollection"
    )
    fix = _held(given) or _fix(given, name)
    return f"{got}; {fix}" if fix else got


def _held(given: Any) -> str:
    """Name the attribute with the arrays of what a training, ``take_layers`` or ``formats.read`` returned."""
    held = (name for name in ("weights", "obj") if isinstance(getattr(given, name, None), NDArray | Mapping))
    return next((f"write x.{name}" for name in held), "")


def _fix(given: Any, name: str) -> str:
    if isinstance(given, Mapping):  # within another
        return f"a mapping has one level: write its arrays into it as {name + '/...'!r}"
    if isinstance(given, list | tuple) and any(hasattr(item, "shape") for item in given):
        if name:
            return "layers of several arrays are WeightCollection({name: [array, ...], ...})"
        return "write {str(n): array for n, array in enumerate(arrays)}"
    if isinstance(given, str | bytes | None):
        return f"write metadata={{{name!r}: x}}" if name else ""
    if isinstance(given, bool | int | float):
        return f"write np.asarray(x), or metadata={{{name!r}: x}}" if name else "write np.asarray(x)"
    ways = {"filled": "x.filled(value)", "state_dict": "x.state_dict()", "to_numpy": "x.to_numpy()"}
    found = (f"write {way}" for method, way in ways.items() if hasattr(given, method))
    return next(found, "write np.asarray(x)" if isinstance(given, list | tuple) else "")
