"""The rounds of one run: send, train, collect, average, evaluate, write. :mod:`.driver` checks the arguments."""

import inspect
import logging
import secrets
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

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
from sparknet.training.events import events_of_run
from sparknet.training.goodput import Goodput
from sparknet.training.lateness import Lateness
from sparknet.training.pace import Averages, Decided, Pace, Quorum
from sparknet.training.phase import RunPhase, in_phase
from sparknet.training.protocols import Cluster, Collected, PackedData, Session, SliceSession
from sparknet.training.replay import Former
from sparknet.training.rounds import Round, Seconds
from sparknet.training.run_facts import facts_of
from sparknet.training.states import StatePolicy
from sparknet.weights import WeightCollection
from sparknet.worker import Facts, Task

__all__ = ["Run", "trained"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """The checked arguments of a run, and the state of a solver that has taken no step."""

    cluster: Cluster
    factory: NetFactory
    data: PackedData
    num_batches: int
    even: Even
    workers: int
    pace: Pace
    rounds: int
    rule: Rule
    seed: int
    evaluate: tuple[PackedData, int] | None
    solver_state: StatePolicy
    sampling: Sampling
    new_state: SolverState
    divergence: Divergence
    former: Mapping[int, Former] | None = None  # of a replay
    events: Path | None = None
    said: set[str] = field(default_factory=set)  # to the log, once
    lateness: Lateness = field(default_factory=Lateness)
    name: str = field(default_factory=partial(secrets.token_hex, 4))  # in run.json, and on pages of the cluster

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
        return {"preprocessor": summary(self.data.preprocessor), "net": summary(self.factory)}

    def rounds_from(self, position: Position, checkpoint: Checkpoint | None) -> Generator[Round, None, None]:
        """Yield the rounds after ``position``. Meanwhile no other training can write to the directory of the checkpoint."""
        writing = nullcontext() if checkpoint is None else Writer(checkpoint, position.rounds)
        with writing as writer, self._events(position) as tell:
            if checkpoint is not None and position.rounds < self.rounds:
                checkpoint.record(facts_of(self, position))
            rounds = self._rounds(position, writer, tell)
            del position  # its weights may be let go as those of any round
            yield from rounds

    def _events(self, position: Position) -> AbstractContextManager[Callable[[Round], None] | None]:
        if self.events is None or position.rounds >= self.rounds:
            return nullcontext()
        arguments = {"run": self.name, **facts_of(self, position)["arguments"]}
        decided = Decided.of_position(position.pace)
        return events_of_run(self.events, arguments, position.rounds, self.rounds, decided)

    def _rounds(
        self, position: Position, writer: Writer | None, tell: Callable[[Round], None] | None
    ) -> Generator[Round, None, None]:
        with ExitStack() as opened:
            with self._phase("start", position.rounds):
                session = opened.enter_context(self._session())
            for _ in range(position.rounds, self.rounds):
                if writer is not None:
                    writer.check()
                found, position = self._round(session, position, writer)
                if tell is not None:
                    tell(found)
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
        with self._phase("train", index):
            ending, collected, decided, averages = self._trained(session, before)
        taking_part = [collected.outcomes[place] for place in ending.taking_part]
        averaging = time.perf_counter()
        pace = {"decided": decided.facts(), "averages": averages.facts()}
        position, loss = replace(ending.position(), pace=pace), _mean_loss(taking_part)
        if self.former is not None:
            self.former[index].check(index, loss)
        is_finite = self.divergence.is_finite(position)
        evaluating = time.perf_counter()
        with self._phase("evaluate", index):
            metrics = self._metrics(session, position.weights, index)
        keeping = time.perf_counter()
        if writer is not None and is_finite:
            writer.write(position)
        end = time.perf_counter()
        by_worker = {each.worker: each.seconds for each in collected.outcomes}
        seconds = Seconds(
            broadcast=collected.broadcast,
            train=tuple(by_worker.get(k, collected.for_steps) for k in range(self.workers)),
            collect=collected.collect,
            average=evaluating - averaging,
            evaluate=keeping - evaluating,
            checkpoint=end - keeping,
            total=end - start,
        )
        found = Round(
            index=index,
            weights=position.weights,
            loss=loss,
            workers=tuple(each.worker for each in taking_part),
            decided=decided,
            goodput=self._goodput(collected, taking_part, seconds),
            metrics=metrics,
            seconds=seconds,
            steps=sum(each.steps for each in collected.outcomes),
            examples=sum(each.examples for each in collected.outcomes),
            bytes_down=collected.bytes_down,
            bytes_up=collected.bytes_up,
            strangers=collected.strangers,
            ignored=collected.ignored,
        )
        return found, position

    def _phase(self, part: Literal["start", "train", "evaluate"], index: int) -> AbstractContextManager[None]:
        return in_phase(RunPhase(self.name, part, index, self.rounds))

    @cached_property
    def rule_in_words(self) -> str:
        """The rule in words."""
        return summary(self.rule)

    def _trained(
        self, session: Session | SliceSession, before: Position
    ) -> tuple[Ending, Collected[Facts], Decided, Averages]:
        """Let the workers train; return what came of it, what clocks decided, and the averages after it."""
        averages = Averages.read(before.pace.get("averages"), self.workers)
        former = None if self.former is None else self.former[before.rounds].decided
        limit, absent = self.pace.limit(averages), frozenset[int]() if former is None else former.absent
        least = self.pace.min_workers
        quorum = None if least is None else Quorum(least, self.pace, averages, self.said)
        ending = Ending(
            self.rule, self.divergence, self.solver_state, self.new_state, before, absent=absent, quorum=quorum
        )
        collected = trained(session, ending, self._tasks(before.steps, limit, former), before.weights, before.states)
        steps = {each.worker: each.steps for each in collected.outcomes if each.worker not in absent}
        taken = tuple(steps.get(k) for k in range(self.workers))
        if former is not None:
            return ending, collected, replace(former, worker_steps=taken), averages
        averages = averages.after_steps({o.worker: o.seconds / o.steps for o in collected.outcomes if o.steps})
        if quorum is not None:
            averages = averages.after_exchange(quorum.waited, quorum.sync)
        decided = Decided(taken, limit, None if quorum is None else quorum.given, self.rule_in_words)
        self.lateness.hear(before.rounds, decided.absent)
        return ending, collected, decided, averages

    def _goodput(self, collected: Collected[Facts], taking_part: Sequence[Facts], seconds: Seconds) -> Goodput:
        counted, training = {each.worker for each in taking_part}, collected.for_steps
        return Goodput.of_round(
            [each.seconds for each in taking_part],
            sum(each.seconds for each in collected.outcomes if each.worker not in counted) + collected.lost,
            workers=1 if collected.in_turns else self.workers,
            training=training,
            exchange=max(0.0, seconds.total - training - seconds.evaluate - seconds.checkpoint),
            evaluate=seconds.evaluate,
            checkpoint=seconds.checkpoint,
        )

    def _tasks(self, first_steps: Sequence[int], limit: float | None, decided: Decided | None) -> list[Task]:
        """Return the work of each worker; of a replay: as many steps as were decided on, and none of those that were absent."""
        most = [self.pace.tau] * self.workers if decided is None else [steps or 0 for steps in decided.worker_steps]
        return [
            Task(
                worker=k,
                num_batches=shard_length(self.num_batches, k, self.workers),
                first_step=first,
                tau=most[k],
                seed=self.seed,
                max_seconds=limit,
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
    because = getattr(session, "waits_for_all", "rounds of this cluster wait for all workers")
    if ending.quorum is not None and because and because not in ending.quorum.said:
        ending.quorum.said.add(because)
        _LOG.warning("min_workers=%d has no effect: %s", ending.quorum.workers, because)
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
