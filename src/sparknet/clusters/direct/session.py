"""The driver's end of a session whose workers are connected to a hub."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from sparknet.clusters.direct.alike import FirstWeights
from sparknet.clusters.direct.bodies import packed_up
from sparknet.clusters.direct.payload import asked_of, data_in_a_slice, schema_of_state
from sparknet.clusters.direct.results import KeptMemory, Results
from sparknet.clusters.direct.zeros import without_zeros
from sparknet.clusters.totals import mean_metrics
from sparknet.nets.base import SolverState
from sparknet.serialization import dump_parts
from sparknet.training import Collected, Ending
from sparknet.transport import Done, Enough, Hub, Rest
from sparknet.weights import WeightCollection
from sparknet.worker import Facts, Task

__all__ = ["DirectSession"]


def dealt(seen: Mapping[int, Sequence[int]], parts: int) -> dict[int, list[int]] | None:
    """Return worker -> parts, of those that it has, each part once and no worker with many more than another; None if one is nowhere.

    Examples
    --------
    >>> dealt({0: [0, 1, 2], 1: [0, 1]}, 3)
    {0: [2, 1], 1: [0]}
    >>> dealt({0: [0], 1: [0]}, 2) is None
    True
    """
    having = {part: [worker for worker, its in seen.items() if part in its] for part in range(parts)}
    shares: dict[int, list[int]] = {}
    for part in sorted(having, key=lambda part: len(having[part])):
        if not having[part]:
            return None
        worker = min(having[part], key=lambda worker: len(shares.get(worker, ())))
        shares.setdefault(worker, []).append(part)
    return dict(sorted(shares.items()))


def _size(body: Any) -> int:
    return sum(memoryview(part).nbytes for part in (body.rest if isinstance(body, Rest) else body))


def _early(ending: Ending) -> dict[str, Any]:
    """Return what the hub is told about workers that come late."""
    quorum = ending.quorum
    if quorum is None:
        return {}

    def grace(done: Mapping[int, Done], waited: float) -> float:
        seconds = {shard: json.loads(each.notes)["seconds"] / each.steps for shard, each in done.items() if each.steps}
        return quorum.grace(seconds, waited)

    def counts(done: Done) -> bool:
        return ending.counts(json.loads(done.result)["facts"]["nonfinite"])

    return {"deadline": grace, "quorum": Enough(quorum.workers, counts)}


@dataclass
class DirectSession:
    """The driver's end.

    Parameters
    ----------
    hub
        That the workers connect to.
    workers
        How many.
    evaluated
        The data set whose parts the workers have; None: they have none.
    elsewhere
        Returns the mean metrics of weights over any other data set.
    ended
        Called after each round.
    scattered
        0: there is a part for each worker, and each worker has all of them. Else the number of parts, of which each worker has some.
    """

    hub: Hub
    workers: int
    evaluated: Any
    elsewhere: Callable[[WeightCollection, Any], dict[str, float]]
    ended: Callable[[], None] = lambda: None
    scattered: int = 0
    first_weights: FirstWeights = field(default_factory=FirstWeights)
    memory: KeptMemory = field(default_factory=KeptMemory)
    present: list[int] = field(default_factory=list)  # who took part in the last round
    counted: tuple[int, int] = (0, 0)  # strangers and ignored messages that no later round tells of
    own: dict[int, tuple[int, SolverState]] = field(
        default_factory=dict
    )  # worker -> its number, and the state that it has
    largest: int = 0  # bytes of the largest result of the last round, with all of its state
    waits_for_all: ClassVar[str] = ""

    def train_into(
        self, ending: Ending, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]
    ) -> Collected[Facts]:
        """Run one round, all workers at the same time; their results go into ``ending`` slice by slice."""
        start = time.perf_counter()
        size = data_in_a_slice(weights.nbytes)
        bodies = self._bodies(ending, tasks, weights, states, size)
        schemas = [schema_of_state(asked_of(state, ending.names_of_state)) for state in states]
        asked = {task.worker: schemas[task.worker % len(states)] for task in tasks}
        results, fixed, lost = Results(ending, asked, size, self.memory), start, self.hub.lost_work

        def begin(done: Mapping[int, Done]) -> None:
            nonlocal fixed
            fixed = time.perf_counter()
            results.begin(done)

        done = self._checked(self.hub.round(bodies, combine=results.take, begin=begin, **_early(ending)))
        served = self.hub.served if ending.wants_each_state else {}
        for worker, state in results.end().items():
            if (number := served.get(worker)) is not None:
                self.own[worker] = number, state
        self.present, self.largest = list(done), results.largest
        end, lost = time.perf_counter(), self.hub.lost_work - lost
        if ending.quorum is not None:
            ending.quorum.sync = end - fixed
        counts = self.hub.strangers, self.hub.ignored
        strangers, ignored = (now - before for now, before in zip(counts, self.counted, strict=True))
        self.counted = counts
        slowest = max(facts.seconds for facts in results.facts)
        training = fixed - start if lost or len(done) < len(tasks) else slowest
        return Collected(
            results.facts,
            broadcast=0.0,
            collect=max(0.0, end - start - training),
            bytes_down=sum(map(_size, bodies.values())),
            bytes_up=results.nbytes,
            training=training,
            lost=lost,
            strangers=strangers,
            ignored=ignored,
        )

    def _bodies(
        self,
        ending: Ending,
        tasks: Sequence[Task],
        weights: WeightCollection,
        states: Sequence[SolverState],
        size: int,
    ) -> dict[int, Any]:
        """Return the work of each worker: with its state, or without for a worker that has it."""
        message, sent = dump_parts(weights), [without_zeros(state) for state in states]
        state_messages = [(dump_parts(kept), zeros) for kept, zeros in sent]
        bodies = dict[int, Any]()
        for task in tasks:
            place = task.worker % len(states)
            state_message, zeros = state_messages[place]
            facts = {"task": asdict(task), "names_of_state": ending.names_of_state, "zeros": zeros, "slice": size}
            facts["keeps"] = ending.wants_each_state
            bodies[task.worker] = packed_up(facts, [message, state_message])
            if task.worker in self.own and self.own[task.worker][1] is states[place]:
                rest = packed_up(facts, [message])
                bodies[task.worker] = Rest(self.own[task.worker][0], rest, whole=bodies[task.worker])
        self.own.clear()
        return bodies

    def evaluate(self, weights: WeightCollection, data: Any) -> dict[str, float]:
        """Return the means over ``data``. The workers compute them at the same time, if they have its parts."""
        shares = None if self.evaluated is None or data is not self.evaluated else self._shares()
        if shares is None:
            return self.elsewhere(weights, data)
        message = dump_parts(weights)
        told = self._told({worker: packed_up({"parts": parts}, [message]) for worker, parts in shares.items()})
        if any(
            said["metrics"] is None for said in told.values()
        ):  # of a worker that was started again, on another machine
            return self.elsewhere(weights, data)
        return mean_metrics(part for _, said in sorted(told.items()) for part in said["metrics"])

    def _shares(self) -> Mapping[int, Sequence[int]] | None:
        """Return which worker evaluates which parts; None if there is a part that no worker has. Who was left out as late has none."""
        present = self.present or list(range(self.workers))
        if not self.scattered:
            return dealt({worker: range(self.workers) for worker in present}, self.workers)
        ask = packed_up({"seen": True}, [])
        seen = {worker: said["seen"] for worker, said in self._told(dict.fromkeys(present, ask)).items()}
        return dealt(seen, self.scattered)

    def _told(self, bodies: Mapping[int, Any]) -> dict[int, Any]:
        """Return what the workers say of work that is no training."""
        done = self._checked(self.hub.round(bodies, combine=lambda _, __: None, kind="evaluation"))
        return {shard: json.loads(said.notes) for shard, said in done.items()}

    def _checked(self, done: Mapping[int, Done]) -> Mapping[int, Done]:
        """Take that a round has ended: the factory must have made the same net in all workers."""
        self.ended()
        for shard, said in sorted(done.items()):
            if told := json.loads(said.notes).get("made"):
                self.first_weights.check(shard, told)
        return done
