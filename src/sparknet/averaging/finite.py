"""A search for NaN and infinities in weights and solver states.

A sum with NaN or an infinity in it is not finite. So one sum, a single pass over the memory, shows that an array is finite. Only an
array whose sum is not finite is looked at element by element, because the sum of large finite numbers may overflow. A large array is
summed in pieces, on several cores.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from sparknet import nd
from sparknet.averaging.contract import RuleState
from sparknet.ndarray import NDArray
from sparknet.serialization.memory.cores import each
from sparknet.weights import WeightCollection

__all__ = ["Nonfinite", "first_nonfinite"]

_PIECE = 1 << 22  # elements that a core sums at a time


@dataclass(frozen=True)
class Nonfinite:
    """The first array that holds NaN or an infinity.

    Parameters
    ----------
    layer, index
        Layer and index of the array in the weights. In a solver state: the name of the array, and None.
    value
        NaN, or an infinity.
    of_rule
        The name in the rule's state, if the array is there; else "".
    """

    layer: str
    index: int | None
    value: float
    of_rule: str = ""

    def __str__(self) -> str:
        """Return place and value in words."""
        where = f"layer {self.layer!r}, array {self.index}"
        if self.of_rule:
            where = f"the rule's {self.of_rule!r}" + (f", {where}" if self.index is not None else "")
        elif self.index is None:
            where = f"solver state {self.layer!r}"
        return f"{where} holds {self.value}"


def first_nonfinite(
    weights: WeightCollection,
    states: Iterable[Mapping[str, NDArray]] = (),
    rule_state: RuleState = MappingProxyType({}),
) -> Nonfinite | None:
    """Return the first array with NaN or an infinity in it; None if all are finite.

    The weights are searched first, then the solver states, then the rule's state.

    Examples
    --------
    >>> w = WeightCollection({"conv1": [[1.0, 2.0]], "ip": [[1.0], [3.0, float("nan")]]})
    >>> print(first_nonfinite(w))
    layer 'ip', array 1 holds nan
    >>> first_nonfinite(WeightCollection({}), [{"history/0": NDArray([float("inf")])}]).layer
    'history/0'
    """
    for layer, index, of_rule, array in _named(weights, states, rule_state):
        if not _is_finite(array):
            return Nonfinite(layer, index, _first(array), of_rule)
    return None


def _named(
    weights: WeightCollection, states: Iterable[Mapping[str, NDArray]], rule_state: RuleState
) -> Iterator[tuple[str, int | None, str, NDArray]]:
    """Yield layer, index and name in the rule's state of each array, as in :class:`Nonfinite`, and the array."""
    for layer, arrays in weights.items():
        yield from ((layer, index, "", array) for index, array in enumerate(arrays))
    for state in states:
        yield from ((name, None, "", array) for name, array in state.items())
    for name, value in rule_state.items():
        if isinstance(value, NDArray):
            yield name, None, name, value
        else:
            yield from ((layer, index, name, a) for layer, arrays in value.items() for index, a in enumerate(arrays))


def _is_finite(array: NDArray) -> bool:
    if not _has_floats(array.dtype):
        return True
    if all(each(_has_finite_sum, _pieces(array))):
        return True
    return bool(nd.all(nd.isfinite(array)))


def _has_finite_sum(array: NDArray) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):  # of this thread
        return bool(nd.isfinite(nd.sum(array)))


def _pieces(array: NDArray) -> list[NDArray]:
    """Return views that cover an array: one, or pieces of the rows of a large one that numpy has."""
    if array.size < 2 * _PIECE or array.backend != "numpy":
        return [array]
    rows = max(1, _PIECE * array.shape[0] // array.size)
    return [array[first : first + rows] for first in range(0, array.shape[0], rows)]


def _has_floats(dtype: Any) -> bool:
    """Say whether a dtype has NaN; bfloat16 and the like have it, and are of numpy's kind "V"."""
    return np.dtype(dtype).kind in "fcV"


def _first(array: NDArray) -> float:
    """Return the first number that is not finite; of a complex number, the part that is not."""
    found = complex(array[~nd.isfinite(array)][0].item())
    return found.real if not np.isfinite(found.real) else found.imag
