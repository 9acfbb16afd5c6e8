"""The part of one worker in a round, as pure functions of (weights, state, minibatches, seed).

Nothing here knows clusters or files, nor a clock, except for the time limit of a round. A net that is kept from an earlier round
is only a cache: everything is set before it is used, so the result does not depend on it.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from sparknet.averaging import first_nonfinite
from sparknet.data.blas import single_threaded_blas
from sparknet.data.passes import PreparedItem, as_tested, one_pass
from sparknet.data.prefetch import prefetch
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even
from sparknet.data.sampling import SAMPLERS, Sampling, step_rng
from sparknet.data.shards import Shard, Stored, reseed
from sparknet.errors import NetError, SparknetError, located
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net, SolverState
from sparknet.overriding import is_as_new
from sparknet.weights import WeightCollection

__all__ = [
    "Facts",
    "Outcome",
    "Task",
    "begin_round",
    "evaluate_batch",
    "evaluate_shard",
    "left_in",
    "take_steps",
    "train_round",
]


_ALL_STEPS = 1 << 62  # the clock alone ends the round


@dataclass(frozen=True)
class Task:
    """The work of a worker in a round; small and picklable.

    Parameters
    ----------
    worker
        Number of the worker, 0-based. Its shard and its random choices follow from it.
    num_batches
        Number of minibatches in the worker's shard.
    first_step
        Number of steps that this worker has taken before: its position in its data.
    tau
        Solver steps to take. 0 with ``max_seconds``: as many as there is time for.
    seed
        Seed of the whole run.
    max_seconds
        The round ends after so many seconds, even before ``tau`` steps, but never before the first step. None: no limit.
    sampling
        The order of the minibatches: a name in ``sparknet.data.sampling``.
    even
        What happens to a short minibatch; None: the net takes it as it is.
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
        """Iterate over the steps: the index in the shard of the minibatch of each one."""
        return SAMPLERS[self.sampling](self.num_batches, self.seed, self.worker).steps(self.first_step, self.most)

    @property
    def most(self) -> int:
        """The largest number of steps."""
        return _ALL_STEPS if not self.tau and self.max_seconds is not None else self.tau


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a worker's round without its weights and state; some hundred bytes.

    ``steps`` is the number of minibatches, and ``seconds`` the time that they took. ``updates`` is the number of those with
    rows, on which the net took a step; a minibatch has no rows if all of its images were dropped, or if it is short and left
    out. ``examples`` is the number of rows that the net learned from, without padded ones. ``loss`` is the mean over the
    updates (NaN if there was none). ``nonfinite`` says in words what is NaN or infinite in loss, weights and state; None if
    nothing is.
    """

    worker: int
    loss: float
    steps: int
    updates: int
    examples: int
    seconds: float
    nonfinite: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome(Facts):
    """The result of a worker in a round: the facts, and the weights and the solver state after its steps."""

    weights: WeightCollection
    state: SolverState


def train_round(
    net: Net,
    stored: Stored,
    task: Task,
    weights: WeightCollection,
    state: SolverState,
    preprocessor: Preprocessor | None = None,
    *,
    exactly: int | None = None,
    lend: bool = False,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Take the steps of a task on a shard, from these weights and state, and return those after them.

    Parameters
    ----------
    net
        A net of the right kind, with any weights and state.
    stored
        The worker's minibatches.
    task
        The steps to take.
    weights, state
        Where to start.
    preprocessor
        Applied to each minibatch, in its training behaviour.
    exactly
        Steps that another attempt at this task has taken: so many are taken again, however long they take. None: as the task says.
    lend
        Whether weights and state may be in the net's own memory: they are read before the net is used again.
    is_wanted
        Called before each step; where it returns False, no further step is taken, and what is returned is of no use.

    Raises
    ------
    SparknetError
        A minibatch cannot be read or prepared, or the net refuses it. The message begins with the shard and the index of the
        minibatch in it. An error of the preprocessor is a DataError, which names the row if a single row is at fault. Where the net
        refuses the minibatch, the message ends with the number of the step. Any other error of the net gets a note with all three.

    Notes
    -----
    The next minibatches are read and preprocessed in a thread while the net steps; the ``prepare`` of a net that has one is
    called there too. At most two are ready beside the one in use. Random choices depend on the step alone, so the bits
    are those of a plain loop. In a round of one step there is nothing to do beside it, and no thread.
    """
    begin_round(net, task, weights, state)
    return take_steps(net, stored, task, preprocessor, exactly=exactly, lend=lend, is_wanted=is_wanted)


def begin_round(net: Net, task: Task, weights: WeightCollection, state: SolverState) -> None:
    """Put a net where a task starts. It has copies then, so the memory of ``weights`` and ``state`` is not needed for the steps."""
    net.set_weights(weights)
    net.set_state(state)
    reseed(net, task.seed, task.worker, task.first_step)


