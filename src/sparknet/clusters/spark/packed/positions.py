"""New positions: the place that each example gets when a data set is packed, split or dealt out again.

They are an int64 array, indexed by the old position; -1 leaves an example out. The tasks compute it, so it need not be sent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from sparknet.data.layout import packed_positions, split_positions

__all__ = ["Positions", "in_order", "shuffled", "split_part"]

Array = np.ndarray[Any, Any]
Positions = Callable[[], Any]
"""Returns the new positions, as an array or as what can be sliced like one; picklable."""


def in_order(count: int, used: int) -> Positions:
    """Return the positions of ``count`` examples that stay as they are; only the first ``used`` are used."""
    return partial(_InOrder, count, used)


def shuffled(count: int, permutation: int | None, used: int) -> Positions:
    """Return the positions after the shuffle with this seed (None: none), of which only the first ``used`` are used."""
    return in_order(count, used) if permutation is None else partial(_shuffled, count, permutation, used)


def split_part(which: int, count: int, share: float, seed: int, used: int) -> Positions:
    """Return the positions in the training set (0) or the test set (1) of a split, of which only the first ``used`` are used."""
    return partial(_split_part, which, count, share, seed, used)


# ---- in the Python workers
def _shuffled(count: int, permutation: int, used: int) -> Array:
    return _first(packed_positions(count, permutation), used)


def _split_part(which: int, count: int, share: float, seed: int, used: int) -> Array:
    return _first(split_positions(count, share, seed)[which], used)


def _first(positions: Array, used: int) -> Array:
    return np.where(positions < used, positions, -1)


@dataclass(frozen=True)
class _InOrder:
    """The positions where the order stays, as an array would have them, but without its memory."""

    count: int
    used: int

    def __getitem__(self, where: slice) -> Array:
        return _first(np.arange(*where.indices(self.count)), self.used)
