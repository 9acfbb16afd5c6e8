"""Large arrays of zeros in a solver state do not travel: the history of a solver that has taken no step, where each round begins with one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sparknet.clusters.direct.payload import ResultLayout, as_lists, heard, schema_of_state
from sparknet.ndarray import NDArray
from sparknet.nets.base import SolverState

__all__ = ["with_zeros", "without_zeros"]

_LARGE = 1 << 16  # bytes; looking at fewer costs as much as sending them
_FIRST = 1 << 9  # bytes that are looked at first: history is hardly ever zero there


def without_zeros(state: SolverState) -> tuple[dict[str, NDArray], list[Any]]:
    """Return the arrays of a state that have to travel, and what :func:`with_zeros` needs to put the others back.

    Examples
    --------
    >>> state = {"iteration": NDArray(np.int64(0)), "history/0": NDArray(np.zeros(1 << 20, "f"))}
    >>> kept, said = without_zeros(state)
    >>> list(kept), list(with_zeros(kept, said))
    (['iteration'], ['iteration', 'history/0'])
    """
    zeros = {name for name, array in state.items() if array.nbytes >= _LARGE and _is_zero(array)}
    kept = {name: array for name, array in state.items() if name not in zeros}
    return kept, as_lists(schema_of_state(state)) if zeros else []


def with_zeros(kept: SolverState, said: Sequence[Any]) -> SolverState:
    """Return the whole state, in its order. Zeros take memory once they are written to."""
    if not said:
        return kept
    schema = heard(said)
    return {
        name: kept[name] if name in kept else NDArray(np.zeros(place.shape, place.dtype))
        for name, place in zip(schema, ResultLayout(schema).places, strict=True)
    }


def _is_zero(array: NDArray) -> bool:
    """Say whether all bits are zero; those of -0.0 are not."""
    flat = np.ascontiguousarray(array.to_host()).reshape(-1).view(np.uint8)
    return not flat[:_FIRST].any() and not flat.max()
