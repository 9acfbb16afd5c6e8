"""SparkCluster: the workers are tasks of a Spark job, one for each shard.

A round is one job over the packed data: the weights go out as a broadcast, the results come back as
messages. Everything that matters travels in the task, so Spark may run it anywhere, and again.
"""

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sparknet.clusters.spark.jobs import collected
from sparknet.clusters.spark.packing import PackedDataset
from sparknet.clusters.totals import mean_metrics
from sparknet.data.preprocess import Preprocessor
from sparknet.errors import ClusterError, DataError, SparknetError
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net, NetFactory, SolverState
from sparknet.serialization import Codec, dumps, loads
from sparknet.training import Collected, Session
from sparknet.weights import WeightCollection
from sparknet.worker import Outcome, Task, evaluate_shard, train_round

__all__ = ["SparkCluster"]


class SparkCluster:
    """Workers on a Spark cluster.

    Parameters
    ----------
    spark
        A SparkSession or SparkContext. sparknet must be importable on its executors.
    """

    def __init__(self, spark: Any) -> None:
        self._context = getattr(spark, "sparkContext", spark)
        if not hasattr(self._context, "broadcast"):
            msg = (
                f"SparkCluster: got {type(spark).__name__}, expected a SparkSession or SparkContext "
                "(a Spark Connect session has no executors that run our tasks)"
            )
            raise ClusterError(msg)

    @contextmanager
    def session(self, factory: NetFactory, data: PackedDataset, workers: int) -> Iterator[Session]:
        """Open a session on ``data``, resharded first if it has not ``workers`` shards."""
        _check(data)
        resharded = data if data.shards == workers else data.reshard(workers)
        try:
            yield _SparkSession(self._context, factory, resharded, uuid.uuid4().hex)
        finally:
            if resharded is not data:
                resharded.unpersist()

    def default_workers(self, data: PackedDataset) -> int:
        """Return the number of shards."""
        _check(data)
        return data.shards


def _check(data: object) -> None:
    if not isinstance(data, PackedDataset):
        msg = f"SparkCluster: got data of type {type(data).__name__}; expected what sparknet.spark.pack(...) returns"
        raise DataError(msg)


@dataclass(frozen=True)
class _SparkSession:
    context: Any
    factory: NetFactory
    data: PackedDataset
    run: str
    codecs: dict[str, Codec] = field(default_factory=dict)  # made in the first round, used in every other

    def _codec(self, role: str, example: WeightCollection | SolverState) -> Codec:
        """Return the codec of the weights, or of the solver states."""
        if role not in self.codecs:
            self.codecs[role] = Codec(example)
        return self.codecs[role]

    def train(
        self, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState | None]
    ) -> Collected:
        """Run one round as one job."""
        start = time.perf_counter()
        codec = self._codec("weights", weights)
        payload = [
            codec.dumps(weights),
            *(None if state is None else self._codec("state", state).dumps(state) for state in states),
        ]
        with self._broadcast(payload) as sent:
            prepared = time.perf_counter() - start
            work = partial(
                _train_partition,
                run=self.run,
                factory=self.factory,
                sent=sent,
                tasks=tasks,
                preprocessor=self.data.preprocessor,
            )
            replies = collected(self.data.rdd.mapPartitionsWithIndex(work))
        elapsed = time.perf_counter() - start - prepared
        outcomes = [
            Outcome(weights=codec.loads(w, verify=True), state=loads(s, verify=True), **facts)
            for w, s, facts, _ in replies
        ]
        fetched = max(seconds for *_, seconds in replies)
        slowest = max(o.seconds for o in outcomes)
        return Collected(
            outcomes,
            broadcast=prepared + fetched,
            collect=max(0.0, elapsed - fetched - slowest),
            bytes_down=len(tasks) * sum(len(part) for part in payload if part is not None),
            bytes_up=sum(len(w) + len(s) for w, s, *_ in replies),
        )

    def evaluate(self, weights: WeightCollection, data: PackedDataset) -> dict[str, float]:
        """Return the means over ``data``, computed where its minibatches are."""
        _check(data)
        with self._broadcast([self._codec("weights", weights).dumps(weights)]) as sent:
            work = partial(
                _evaluate_partition,
                run=self.run,
                factory=self.factory,
                sent=sent,
                preprocessor=data.preprocessor,
            )
            return mean_metrics(collected(data.rdd.mapPartitions(work)))

    @contextmanager
    def _broadcast(self, value: Any) -> Iterator[Any]:
        """Broadcast for the length of the block; destroyed afterwards on driver and executors."""
        sent = self.context.broadcast(value)
        try:
            yield sent
        except BaseException:
            with suppress(Exception):  # if Spark is gone, what it died of is what matters
                sent.destroy()
            raise
        sent.destroy()


# ---- in the Python workers
_NETS: dict[str, Net] = {}  # run -> net; a cache, never the truth: idle workers die and tasks move


def _net_of(run: str, factory: NetFactory) -> Net:
    if run not in _NETS:
        _NETS.clear()  # one run at a time: an earlier run's net is only memory
        _NETS[run] = factory(seed=0)
    return _NETS[run]


class _Messages:
    """The minibatches that a task needs, decoded when they are used."""

    def __init__(self, partition: Iterable[tuple[int, bytes]], needed: set[int]) -> None:
        # To the end, even if all is found: Spark kills a Python worker that leaves its input unread.
        self._messages = {i: message for i, (_, message) in enumerate(partition) if i in needed}

    def __getitem__(self, index: int) -> Mapping[str, NDArray]:
        """Return the minibatch; its arrays are read-only views of the message."""
        return loads(self._messages[index])  # type: ignore[no-any-return]


def _train_partition(
    index: int,
    partition: Iterable[tuple[int, bytes]],
    *,
    run: str,
    factory: NetFactory,
    sent: Any,
    tasks: Sequence[Task],
    preprocessor: Preprocessor | None,
) -> Iterator[Any]:
    task = tasks[index]
    shard = _Messages(partition, task.needed())
    start = time.perf_counter()
    weights, *states = (part and loads(part, verify=True) for part in sent.value)
    fetched = time.perf_counter() - start
    try:
        net = _net_of(run, factory)
        outcome = train_round(net, shard, task, weights, states[index % len(states)], preprocessor)
    except SparknetError as error:  # as a value: an exception would be tried again, in vain
        yield error
        return
    facts = {name: getattr(outcome, name) for name in ("worker", "loss", "steps", "examples", "seconds")}
    yield dumps(outcome.weights), dumps(outcome.state), facts, fetched


def _evaluate_partition(
    partition: Iterable[tuple[int, bytes]],
    *,
    run: str,
    factory: NetFactory,
    sent: Any,
    preprocessor: Preprocessor | None,
) -> Iterator[Any]:
    batches = (loads(message) for _, message in partition)
    try:
        yield from evaluate_shard(_net_of(run, factory), batches, loads(sent.value[0], verify=True), preprocessor)
    except SparknetError as error:
        yield error
