"""LocalCluster: the workers one after the other in this process.

For trying things out, for tests and as the yardstick of the other clusters, which must give its bits.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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
    """Workers in this process, on data packed by :func:`sparknet.data.pack`; moves no bytes."""

    @contextmanager
    def session(self, factory: NetFactory, data: Dataset, workers: int) -> Iterator[Session]:
        """Open a session with one net that plays every worker in turn."""
        _check(data)
        yield _LocalSession(factory(seed=0), data, workers)

    def default_workers(self, data: Dataset) -> int:
        """Return 1: data in memory has no shards of its own."""
        del data
        return 1


@dataclass(frozen=True)
class _LocalSession:
    net: Net
    data: Dataset
    workers: int

    def train(
        self, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState | None]
    ) -> Collected:
        """Run the tasks one after the other."""
        outcomes = [
            train_round(
                self.net,
                self.data.shard(task.worker, self.workers),
                task,
                weights,
                states[task.worker % len(states)],
                self.data.preprocessor,
            )
            for task in tasks
        ]
        return Collected(outcomes, broadcast=0.0, collect=0.0, bytes_down=0, bytes_up=0)

    def evaluate(self, weights: WeightCollection, data: Dataset) -> dict[str, float]:
        """Return the means over ``data``."""
        _check(data)
        return mean_metrics(evaluate_shard(self.net, data.batches, weights, data.preprocessor))


def _check(data: object) -> None:
    if not isinstance(data, Dataset):
        msg = (
            f"LocalCluster: got data of type {type(data).__name__}; expected a Dataset of sparknet.data.pack(...) "
            "(data packed on Spark becomes one with .to_local())"
        )
        raise DataError(msg)
