"""The driver's end of a session whose workers are connected to a hub."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sparknet.clusters.direct.alike import FirstWeights
from sparknet.clusters.direct.bodies import packed_up
from sparknet.clusters.direct.payload import asked_of, schema_of_state
from sparknet.clusters.direct.results import Memory, Results
from sparknet.clusters.totals import mean_metrics
from sparknet.nets.base import SolverState
from sparknet.serialization import dump_parts
from sparknet.training import Collected, Ending
from sparknet.transport import Done, Hub
from sparknet.weights import WeightCollection
from sparknet.worker import Facts, Task

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
    memory: Memory = field(default_factory=Memory)

    def train_into(
        self, ending: Ending, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]
    ) -> Collected[Facts]:
        """Run one round, all workers at the same time; their results go into ``ending`` slice by slice."""
        start = time.perf_counter()
        names = ending.names_of_state
        message, state_messages = dump_parts(weights), [dump_parts(state) for state in states]
        bodies = {
            task.worker: packed_up(
                {"task": asdict(task), "names_of_state": names}, [message, state_messages[task.worker % len(states)]]
            )
            for task in tasks
        }
        schemas = [schema_of_state(asked_of(state, names)) for state in states]
        asked = {task.worker: schemas[task.worker % len(states)] for task in tasks}
        results = Results(ending, asked, self.memory)
        self._checked(self.hub.round(bodies, combine=results.take, begin=results.begin))
        results.end()
        elapsed = time.perf_counter() - start
        slowest = max(facts.seconds for facts in results.facts)
        return Collected(
            results.facts,
            broadcast=0.0,
            collect=max(0.0, elapsed - slowest),
            bytes_down=sum(memoryview(part).nbytes for body in bodies.values() for part in body),
            bytes_up=results.nbytes,
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
