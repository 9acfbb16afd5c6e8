"""One worker's part of a round, as pure functions of (weights, state, minibatches, seed).

Nothing here knows about clusters, files or clocks, except that a round may be bounded in time. A net
that is kept from an earlier round is a cache: everything that matters is set before it is used, so
the result does not depend on whether it was there.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from sparknet.averaging import first_nonfinite
from sparknet.data.blas import single_threaded_blas
from sparknet.data.passes import Prepared, as_tested, one_pass
from sparknet.data.prefetch import prefetch
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even
from sparknet.data.sampling import SAMPLERS, Sampling, step_rng
from sparknet.data.shards import Shard, Stored, reseed
from sparknet.errors import NetError, located
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net, SolverState
from sparknet.weights import WeightCollection

__all__ = ["Outcome", "Task", "evaluate_batch", "evaluate_shard", "train_round"]


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
        Stop before ``tau`` steps once this many seconds have passed, but not before the first; None: never.
    sampling
        In which order the minibatches are visited, as ``sparknet.data.sampling`` has them.
    even
        What becomes of a minibatch that is short; None: the net takes it as it is.
    """

    worker: int
    num_batches: int
    first_step: int
    tau: int
    seed: int
    max_seconds: float | None = None
    sampling: Sampling = "epoch"
    even: Even | None = None

    def indices(self) -> Iterator[int]:
        """Iterate over the shard-local index of the minibatch of every step."""
        return SAMPLERS[self.sampling](self.num_batches, self.seed, self.worker).steps(self.first_step, self.tau)


@dataclass(frozen=True)
class Outcome:
    """What a worker brings back: weights, solver state, and what it took.

    ``steps`` are the minibatches gone through, ``seconds`` the time spent in them. ``updates`` of them had rows, and the net
    took a step on each; the others have none because all of their images were dropped, or because they were short and are
    left out. ``examples`` are rows that the net learned from, without padded ones. ``loss`` is the mean over the updates
    (NaN for none). ``nonfinite`` says what is NaN or infinite of loss, weights and state, in words; None: nothing is.
    """

    worker: int
    weights: WeightCollection
    state: SolverState
    loss: float
    steps: int
    updates: int
    examples: int
    seconds: float
    nonfinite: str | None = None


def train_round(
    net: Net,
    stored: Stored,
    task: Task,
    weights: WeightCollection,
    state: SolverState,
    preprocessor: Preprocessor | None = None,
) -> Outcome:
    """Set the net, take the task's steps on the shard, return weights and state.

    Parameters
    ----------
    net
        Any net of the right kind; what is in it does not matter.
    stored
        The worker's minibatches.
    task
        Which steps.
    weights, state
        Where to start.
    preprocessor
        Applied to each minibatch, in its training behaviour.

    Raises
    ------
    SparknetError
        A minibatch cannot be read, prepared or stepped on; the message begins with the shard and the minibatch's index in
        it. What a preprocessor raises is a DataError that names the row, where one row is at fault.

    Notes
    -----
    The next minibatches are read, preprocessed and, by a net that has a ``prepare``, made ready in a thread while the net
    steps. At most two are ready beside the one in use, and random choices depend on the step alone: the bits are those
    of a plain loop.
    """
    net.set_weights(weights)
    net.set_state(state)
    reseed(net, task.seed, task.worker, task.first_step)
    losses: list[float] = []
    taken, examples, diverged = 0, 0, ""
    shard = Shard(task.worker, stored, task.num_batches, preprocessor, task.even)
    prepare = partial(_prepared, shard, task, getattr(net, "prepare", None))
    with single_threaded_blas(), prefetch(enumerate(task.indices()), prepare) as batches:
        start = time.perf_counter()
        for index, rows, batch in batches:
            late = task.max_seconds is not None and time.perf_counter() - start >= task.max_seconds
            if late and taken:
                break
            taken += 1
            if rows:
                with located(_place(task, index)):
                    diverged = _step(net, batch, losses)
            examples += rows
            if diverged:
                break
            del batch  # its memory is free before the next one is asked for
        seconds = time.perf_counter() - start
    loss = float(np.mean(losses)) if losses else float("nan")
    result, left = net.get_weights(), net.get_state()
    wrong = ", ".join(filter(None, (diverged, _nonfinite(losses, result, left)))) or None
    return Outcome(task.worker, result, left, loss, taken, len(losses), examples, seconds, wrong)


def _step(net: Net, batch: Mapping[str, NDArray], losses: list[float]) -> str:
    """Take a step and note its loss; say so where the net refuses to, because it has diverged, or nothing."""
    try:
        losses.append(net.step(batch))
    except NetError as error:
        if not getattr(error, "nonfinite", False):
            raise
        return f"its update {len(losses) + 1} was refused: {error}"
    return ""


def _nonfinite(losses: list[float], weights: WeightCollection, state: SolverState) -> str | None:
    """Say which step first had a loss that is not finite, and which array holds such a number; None for neither."""
    step = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)
    found = first_nonfinite(weights, [state])
    said = [] if step is None else [f"the loss of its update {step + 1} of {len(losses)} is {losses[step]}"]
    return ", ".join(said + ([] if found is None else [str(found)])) or None


def _prepared(shard: Shard, task: Task, prepare: Any, step: tuple[int, int]) -> tuple[int, int, Mapping[str, NDArray]]:
    """Return (shard-local index, rows without padding, minibatch as the net takes it) for (number in the round, index)."""
    number, index = step
    rng = step_rng(task.seed, task.worker, task.first_step + number)
    with located(f"shard {task.worker}"):
        return index, *shard.used(index, rng, train=True, prepare=prepare)


def _place(task: Task, index: int) -> str:
    return f"shard {task.worker}: minibatch {index}"


def evaluate_shard(
    net: Net,
    batches: Iterable[Mapping[str, NDArray]],
    weights: WeightCollection,
    preprocessor: Preprocessor | None = None,
    even: Even | None = None,
) -> list[dict[str, tuple[float, float]]]:
    """Return :func:`evaluate_batch` for each minibatch that has rows after the preprocessor's test behaviour, and is used.

    One entry a minibatch and not one a shard, so that the sum can be rounded once, whatever the sharding.
    """
    net.set_weights(weights)

    def prepared(item: tuple[int, Mapping[str, NDArray]]) -> tuple[int, Mapping[str, NDArray]]:
        return as_tested(item[1], preprocessor, even)

    def sums(item: tuple[int, Any], minibatch: Prepared[Any]) -> dict[str, tuple[float, float]] | None:
        with located(f"evaluation: minibatch {item[0]}"):
            rows, batch = minibatch.get()
            return evaluate_batch(net, batch, rows) if rows else None

    return [part for part in one_pass(enumerate(batches), prepared, sums) if part is not None]


def evaluate_batch(net: Net, batch: Mapping[str, NDArray], rows: int) -> dict[str, tuple[float, float]]:
    """Return the sum of each of the net's metrics, and what it is to be divided by.

    Metrics are its scalar (0-d) test outputs, means over the minibatch such as loss and accuracy, unless the net's own
    ``totals`` or ``total`` knows better. ``rows`` of the batch count; it may be padded.
    """
    outputs = net.forward(batch)
    totals = getattr(net, "totals", None)
    if totals is not None:
        return dict(totals(outputs, rows))
    total = getattr(net, "total", _total)
    return {name: total(name, float(value.to_host()), rows) for name, value in outputs.items() if value.ndim == 0}


def _total(_name: str, value: float, rows: int) -> tuple[float, float]:
    return value * rows, rows
