"""LocalCluster: workers on this machine, without Spark: one after the other in this process, or at the same time in child processes.

All clusters give the same bits; those of this process are what the tests compare the others with.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from sparknet.backends import release_memory
from sparknet.clusters.direct.sliced import Aggregation, check_aggregation
from sparknet.clusters.totals import mean_metrics
from sparknet.data.dataset import Dataset
from sparknet.errors import ClusterError, DataError
from sparknet.nets.base import Net, NetFactory, SolverState
from sparknet.training import Collected, Session, SliceSession
from sparknet.weights import WeightCollection
from sparknet.worker import Outcome, Task, evaluate_shard, train_round

__all__ = ["LocalCluster"]


@dataclass(frozen=True)
class LocalCluster:
    """Workers in this process or in child processes, on data packed by :func:`sparknet.data.pack`.

    Data packed on Spark is collected into this process first.

    Parameters
    ----------
    processes
        None: the workers take their turns in this process, and no bytes are moved. A number: each worker is a child process, at
        most so many, and all work at the same time. They are forked from this one, so data and factory need not be sent; what
        has used CUDA before cannot be forked. A child that dies is started again, and the round has the same bits.
    aggregation
        Who combines the results of processes: ``"star"``, this process; ``"sliced"``, each of them a part. The bits are the same. Between
        processes of one machine ``"sliced"`` gains nothing: it is for trying out what :class:`~sparknet.SparkCluster` does with it.

    Examples
    --------
    >>> LocalCluster(processes=2)
    LocalCluster(processes=2, aggregation='star')
    """

    processes: int | None = None
    aggregation: Aggregation = "star"

    def __post_init__(self) -> None:
        check_aggregation("LocalCluster", self.aggregation)
        count = self.processes
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            msg = f"LocalCluster: processes={count!r}; expected a number of at least 1, or None for this process alone"
            raise DataError(msg)
        if count is None and self.aggregation != "star":
            msg = f"LocalCluster: aggregation={self.aggregation!r} without processes; in one process nothing is sent: give processes=N"
            raise DataError(msg)

    @contextmanager
    def session(
        self, factory: NetFactory, data: Any, workers: int, *, evaluate: Any = None
    ) -> Iterator[Session | SliceSession]:
        """Open a session. Without ``processes`` one net does the work of all workers in turn; with them it evaluates too."""
        if self.processes is not None and workers > self.processes:
            msg = (
                f"LocalCluster: workers={workers} and processes={self.processes}; each worker is a process here: "
                f"give processes={workers}, or workers={self.processes}"
            )
            raise DataError(msg)
        if self.processes is not None and not hasattr(os, "fork"):
            msg = "LocalCluster: this system cannot fork processes; leave out processes"
            raise ClusterError(msg)
        nets: list[Net] = []
        local = _LocalSession(factory, nets, _in_memory(data), workers)
        with ExitStack() as opened:
            opened.callback(release_memory)
            opened.callback(nets.clear)  # before its memory is given back
            session: Session | SliceSession = local
            if self.processes is not None:
                from sparknet.clusters.processes import process_session

                session = opened.enter_context(
                    process_session(factory, local.data, workers, evaluate, local.evaluate, self.aggregation)
                )
            yield session

    def default_workers(self, data: Any) -> int:
        """Return the number of shards of data packed on Spark; data in memory has none: the number of processes, or 1."""
        return int(getattr(data, "shards", self.processes or 1))


@dataclass(frozen=True)
class _LocalSession:
    factory: NetFactory
    nets: list[Net]  # one at most, made when it is needed; none when the session has ended
    data: Dataset
    workers: int
    waits_for_all: ClassVar[str] = (
        "the workers take turns in this process, so none is late; with LocalCluster(processes=N) they may be"
    )

    @property
    def net(self) -> Net:
        """The net. With child processes it is made after them: a device that is in use here could not be used in the children."""
        if not self.nets:
            self.nets.append(self.factory(seed=0))
        return self.nets[0]

    def train(
        self, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]
    ) -> Collected[Outcome]:
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
        return Collected(outcomes, broadcast=0.0, collect=0.0, bytes_down=0, bytes_up=0, in_turns=True)

    def evaluate(self, weights: WeightCollection, data: Any) -> dict[str, float]:
        """Return the means over ``data``."""
        data = _in_memory(data)
        return mean_metrics(evaluate_shard(self.net, data.batches, weights, data.preprocessor, data.even))


def _in_memory(data: Any) -> Dataset:
    if isinstance(data, Dataset):
        return data
    to_local = getattr(data, "to_local", None)
    if to_local is None:
        msg = f"LocalCluster: got data of type {type(data).__name__}; expected what sparknet.data.pack(...) returns"
        raise DataError(msg)
    return to_local()  # type: ignore[no-any-return]
