"""The rounds of one run: send, train, collect, average, evaluate, write. :mod:`.driver` checks the arguments."""

import inspect
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparknet.averaging import Rule
from sparknet.averaging.contract import is_stateless, next_start, shares_of
from sparknet.checkpoint import Checkpoint, Position
from sparknet.data.layout import shard_length
from sparknet.data.preprocess.summary import summary
from sparknet.data.ragged import Even
from sparknet.data.sampling import Sampling
from sparknet.nets.base import NetFactory, SolverState
from sparknet.training.divergence import Divergence
from sparknet.training.protocols import Cluster, PackedData, Session
from sparknet.training.rounds import Round, Seconds
from sparknet.training.states import StatePolicy, next_states
from sparknet.weights import WeightCollection
from sparknet.worker import Outcome, Task

__all__ = ["Run"]


@dataclass(frozen=True)
class Run:
    """The checked arguments of a run, and the state of a solver that has taken no step."""

    cluster: Cluster
    factory: NetFactory
    data: PackedData
    num_batches: int
    even: Even
    workers: int
    tau: int
    rounds: int
    rule: Rule
    seed: int
    max_seconds: float | None
    evaluate: tuple[PackedData, int] | None
    solver_state: StatePolicy
    sampling: Sampling
    new_state: SolverState
    divergence: Divergence

    def settings(self) -> dict[str, Any]:
        """Return the settings that determine, with net and data, the result of every step."""
        names = ("workers", "seed", "solver_state", "sampling")
        sizes = {"num_batches": self.num_batches, "batch_size": self.data.batch_size}
        others = {
            "ragged": self.even.ragged,
            "rule": "one without state" if is_stateless(self.rule) else summary(self.rule),
        }
        return {name: getattr(self, name) for name in names} | sizes | others

    def notes(self) -> dict[str, str]:
        """Return what else the weights depend on, but may change when the run is resumed."""
        return {"preprocessor": summary(self.data.preprocessor)}

    def rounds_from(self, position: Position, checkpoint: Checkpoint | None) -> Generator[Round, None, None]:
        """Yield the rounds after ``position``. Meanwhile no other training can write to the directory of the checkpoint."""
        held = nullcontext() if checkpoint is None else checkpoint.held(position.rounds)
        with held, self._session() as session:
            for index in range(position.rounds, self.rounds):
                start = time.perf_counter()
                collected = session.train(self._tasks(position.steps), position.weights, position.states)
                outcomes = collected.outcomes
                averaging = time.perf_counter()
                taking_part = self.divergence.taking_part(index, outcomes)
                position = self._next(position, outcomes, taking_part)
                is_finite = self.divergence.is_finite(position)
                evaluating = time.perf_counter()
                metrics = self._metrics(session, position.weights, index)
                keeping = time.perf_counter()
                if checkpoint is not None and is_finite:
                    checkpoint.write(position, nonfinite=True)  # it was checked above
                end = time.perf_counter()
                seconds = Seconds(
                    broadcast=collected.broadcast,
                    train=tuple(o.seconds for o in outcomes),
                    collect=collected.collect,
                    average=evaluating - averaging,
                    evaluate=keeping - evaluating,
                    checkpoint=end - keeping,
                    total=end - start,
                )
                yield Round(
                    index=index,
                    weights=position.weights,
                    loss=_mean_loss(taking_part),
                    workers=tuple(o.worker for o in taking_part),
                    metrics=metrics,
                    seconds=seconds,
                    steps=sum(o.steps for o in outcomes),
                    examples=sum(o.examples for o in outcomes),
                    bytes_down=collected.bytes_down,
                    bytes_up=collected.bytes_up,
                )

    def _session(self) -> AbstractContextManager[Session]:
        """Open a session, and tell it what will be evaluated, if it can know that."""
        known = {"evaluate": self.evaluate[0]} if self.evaluate is not None and self._is_told() else {}
        return self.cluster.session(self.factory, self.data, self.workers, **known)

    def _is_told(self) -> bool:
        try:
            return "evaluate" in inspect.signature(self.cluster.session).parameters
        except (TypeError, ValueError):  # it is no function that Python can look into
            return False

    def _next(self, position: Position, outcomes: Sequence[Outcome], taking_part: Sequence[Outcome]) -> Position:
        """Return the position after a round from ``position`` with these outcomes, of which those ``taking_part`` are averaged."""
        examples = [o.examples for o in taking_part]
        results = [o.weights for o in taking_part]
        weights, rule_state = next_start(self.rule, position.weights, results, examples, position.rule_state)
        states = [o.state for o in taking_part]
        if self.solver_state == "local":
            taken = {o.worker for o in taking_part}
            states = [o.state if o.worker in taken else _left_out(position, o) for o in outcomes]
        states = next_states(self.solver_state, states, shares_of(self.rule, examples), self.new_state)
        steps = [s + o.steps for s, o in zip(position.steps, outcomes, strict=True)]
        return Position(position.rounds + 1, weights, states, steps, rule_state)

    def _tasks(self, first_steps: Sequence[int]) -> list[Task]:
        return [
            Task(
                worker=k,
                num_batches=shard_length(self.num_batches, k, self.workers),
                first_step=first,
                tau=self.tau,
                seed=self.seed,
                max_seconds=self.max_seconds,
                sampling=self.sampling,
                even=self.even,
            )
            for k, first in enumerate(first_steps)
        ]

    def _metrics(self, session: Session, weights: WeightCollection, index: int) -> dict[str, float]:
        if self.evaluate is None:
            return {}
        data, every = self.evaluate
        due = (index + 1) % every == 0 or index == self.rounds - 1
        return session.evaluate(weights, data) if due else {}


def _left_out(position: Position, outcome: Outcome) -> SolverState:
    """Return the solver state of a worker that is left out: that before the round, with the new iteration count."""
    before = position.states[outcome.worker % len(position.states)]
    return {**before, **{name: outcome.state[name] for name in ("iteration",) if name in outcome.state}}


def _mean_loss(outcomes: Sequence[Outcome]) -> float:
    """Return the mean over all updates of all workers; NaN where there was none."""
    worked = [o for o in outcomes if o.updates]
    return float(np.average([o.loss for o in worked], weights=[o.updates for o in worked])) if worked else float("nan")
