"""The range of values of a batch, as text, and whether a net can learn from such values."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sparknet.ndarray import NDArray

__all__ = ["implausible", "line_about", "number"]

_NARROW = 0.01  # pixels 0..255 that were multiplied by 1/256 twice lie within 1/256
_TOLD_BY_DTYPE = {"uint8": "0..255", "int8": "-128..127"}


def line_about(
    name: str, stored: NDArray, steps: Sequence[str], reached: NDArray | None = None, *, order: str = ""
) -> str:
    """Return a line about an input: its stored values, the steps that change them, and the range of the result.

    Parameters
    ----------
    name
        Name of the input.
    stored
        The values of the first minibatch, as they are stored.
    steps
        What changes the values, in words; empty: nothing does.
    reached
        The values after the steps, if known.
    order
        The order of the stored channels, such as ``"R, G, B"``; "" if unknown.

    Examples
    --------
    >>> print(line_about("data", NDArray(np.zeros((2, 3), np.uint8)), ["x 0.5", "crop 28"]))
    data: uint8 0..255 -> x 0.5 -> crop 28
    """
    dtype = str(stored.dtype)
    begin = f"{dtype} {order}{' ' if order else ''}{_TOLD_BY_DTYPE.get(dtype) or _range_of(stored)}"
    end = [] if reached is None or not steps else [f"{_range_of(reached)} in the first minibatch"]
    return f"{name}: " + " -> ".join([begin, *(steps or ["as it is"]), *end])


def number(value: float) -> str:
    """Return a number with as few digits as distinguish it from other float32 numbers.

    Examples
    --------
    >>> number(1 / 256), number(255), number(np.float32(0.017))
    ('0.00390625', '255', '0.017')
    """
    return str(np.float32(value)).removesuffix(".0")


def _range_of(array: NDArray) -> str:
    """Return the least and the largest value, as in ``"0..255"``; ``"no values"`` of an empty array."""
    values = array.to_host()
    return f"{number(values.min())}..{number(values.max())}" if values.size else "no values"


def implausible(name: str, array: NDArray) -> str | None:
    """Return a warning if a net can hardly learn from the values of an input; None if they are plausible.

    Parameters
    ----------
    name
        Name of the input.
    array
        The values of a minibatch, shape (n, ...), as they reach the first layer that computes with them.

    Notes
    -----
    Equal values, or values within 1/100 of each other, are taken for a mistake: most often they were scaled twice. An input
    with one number per example, such as a label, may be constant and is not looked at.

    Examples
    --------
    >>> pixels = NDArray(np.arange(256, dtype=np.float32).reshape(4, 1, 8, 8))
    >>> implausible("data", NDArray(pixels.to_host() / 256)) is None
    True
    >>> print(implausible("data", NDArray(pixels.to_host() / 65536)))
    input 'data': all values of the first minibatch lie within 1/100 (0..0.0038909912); were they scaled twice?
    """
    values: Any = array.to_host()
    if values.dtype.kind not in "buif" or values.size <= len(values):
        return None
    least, largest = float(values.min()), float(values.max())
    if not largest - least <= _NARROW:
        return None
    if largest == least:
        return f"input {name!r}: all values of the first minibatch are {number(least)}; does the net get its data?"
    return f"input {name!r}: all values of the first minibatch lie within 1/100 ({_range_of(array)}); were they scaled twice?"
