"""The driver's end of a session whose workers are connected to a hub."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sparknet.clusters.direct.alike import FirstWeights
from sparknet.clusters.direct.bodies import SLICE, packed_up, unpacked
from sparknet.clusters.totals import mean_metrics
from sparknet.nets.base import SolverState
from sparknet.serialization import dump_parts, loads
from sparknet.training import Collected
from sparknet.transport import Done, Hub
from sparknet.weights import WeightCollection
from sparknet.worker import Outcome, Task

__all__ = ["DirectSession"]


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
        The data set whose parts the workers have beside their shards; None: they have none.
    elsewhere
        Returns the mean metrics of weights over any other data set.
    ended
        Called after each round.
    """

    hub: Hub
    workers: int
    evaluated: Any
    elsewhere: Callable[[WeightCollection, Any], dict[str, float]]
    ended: Callable[[], None] = lambda: None
    first_weights: FirstWeights = field(default_factory=FirstWeights)

    def train(self, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]) -> Collected:
        """Run one round, all workers at the same time."""
        start = time.perf_counter()
        message, state_messages = dump_parts(weights), [dump_parts(state) for state in states]
        bodies = {
            task.worker: packed_up({"task": asdict(task)}, [message, state_messages[task.worker % len(states)]])
            for task in tasks
        }
        results: dict[int, bytearray] = {}

        def begin(done: Mapping[int, Done]) -> None:
            results.clear()
            for shard, said in done.items():
                results[shard] = bytearray(json.loads(said.result)["bytes"])

        def combine(number: int, slices: tuple[memoryview, ...]) -> None:
            for buffer, part in zip(results.values(), slices, strict=True):
                buffer[number * SLICE : number * SLICE + len(part)] = part

        done = self._checked(self.hub.round(bodies, combine=combine, begin=begin))
        elapsed = time.perf_counter() - start
        outcomes = [self._outcome(shard, memoryview(buffer), done[shard]) for shard, buffer in sorted(results.items())]
        sent = sum(memoryview(part).nbytes for body in bodies.values() for part in body)
        slowest = max(o.seconds for o in outcomes)
        return Collected(
            outcomes,
            broadcast=0.0,
            collect=max(0.0, elapsed - slowest),
            bytes_down=sent,
            bytes_up=sum(map(len, results.values())),
        )

    def evaluate(self, weights: WeightCollection, data: Any) -> dict[str, float]:
        """Return the means over ``data``. The workers compute them at the same time, if they have its parts."""
        if self.evaluated is None or data is not self.evaluated:
            return self.elsewhere(weights, data)
        body = packed_up({}, [dump_parts(weights)])
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731 - there are no slices
        done = self._checked(self.hub.round(dict.fromkeys(range(self.workers), body), combine=nothing))
        return mean_metrics(part for shard in sorted(done) for part in json.loads(done[shard].result)["metrics"])

    def _checked(self, done: Mapping[int, Done]) -> Mapping[int, Done]:
        """Take that a round has ended: the factory must have made the same net in all workers."""
        self.ended()
        for shard, said in sorted(done.items()):
            if told := json.loads(said.notes).get("made"):
                self.first_weights.check(shard, told)
        return done

    def _outcome(self, shard: int, body: memoryview, done: Done) -> Outcome:
        facts, (weights, state) = unpacked(body)
        seconds = json.loads(done.notes)["seconds"]
        return Outcome(shard, loads(weights), loads(state), **facts, seconds=seconds)