def take_steps(
    net: Net,
    stored: Stored,
    task: Task,
    preprocessor: Preprocessor | None = None,
    *,
    exactly: int | None = None,
    lend: bool = False,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Take the steps of a task with a net that :func:`begin_round` has put where it starts; all else is as for :func:`train_round`."""
    losses: list[float] = []
    taken, examples, diverged = 0, 0, ""
    shard = Shard(task.worker, stored, task.num_batches, preprocessor, task.even)
    prepare = partial(_prepared, shard, task, getattr(net, "prepare", None))
    depth = None if task.most > 1 else 0  # while a single step is taken, there is no other one to prepare
    with single_threaded_blas(), prefetch(enumerate(task.indices()), prepare, depth=depth) as batches:
        start = time.perf_counter()
        for index, rows, batch in batches:
            if exactly is None:
                late = task.max_seconds is not None and time.perf_counter() - start >= task.max_seconds
            else:
                late = taken >= exactly
            if (late and taken) or not is_wanted():
                break
            taken += 1
            if rows:
                with _stepping(task, taken, index):
                    diverged = _step(net, batch, losses)
            examples += rows
            if diverged:
                break
            del batch  # its memory is free before the next one is asked for
        seconds = max(0.0, time.perf_counter() - start)
    loss = float(np.mean(losses)) if losses else float("nan")
    result, left = left_in(net, lend=lend)
    wrong = ", ".join(filter(None, (diverged, _nonfinite(losses, result, left)))) or None
    return Outcome(
        worker=task.worker,
        loss=loss,
        steps=taken,
        updates=len(losses),
        examples=examples,
        seconds=seconds,
        nonfinite=wrong,
        weights=result,
        state=left,
    )


def left_in(net: Any, *, lend: bool) -> tuple[WeightCollection, SolverState]:
    """Return weights and state of a net: copies, or lent where that is asked for and the net can."""
    copied = "get_weights", "get_state"
    is_changed = any(name in getattr(net, "__dict__", {}) for name in copied)
    if lend and not is_changed and is_as_new(type(net), "lend", copied):
        return net.lend()  # type: ignore[no-any-return]
    return net.get_weights(), net.get_state()


def _step(net: Net, batch: Mapping[str, NDArray], losses: list[float]) -> str:
    """Take a step and append its loss. Return "", or a message if the net refuses the step because it has diverged."""
    try:
        losses.append(net.step(batch))
    except NetError as error:
        if not getattr(error, "nonfinite", False):
            raise
        return f"its update {len(losses) + 1} was refused: {error}"
    return ""


def _nonfinite(losses: list[float], weights: WeightCollection, state: SolverState) -> str | None:
    """Return a message about the first loss that is not finite, and the first array with such a number; None if all are finite."""
    step = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)
    found = first_nonfinite(weights, [state])
    said = [] if step is None else [f"the loss of its update {step + 1} of {len(losses)} is {losses[step]}"]
    return ", ".join(said + ([] if found is None else [str(found)])) or None


def _prepared(shard: Shard, task: Task, prepare: Any, step: tuple[int, int]) -> tuple[int, int, Mapping[str, NDArray]]:
    """Return (index in the shard, rows without padding, minibatch for the net) of a step: (its number in the round, the index)."""
    number, index = step
    rng = step_rng(task.seed, task.worker, task.first_step + number)
    with located(f"shard {task.worker}"):
        return index, *shard.used(index, rng, train=True, prepare=prepare)


@contextmanager
def _stepping(task: Task, step: int, index: int) -> Iterator[None]:
    """Name shard, step and minibatch in an error of the block: in the message of one of sparknet, in a note on any other."""
    try:
        yield
    except SparknetError as error:
        at = f" (at step {step} of its round)"
        raise error.placed(f"shard {task.worker}: minibatch {index}", advice=at, step=step) from error
    except Exception as error:
        error.add_note(f"[shard {task.worker}, step {step} of its round, minibatch {index}]")
        raise


def evaluate_shard(
    net: Net,
    batches: Iterable[Mapping[str, NDArray]],
    weights: WeightCollection,
    preprocessor: Preprocessor | None = None,
    even: Even | None = None,
) -> list[dict[str, tuple[float, float]]]:
    """Return :func:`evaluate_batch` of each minibatch, prepared in the test behaviour; those without rows or left out have none.

    There is an entry for each minibatch, not one for the shard, so that the sum is rounded once, whatever the shards are.
    """
    net.set_weights(weights)

    def prepared(item: tuple[int, Mapping[str, NDArray]]) -> tuple[int, Mapping[str, NDArray]]:
        return as_tested(item[1], preprocessor, even)

    def sums(item: tuple[int, Any], minibatch: PreparedItem[Any]) -> dict[str, tuple[float, float]] | None:
        with located(f"evaluation: minibatch {item[0]}"):
            rows, batch = minibatch.get()
            return evaluate_batch(net, batch, rows) if rows else None

    return [part for part in one_pass(enumerate(batches), prepared, sums) if part is not None]


def evaluate_batch(net: Net, batch: Mapping[str, NDArray], rows: int) -> dict[str, tuple[float, float]]:
    """Return metric -> (sum, divisor) for a minibatch of which so many ``rows`` count; the others are padding.

    The metrics are the scalar (0-d) test outputs of the net, which are means over the minibatch, such as loss and accuracy. A
    net whose outputs are something else has a ``totals`` or a ``total`` of its own.
    """
    outputs = net.forward(batch)
    totals = getattr(net, "totals", None)
    if totals is not None:
        return dict(totals(outputs, rows))
    total = getattr(net, "total", _total)
    return {name: total(name, float(value.to_host()), rows) for name, value in outputs.items() if value.ndim == 0}


def _total(_name: str, value: float, rows: int) -> tuple[float, float]:
    return value * rows, rows
