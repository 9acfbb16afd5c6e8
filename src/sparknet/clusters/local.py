"""LocalCluster: the workers one after the other in this process.

For trying things out, for tests and as the yardstick of the other clusters, which must give its bits.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sparknet.backends import release_memory
from sparknet.clusters.totals import mean_metrics
from sparknet.data.dataset import Dataset
from sparknet.errors import DataError
from sparknet.nets.base import Net, NetFactory, SolverState
from sparknet.training import Collected, Session
from sparknet.weights import WeightCollection
from sparknet.worker import Task, evaluate_shard, train_round

__all__ = ["LocalCluster"]


@dataclass(frozen=True)
class LocalCluster:
    """Workers in this process, on data packed by :func:`sparknet.data.pack`; moves no bytes.

    Data packed on Spark is collected into this process first.
    """

    @contextmanager
    def session(self, factory: NetFactory, data: Any, workers: int) -> Iterator[Session]:
        """Open a session with one net that plays every worker in turn."""
        nets = [factory(seed=0)]
        try:
            yield _LocalSession(nets, _in_memory(data), workers)
        finally:
            nets.clear()  # before its memory is given back
            release_memory()

    def default_workers(self, data: Any) -> int:
        """Return the number of shards of data packed on Spark; data in memory has none of its own: 1."""
        return int(getattr(data, "shards", 1))


@dataclass(frozen=True)
class _LocalSession:
    nets: list[Net]  # one; none when the session has ended
    data: Dataset
    workers: int

    def train(self, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]) -> Collected:
        """Run the tasks one after the other."""
        outcomes = [
            train_round(
                self.nets[0],
                self.data.shard(task.worker, self.workers),
                task,
                weights,
                states[task.worker % len(states)],
                self.data.preprocessor,
            )
            for task in tasks
        ]
        return Collected(outcomes, broadcast=0.0, collect=0.0, bytes_down=0, bytes_up=0)

    def evaluate(self, weights: WeightCollection, data: Any) -> dict[str, float]:
        """Return the means over ``data``."""
        data = _in_memory(data)
        return mean_metrics(evaluate_shard(self.nets[0], data.batches, weights, data.preprocessor, data.even))


def _in_memory(data: Any) -> Dataset:
    if isinstance(data, Dataset):
        return data
    to_local = getattr(data, "to_local", None)
    if to_local is None:
        msg = f"LocalCluster: got data of type {type(data).__name__}; expected what sparknet.data.pack(...) returns"
        raise DataError(msg)
    return to_local()  # type: ignore[no-any-return]
