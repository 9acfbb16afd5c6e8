"""The rounds of one run: send, train, collect, average, evaluate, write. :mod:`.driver` checks the arguments."""

import inspect
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from sparknet.averaging import Rule
from sparknet.averaging.contract import is_stateless
from sparknet.checkpoint import Checkpoint, Position, Writer
from sparknet.data.fingerprint import fingerprint
from sparknet.data.layout import shard_length
from sparknet.data.preprocess.summary import summary
from sparknet.data.ragged import Even
from sparknet.data.sampling import Sampling
from sparknet.nets.base import NetFactory, SolverState
from sparknet.training.divergence import Divergence
from sparknet.training.ending import Ending
from sparknet.training.protocols import Cluster, Collected, PackedData, Session, SliceSession
from sparknet.training.rounds import Round, Seconds
from sparknet.training.run_facts import facts_of
from sparknet.training.states import StatePolicy
from sparknet.weights import WeightCollection
from sparknet.worker import Facts, Task

__all__ = ["Run", "trained"]


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
        """Return the settings that determine, with net and data, the result of every step. The data is read once."""
        names = ("seed", "solver_state", "sampling")
        sizes = {"num_batches": self.num_batches, "batch_size": self.data.batch_size}
        others = {
            "ragged": self.even.ragged,
            "rule": "one without state" if is_stateless(self.rule) else summary(self.rule),
        }
        contents = fingerprint(self.data)
        known = {} if contents is None else {"data": contents}
        return {name: getattr(self, name) for name in names} | sizes | others | known

    def notes(self) -> dict[str, str]:
        """Return what else the weights depend on, but may change when the run is resumed."""
        return {"preprocessor": summary(self.data.preprocessor)}

    def rounds_from(self, position: Position, checkpoint: Checkpoint | None) -> Generator[Round, None, None]:
        """Yield the rounds after ``position``. Meanwhile no other training can write to the directory of the checkpoint."""
        writing = nullcontext() if checkpoint is None else Writer(checkpoint, position.rounds)
        with writing as writer:
            if checkpoint is not None and position.rounds < self.rounds:
                checkpoint.record(facts_of(self, position))
            yield from self._rounds(position, writer)

    def _rounds(self, position: Position, writer: Writer | None) -> Generator[Round, None, None]:
        with self._session() as session:
            for _ in range(position.rounds, self.rounds):
                if writer is not None:
                    writer.check()
                found, position = self._round(session, position, writer)
                yield found
                del found  # its weights are those of the position, and may be let go before the next ones are all there

    def _session(self) -> AbstractContextManager[Session | SliceSession]:
        """Open a session, and tell it what will be evaluated, if it can know that."""
        known = {"evaluate": self.evaluate[0]} if self.evaluate is not None and self._is_told() else {}
        return self.cluster.session(self.factory, self.data, self.workers, **known)

    def _is_told(self) -> bool:
        try:
            return "evaluate" in inspect.signature(self.cluster.session).parameters
        except (TypeError, ValueError):  # it is no function that Python can look into
            return False

    def _round(
        self, session: Session | SliceSession, before: Position, writer: Writer | None
    ) -> tuple[Round, Position]:
        """Return the round after a position, and the position after that."""
        index, start = before.rounds, time.perf_counter()
        ending = Ending(self.rule, self.divergence, self.solver_state, self.new_state, before)
        collected = trained(session, ending, self._tasks(before.steps), before.weights, before.states)
        facts = collected.outcomes
        averaging = time.perf_counter()
        position = ending.position()
        is_finite = self.divergence.is_finite(position)
        evaluating = time.perf_counter()
        metrics = self._metrics(session, position.weights, index)
        keeping = time.perf_counter()
        if writer is not None and is_finite:
            writer.write(position)
        end = time.perf_counter()
        seconds = Seconds(
            broadcast=collected.broadcast,
            train=tuple(each.seconds for each in facts),
            collect=collected.collect,
            average=evaluating - averaging,
            evaluate=keeping - evaluating,
            checkpoint=end - keeping,
            total=end - start,
        )
        taking_part = [facts[place] for place in ending.taking_part]
        found = Round(
            index=index,
            weights=position.weights,
            loss=_mean_loss(taking_part),
            workers=tuple(each.worker for each in taking_part),
            metrics=metrics,
            seconds=seconds,
            steps=sum(each.steps for each in facts),
            examples=sum(each.examples for each in facts),
            bytes_down=collected.bytes_down,
            bytes_up=collected.bytes_up,
        )
        return found, position

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

    def _metrics(self, session: Session | SliceSession, weights: WeightCollection, index: int) -> dict[str, float]:
        if self.evaluate is None:
            return {}
        data, every = self.evaluate
        due = (index + 1) % every == 0 or index == self.rounds - 1
        return session.evaluate(weights, data) if due else {}


def trained(
    session: Session | SliceSession,
    ending: Ending,
    tasks: Sequence[Task],
    weights: WeightCollection,
    states: Sequence[SolverState],
) -> Collected[Facts]:
    """Run one round, and give ``ending`` its results: slice by slice, if the session can."""
    train_into = getattr(session, "train_into", None)
    if train_into is not None:
        return train_into(ending, tasks, weights, states)  # type: ignore[no-any-return]
    collected: Collected[Any] = session.train(tasks, weights, states)  # type: ignore[union-attr]
    ending.outcomes(collected.outcomes)
    facts = [
        Facts(**{each.name: getattr(outcome, each.name) for each in fields(Facts)}) for outcome in collected.outcomes
    ]
    return replace(collected, outcomes=facts)  # without the weights, which are let go once they are averaged


def _mean_loss(outcomes: Sequence[Facts]) -> float:
    """Return the mean over all updates of all workers; NaN where there was none."""
    worked = [o for o in outcomes if o.updates]
    return float(np.average([o.loss for o in worked], weights=[o.updates for o in worked])) if worked else float("nan")
