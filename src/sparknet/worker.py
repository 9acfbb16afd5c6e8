"""One worker's part of a round, as pure functions of (weights, state, minibatches, seed).

Nothing here knows about clusters, files or clocks, except that a round may be bounded in time. A net
that is kept from an earlier round is a cache: everything that matters is set before it is used, so
the result does not depend on whether it was there.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sparknet.data.fields import rows_of_batch
from sparknet.data.preprocess import Preprocessor
from sparknet.data.sampling import EpochSampler, step_rng
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net, SolverState
from sparknet.weights import WeightCollection

__all__ = ["Outcome", "Task", "evaluate_shard", "single_threaded_blas", "train_round"]


@dataclass(frozen=True)
class Task:
    """What a worker is asked to do in a round; small and picklable.

    Parameters
    ----------
    worker
        Which worker, 0-based; it decides the shard and the random choices.
    num_batches
        Minibatches in the worker's shard.
    first_step
        Steps this worker has taken before; the position in its data.
    tau
        Solver steps to take.
    seed
        Seed of the whole run.
    max_seconds
        Stop before ``tau`` steps once this many seconds have passed; None: never.
    """

    worker: int
    num_batches: int
    first_step: int
    tau: int
    seed: int
    max_seconds: float | None = None

    def indices(self) -> Iterator[int]:
        """Iterate over the shard-local index of the minibatch of every step."""
        return EpochSampler(self.num_batches, self.seed, self.worker).steps(self.first_step, self.tau)

    def needed(self) -> set[int]:
        """Return the shard-local indices of all minibatches that the round may use."""
        return set(range(self.num_batches)) if self.tau >= self.num_batches else set(self.indices())


@dataclass(frozen=True)
class Outcome:
    """What a worker brings back: weights, solver state, and what it took.

    ``loss`` is the mean over the steps (NaN for none), ``seconds`` the time spent in the steps.
    """

    worker: int
    weights: WeightCollection
    state: SolverState
    loss: float
    steps: int
    examples: int
    seconds: float


class Shard(Protocol):
    """Minibatches by shard-local index."""

    def __getitem__(self, index: int, /) -> Mapping[str, NDArray]:
        """Return the minibatch."""
        ...


def train_round(
    net: Net,
    shard: Shard,
    task: Task,
    weights: WeightCollection,
    state: SolverState | None,
    preprocessor: Preprocessor | None = None,
) -> Outcome:
    """Set the net, take the task's steps on the shard, return weights and state.

    Parameters
    ----------
    net
        Any net of the right kind; what is in it does not matter.
    shard
        The worker's minibatches, as stored.
    task
        Which steps.
    weights, state
        Where to start; a state of None means a new solver's.
    preprocessor
        Applied to each minibatch, in its training behaviour.
    """
    net.set_weights(weights)
    if state is not None:
        net.set_state(state)
    reseed = getattr(net, "reseed", None)  # for frameworks with a generator of their own (dropout)
    if reseed is not None:
        reseed(int(step_rng(task.seed, task.worker, task.first_step).integers(2**31)))
    losses, examples, steps = [], 0, 0
    with single_threaded_blas():
        start = time.perf_counter()
        for index in task.indices():
            if task.max_seconds is not None and time.perf_counter() - start >= task.max_seconds:
                break
            batch = dict(shard[index])
            if preprocessor is not None:
                batch = preprocessor(batch, step_rng(task.seed, task.worker, task.first_step + steps), train=True)
            losses.append(net.step(batch))
            examples += rows_of_batch(batch)
            steps += 1
        seconds = time.perf_counter() - start
    loss = float(np.mean(losses)) if losses else float("nan")
    return Outcome(task.worker, net.get_weights(), net.get_state(), loss, steps, examples, seconds)


def evaluate_shard(
    net: Net,
    batches: Iterable[Mapping[str, NDArray]],
    weights: WeightCollection,
    preprocessor: Preprocessor | None = None,
) -> list[tuple[dict[str, float], int]]:
    """Return for each minibatch the net's scalar (0-d) test outputs, times its examples, and their number.

    One entry a minibatch and not one a shard, so that the sum can be rounded once, whatever the sharding.
    """
    net.set_weights(weights)
    parts = []
    with single_threaded_blas():
        for stored in batches:
            batch = dict(stored)
            if preprocessor is not None:
                batch = preprocessor(batch, step_rng(0, 0, 0), train=False)
            n = rows_of_batch(batch)
            outputs = net.forward(batch).items()
            # a scalar is a mean over the batch, such as loss and accuracy
            parts.append(({name: float(v.to_host()) * n for name, v in outputs if v.ndim == 0}, n))
    return parts


@contextmanager
def single_threaded_blas() -> Iterator[Any]:
    """Compute with one BLAS thread inside the block, where threadpoolctl is installed.

    The number of threads changes the last bits of a matrix product, and several workers on one
    machine would fight for its cores. (The ``spark`` extra brings threadpoolctl.)
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(limits=1, user_api="blas"):
        yield
