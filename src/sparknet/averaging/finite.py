"""Whether weights and solver states hold finite numbers alone, and where they do not.

A sum is finite only if all that it is of is: infinities and NaN stay. So most arrays take one sum, a pass over their memory, and
only one whose sum is not finite is looked at element by element (large finite numbers may overflow together).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparknet import nd
from sparknet.ndarray import NDArray
from sparknet.weights import WeightCollection

__all__ = ["Nonfinite", "first_nonfinite"]


@dataclass(frozen=True)
class Nonfinite:
    """The first array that holds a number which is not finite.

    Parameters
    ----------
    layer, index
        Which array of the weights; of a solver state the name of the array, and None.
    value
        NaN, or an infinity.
    """

    layer: str
    index: int | None
    value: float

    def __str__(self) -> str:
        """Return where it is and what, in words."""
        where = f"solver state {self.layer!r}" if self.index is None else f"layer {self.layer!r}, array {self.index}"
        return f"{where} holds {self.value}"


def first_nonfinite(weights: WeightCollection, states: Iterable[Mapping[str, NDArray]] = ()) -> Nonfinite | None:
    """Return the first array of the weights, then of the states, with NaN or an infinity in it; None if all are finite.

    Examples
    --------
    >>> w = WeightCollection({"conv1": [[1.0, 2.0]], "ip": [[1.0], [3.0, float("nan")]]})
    >>> print(first_nonfinite(w))
    layer 'ip', array 1 holds nan
    >>> first_nonfinite(WeightCollection({}), [{"history/0": NDArray([float("inf")])}]).layer
    'history/0'
    """
    for layer, arrays in weights.items():
        for index, array in enumerate(arrays):
            if not _is_finite(array):
                return Nonfinite(layer, index, _first(array))
    for state in states:
        for name, array in state.items():
            if not _is_finite(array):
                return Nonfinite(name, None, _first(array))
    return None


def _is_finite(array: NDArray) -> bool:
    if not _has_floats(array.dtype):
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        if bool(nd.isfinite(nd.sum(array))):
            return True
    return bool(nd.all(nd.isfinite(array)))


def _has_floats(dtype: Any) -> bool:
    """Say whether a dtype has NaN: numpy's own, and bfloat16 and its like, which are none of numpy's kinds."""
    return np.dtype(dtype).kind in "fcV"


def _first(array: NDArray) -> float:
    """Return the first number that is not finite; of a complex one, either part."""
    found = complex(array[~nd.isfinite(array)][0].item())
    return found.real if not np.isfinite(found.real) else found.imag
