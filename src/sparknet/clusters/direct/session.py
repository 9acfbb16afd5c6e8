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
from sparknet.clusters.direct.sliced import Aggregation, Sliced, SlicedRound, UnreachableError
from sparknet.clusters.direct.zeros import without_zeros
from sparknet.clusters.totals import mean_metrics
from sparknet.nets.base import SolverState
from sparknet.serialization import dump_parts
from sparknet.training import Collected, Ending
from sparknet.transport import Done, Enough, Hub, Limits, Rest
from sparknet.weights import WeightCollection
from sparknet.worker import Facts, Task

__all__ = ["DirectSession"]

_OWN_STATES = (
    "aggregation='sliced' does not combine where each worker has a solver state of its own: with solver_state='local' all results come to "
    "the driver, as with aggregation='star'"
)


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
        return not done.is_nothing and ending.counts(json.loads(done.result)["facts"]["nonfinite"])

    return {"deadline": grace, "quorum": Enough(quorum.workers, counts)}


@dataclass(frozen=True)
class _Moved:
    """Bytes that went over the driver's link in a round, to the workers and from them; and seconds of steps whose results were lost."""

    down: int
    up: int
    lost: float = 0.0


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
    aggregation, limits
        Whether workers combine among themselves, and how long they wait for each other.
    """

    hub: Hub
    workers: int
    evaluated: Any
    elsewhere: Callable[[WeightCollection, Any], dict[str, float]]
    ended: Callable[[], None] = lambda: None
    scattered: int = 0
    aggregation: Aggregation = "star"
    limits: Limits = field(default_factory=Limits)
    first_weights: FirstWeights = field(default_factory=FirstWeights)
    memory: KeptMemory = field(default_factory=KeptMemory)
    present: list[int] = field(default_factory=list)  # who took part in the last round
    counted: tuple[int, int] = (0, 0)  # strangers and ignored messages that no later round tells of
    own: dict[int, tuple[int, SolverState]] = field(
        default_factory=dict
    )  # worker -> its number, and the state that it has
    largest: int = 0  # bytes of the largest result of the last round, with all of its state
    waits_for_all: ClassVar[str] = ""

    def __post_init__(self) -> None:
        is_sliced = self.aggregation == "sliced"
        self.sliced = Sliced(self.hub, self.workers, self.limits.silence, self._checked) if is_sliced else None

    def close(self) -> None:
        """End the connections to workers that are not the hub's."""
        if self.sliced is not None:
            self.sliced.pulls.close()

    def train_into(
        self, ending: Ending, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]
    ) -> Collected[Facts]:
        """Run one round, all workers at the same time; their results go into ``ending`` slice by slice."""
        start = time.perf_counter()
        size = data_in_a_slice(weights.nbytes)
        schemas = [schema_of_state(asked_of(state, ending.names_of_state)) for state in states]
        asked = {task.worker: schemas[task.worker % len(states)] for task in tasks}
        results, lost = Results(ending, asked, size, self.memory), self.hub.lost_work
        moved = self._by_workers(ending, tasks, weights, states, results) or self._by_driver(
            ending, tasks, weights, states, results
        )
        served = self.hub.served if ending.wants_each_state else {}
        for worker, state in results.end().items():
            if (number := served.get(worker)) is not None:
                self.own[worker] = number, state
        present = [facts.worker for facts in results.facts]
        self.present, self.largest = present, results.largest
        end, lost = time.perf_counter(), self.hub.lost_work - lost + moved.lost
        if ending.quorum is not None:
            ending.quorum.sync = end - results.begun
        strangers = self.hub.strangers + (0 if self.sliced is None else self.sliced.strangers)
        counts = strangers, self.hub.ignored
        strangers, ignored = (now - before for now, before in zip(counts, self.counted, strict=True))
        self.counted = counts
        slowest = max(facts.seconds for facts in results.facts)
        training = results.begun - start if lost or len(present) < len(tasks) else slowest
        return Collected(
            results.facts,
            broadcast=0.0,
            collect=max(0.0, end - start - training),
            bytes_down=moved.down,
            bytes_up=moved.up,
            training=training,
            lost=lost,
            strangers=strangers,
            ignored=ignored,
        )

    def _by_driver(
        self,
        ending: Ending,
        tasks: Sequence[Task],
        weights: WeightCollection,
        states: Sequence[SolverState],
        results: Results,
    ) -> "_Moved":
        """Send the start to each worker, and combine what all of them send."""
        bodies = self._bodies(ending, tasks, weights, states, results.size)
        self._checked(self.hub.round(bodies, combine=results.take, begin=results.begin, **_early(ending)))
        return _Moved(sum(map(_size, bodies.values())), results.nbytes)

    def _by_workers(
        self,
        ending: Ending,
        tasks: Sequence[Task],
        weights: WeightCollection,
        states: Sequence[SolverState],
        results: Results,
    ) -> "_Moved | None":
        """Let workers hand on the start among themselves, and combine their results; None where the driver does it."""
        if self.sliced is None or self.sliced.is_off:
            return None
        if len(states) > 1 or ending.wants_each_state:
            self.sliced.say(_OWN_STATES)
            return None
        kept, zeros = without_zeros(states[0])
        start = packed_up({"zeros": zeros}, [dump_parts(weights), dump_parts(kept)])
        facts = {"names_of_state": ending.names_of_state, "slice": results.size, "keeps": False}
        asked = {task.worker: {"task": asdict(task), **facts} for task in tasks}
        round_ = SlicedRound(self.sliced, start, self.present or list(asked), asked, results)
        try:
            round_.run(**_early(ending))
        except UnreachableError as error:
            self.sliced.say(f"{error}; from now on all results come to the driver, as with aggregation='star'")
            self.sliced.is_off = True
            return None
        return _Moved(round_.nbytes, round_.pulled, round_.lost)

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
