"""The driver's end of a session whose workers are connected to a hub."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from sparknet.clusters.direct.bodies import SLICE, packed_up, unpacked
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
    evaluate
        Returns the mean metrics of weights over a data set.
    ended
        Called after each round.
    """

    hub: Hub
    evaluate: Callable[..., dict[str, float]]
    ended: Callable[[], None] = lambda: None

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

        done = self.hub.round(bodies, combine=combine, begin=begin)
        self.ended()
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

    def _outcome(self, shard: int, body: memoryview, done: Done) -> Outcome:
        facts, (weights, state) = unpacked(body)
        seconds = json.loads(done.notes)["seconds"]
        return Outcome(shard, loads(weights), loads(state), **facts, seconds=seconds)
