"""Which minibatch a worker takes at each step: a pure function of (seed, worker, step).

``"epoch"`` visits every minibatch of the shard once in an epoch, and each epoch has a new order. The step counter runs on
across rounds. So a round of any length continues where the last one ended, and a round longer than the shard continues in the
next epoch. ``"window"`` is SparkNet's way: each round takes neighbouring minibatches from a random place on.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from sparknet.errors import DataError

# What a generator is for comes first in its seed: [7, 0] and 7 are one stream to numpy.
_ORDER, _STEP, _WINDOW = 1, 2, 4

__all__ = ["SAMPLERS", "EpochSampler", "Sampling", "WindowSampler", "step_rng"]

Sampling = Literal["epoch", "window"]


@dataclass(frozen=True)
class _Sampler(ABC):
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

    @abstractmethod
    def steps(self, first_step: int, steps: int) -> Iterator[int]:
        """Iterate over what :meth:`indices` lists."""


class EpochSampler(_Sampler):
    """The order in which ``worker`` visits the ``num_batches`` minibatches of its shard, epoch by epoch.

    Examples
    --------
    >>> sampler = EpochSampler(num_batches=3, seed=7, worker=0)
    >>> sorted(sampler.indices(0, 3)), sampler.indices(1, 4) == sampler.indices(0, 5)[1:]
    ([0, 1, 2], True)
    """

    def steps(self, first_step: int, steps: int) -> Iterator[int]:
        """Iterate over what :meth:`indices` lists; where a round begins makes no difference."""
        for step in range(first_step, first_step + steps):
            epoch, place = divmod(step, self.num_batches)
            yield int(_order(self.seed, self.worker, epoch, self.num_batches)[place])


class WindowSampler(_Sampler):
    """Neighbouring minibatches from a random place on; each round of ``worker`` has a new place.

    The shard is a ring: a run that reaches the end goes on at the beginning. So every minibatch is equally likely in every
    round, and a round may be longer than the shard. Over many rounds the visits are equal only on average:
    :class:`EpochSampler` makes them equal.

    Notes
    -----
    SparkNet's ``MinibatchSampler`` did the same to read neighbours from storage, but its runs did not go on at the beginning.

    Examples
    --------
    >>> first, *rest = WindowSampler(num_batches=5, seed=7, worker=0).indices(0, 4)
    >>> rest == [(first + step) % 5 for step in (1, 2, 3)]
    True
    """

    def steps(self, first_step: int, steps: int) -> Iterator[int]:
        """Iterate over what :meth:`indices` lists; a round is known by its ``first_step``."""
        start = int(np.random.default_rng([_WINDOW, self.seed, self.worker, first_step]).integers(self.num_batches))
        return ((start + step) % self.num_batches for step in range(steps))


SAMPLERS: Mapping[Sampling, type[_Sampler]] = {"epoch": EpochSampler, "window": WindowSampler}


@lru_cache(maxsize=8)
def _order(seed: int, worker: int, epoch: int, num_batches: int) -> "np.ndarray[Any, Any]":
    return np.random.default_rng([_ORDER, seed, worker, epoch]).permutation(num_batches)


def step_rng(seed: int, worker: int, step: int) -> np.random.Generator:
    """Return the generator for the random choices (crops, mirrors) of one step; retries draw the same."""
    return np.random.default_rng([_STEP, seed, worker, step])
