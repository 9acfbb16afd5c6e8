"""Which minibatch a worker takes at each step: a pure function of (seed, worker, step).

An epoch visits every minibatch of the shard once, in an order that is new in each epoch. The step
counter runs on across rounds, so a round of any length continues where the last one ended, and a
round longer than the shard wraps around into the next epoch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from sparknet.errors import DataError

# What a generator is for comes first in its seed: [7, 0] and 7 are one stream to numpy.
_ORDER, _STEP = 1, 2

__all__ = ["EpochSampler", "step_rng"]


@dataclass(frozen=True)
class EpochSampler:
    """The order in which ``worker`` visits the ``num_batches`` minibatches of its shard.

    Examples
    --------
    >>> sampler = EpochSampler(num_batches=3, seed=7, worker=0)
    >>> sorted(sampler.indices(0, 3)), sampler.indices(1, 4) == sampler.indices(0, 5)[1:]
    ([0, 1, 2], True)
    """

    num_batches: int
    seed: int
    worker: int

    def __post_init__(self) -> None:
        """Refuse an empty shard, which has no order."""
        if self.num_batches < 1:
            msg = f"worker {self.worker} has no minibatch; use fewer workers or a smaller batch size"
            raise DataError(msg)

    def indices(self, first_step: int, steps: int) -> list[int]:
        """Return the shard-local minibatch index for each of ``steps`` steps from ``first_step`` on."""
        return list(self.steps(first_step, steps))

    def steps(self, first_step: int, steps: int) -> Iterator[int]:
        """Iterate over what :meth:`indices` lists."""
        for step in range(first_step, first_step + steps):
            epoch, place = divmod(step, self.num_batches)
            yield int(_order(self.seed, self.worker, epoch, self.num_batches)[place])


@lru_cache(maxsize=8)
def _order(seed: int, worker: int, epoch: int, num_batches: int) -> "np.ndarray[Any, Any]":
    return np.random.default_rng([_ORDER, seed, worker, epoch]).permutation(num_batches)


def step_rng(seed: int, worker: int, step: int) -> np.random.Generator:
    """Return the generator for the random choices (crops, mirrors) of one step; retries draw the same."""
    return np.random.default_rng([_STEP, seed, worker, step])
