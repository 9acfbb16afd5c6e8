"""SparkCluster: the workers are tasks of a Spark job, one for each shard.

A round is one job over the packed data. All that a task needs comes with it, so Spark may run it on any machine, and run it again.
The work of a task is in :mod:`.tasks`. How weights travel is up to a :class:`~sparknet.clusters.transport.Transport`.
"""

import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sparknet.clusters.spark.jobs.running import collected, pickled, release
from sparknet.clusters.spark.jobs.sessions import check_packed, running_context
from sparknet.clusters.spark.packed.dataset import PackedDataset
from sparknet.clusters.spark.packed.shard_tasks import shard_replies
from sparknet.clusters.spark.training.tasks import Trained, evaluate_partition, train_partition
from sparknet.clusters.spark.workers.net_cache import device_of, drop_nets, is_on_gpu
from sparknet.clusters.spark.workers.transport import SparkTransport
from sparknet.clusters.totals import mean_metrics
from sparknet.clusters.transport import Transport
from sparknet.data.preprocess import Preprocessor
from sparknet.errors import DataError
from sparknet.nets.base import NetFactory, SolverState
from sparknet.serialization import Codec, dumps, loads
from sparknet.training import Collected, Session
from sparknet.weights import WeightCollection
from sparknet.worker import Outcome, Task

__all__ = ["SparkCluster"]


class SparkCluster:
    """Workers on a Spark cluster.

    Parameters
    ----------
    spark
        A SparkSession or SparkContext. sparknet must be importable on its executors.
    """

    def __init__(self, spark: Any) -> None:
        self._context = running_context(spark, "SparkCluster")

    @contextmanager
    def session(
        self, factory: NetFactory, data: PackedDataset, workers: int, *, evaluate: PackedDataset | None = None
    ) -> Iterator[Session]:
        """Open a session on ``data``. If it has not ``workers`` shards, it is dealt out again for the session."""
        del evaluate  # a job of its own
        _check(data)
        running_context(self._context, "SparkCluster")
        factory = getattr(factory, "for_workers", lambda: factory)()  # it is sent in each round, as the weights are
        pickled("the factory", factory)
        # It is not persisted: its shards go from the shuffle straight into the files that workers read.
        dealt = data if data.shards == workers else data._dealt(workers)
        transport = SparkTransport(self._context)
        session = _SparkSession(transport, factory, dealt, uuid.uuid4().hex)
        try:
            session.check_preprocessor(data)
            yield session
        finally:
            transport.close()
            if dealt is not data:
                release(dealt)
            if is_on_gpu(device_of(factory)) and not isinstance(sys.exception(), KeyboardInterrupt):
                drop_nets(self._context)

    def default_workers(self, data: PackedDataset) -> int:
        """Return the number of shards."""
        _check(data)
        return data.shards


def _check(data: object) -> None:
    if not isinstance(data, PackedDataset):
        msg = f"SparkCluster: got data of type {type(data).__name__}; expected what sparknet.spark.pack(...) returns"
        raise DataError(msg)
    check_packed(data.rdd, "SparkCluster")


@dataclass(frozen=True)
class _SparkSession:
    transport: Transport
    factory: NetFactory
    data: PackedDataset
    run: str
    codecs: list[Codec] = field(default_factory=list)  # at most one; the first round makes it, the others use it
    checked: list[Preprocessor | None] = field(default_factory=list)  # those that can be sent to the executors

    def check_preprocessor(self, data: PackedDataset) -> None:
        """Raise a DataError unless the preprocessor can be sent to the executors. Each one is tried once in a session."""
        if not any(data.preprocessor is known for known in self.checked):
            pickled("the preprocessor", data.preprocessor)
            self.checked.append(data.preprocessor)

    def _codec(self, weights: WeightCollection) -> Codec:
        """Return the codec of the weights."""
        if not self.codecs:
            self.codecs.append(Codec(weights))
        return self.codecs[0]

    def train(
        self, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]
    ) -> Collected[Outcome]:
        """Run one round as one job."""
        check_packed(self.data.rdd, "SparkCluster")
        start = time.perf_counter()
        codec = self._codec(weights)
        # No codec for states: a solver may make its history at its first step, so their contents change and differ.
        messages = [codec.dumps(weights), *map(dumps, states)]
        with self.transport.send(messages) as parcel:
            sending = time.perf_counter() - start
            work = partial(
                train_partition,
                run=self.run,
                factory=self.factory,
                parcel=parcel,
                states=len(states),
                tasks=tasks,
                preprocessor=self.data.preprocessor,
            )
            replies: list[Trained] = shard_replies(self.data, work)
            answers = [self.transport.receive(reply.answer) for reply in replies]
        elapsed = time.perf_counter() - start - sending
        outcomes = [
            Outcome(weights=codec.loads(w, verify=True), state=loads(s, verify=True), **reply.facts)
            for (w, s), reply in zip(answers, replies, strict=True)
        ]
        opening = max(reply.opening for reply in replies)
        slowest = max(o.seconds for o in outcomes)
        return Collected(
            outcomes,
            broadcast=sending + opening,
            collect=max(0.0, elapsed - opening - slowest),
            bytes_down=len(tasks) * sum(map(len, messages)),
            bytes_up=sum(len(message) for answer in answers for message in answer),
        )

    def evaluate(self, weights: WeightCollection, data: PackedDataset) -> dict[str, float]:
        """Return the means over ``data``, computed on the executors that have its minibatches."""
        _check(data)
        self.check_preprocessor(data)
        with self.transport.send([self._codec(weights).dumps(weights)]) as parcel:
            work = partial(
                evaluate_partition,
                run=self.run,
                factory=self.factory,
                parcel=parcel,
                preprocessor=data.preprocessor,
                even=data.even,
            )
            return mean_metrics(collected(data.rdd.mapPartitionsWithIndex(work)))
