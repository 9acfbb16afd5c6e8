"""SparkCluster: the workers are tasks of a Spark job, one for each shard.

Where each worker has a task slot and reaches the driver, the workers stay for the whole training: :mod:`.staying` has that session.
Elsewhere a round is one job over the packed data. All that a task needs comes with it, so Spark may run it on any machine, and run it again.
The work of such a task is in :mod:`.tasks`. How its weights travel is up to a :class:`~sparknet.clusters.transport.Transport`.
"""

import logging
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from sparknet.clusters.direct.alike import FirstWeights, about
from sparknet.clusters.direct.sliced import Aggregation, check_aggregation
from sparknet.clusters.spark.jobs.encryption import spark_encrypts
from sparknet.clusters.spark.jobs.running import collected, pickled, release
from sparknet.clusters.spark.jobs.sessions import check_packed, running_context
from sparknet.clusters.spark.packed.dataset import PackedDataset
from sparknet.clusters.spark.packed.shard_tasks import shard_replies
from sparknet.clusters.spark.training.addresses import is_local, unused_host
from sparknet.clusters.spark.training.memory import advice_before
from sparknet.clusters.spark.training.plan import SessionPlan
from sparknet.clusters.spark.training.staying import Staying
from sparknet.clusters.spark.training.tasks import Trained, evaluate_partition, train_partition
from sparknet.clusters.spark.workers.net_cache import device_of, drop_nets, is_on_gpu
from sparknet.clusters.spark.workers.transport import SparkTransport
from sparknet.clusters.totals import mean_metrics
from sparknet.clusters.transport import Transport
from sparknet.data.preprocess import Preprocessor
from sparknet.errors import ClusterError, DataError
from sparknet.nets.base import NetFactory, SolverState
from sparknet.serialization import Codec, dumps, loads
from sparknet.training import Collected, Session, SliceSession
from sparknet.weights import WeightCollection
from sparknet.worker import Outcome, Task

__all__ = ["SparkCluster"]

_LOG = logging.getLogger(__name__)

_HALF_ENCRYPTED = (
    "SparkCluster: encrypt=True encrypts the connections of workers that stay, and Spark is not set to encrypt what it sends itself: the "
    "secret of these connections, and the weights where a round or an evaluation is a job of its own. Set spark.authenticate and "
    "spark.network.crypto.enabled to true when Spark is started"
)
Way: TypeAlias = Literal["auto", "direct", "spark"]


class SparkCluster:
    """Workers on a Spark cluster.

    Parameters
    ----------
    spark
        A SparkSession or SparkContext. sparknet must be importable on its executors.
    transport
        How weights come to the workers. ``"direct"``: the workers are tasks of one job, for the whole training, and connect to the
        driver; so each needs a task slot, and they have to reach a port of the driver. ``"spark"``: each round is a job of its own, with
        Spark's broadcast and results; that takes longer, and needs no more than Spark. ``"auto"``: direct where it is possible, and else
        a warning in the log says why not. The bits are the same.
    encrypt
        Whether direct connections are encrypted, by TLS 1.3. None: where Spark encrypts its own. Needs the extra ``tls`` on the driver.
        Where a round is a job, Spark alone can encrypt it: a warning says where True was given and Spark does not.
    address
        Where the workers reach the driver: ``"host"`` or ``"host:port"``; an IPv6 address with a port is in brackets. Default: where
        Spark's executors do (``spark.driver.host``, ``spark.driver.bindAddress``), on any free port. On a local master they use
        127.0.0.1, and only the port counts.
    aggregation
        Who combines the results of workers that stay. ``"star"``: the driver, to which all of them go. ``"sliced"``: each worker a part;
        the driver's link then carries two models a round however many workers there are. Workers have to reach a port of each other, and
        the driver one of theirs; where they do not, a warning says so, and the driver combines. The bits are the same.

    Raises
    ------
    ClusterError
        ``spark`` is no session that runs. When a training begins: ``transport="direct"`` is not possible.
    DataError
        There is no such transport or aggregation, or ``address`` is none.
    """

    def __init__(
        self,
        spark: Any,
        *,
        transport: Way = "auto",
        encrypt: bool | None = None,
        address: str | None = None,
        aggregation: Aggregation = "star",
    ) -> None:
        if transport not in get_args(Way):
            msg = f"SparkCluster: transport={transport!r}; expected 'auto', 'direct' or 'spark'"
            raise DataError(msg)
        check_aggregation("SparkCluster", aggregation)
        if transport == "spark" and aggregation != "star":
            msg = (
                f"SparkCluster: aggregation={aggregation!r} with transport='spark': a round that is a job has no workers that stay; "
                "leave out one of both"
            )
            raise DataError(msg)
        self._aggregation = aggregation
        self._context = running_context(spark, "SparkCluster")
        if address is not None and (host := unused_host(self._context, address)):
            _LOG.warning(
                "SparkCluster: address=%r: the host %s is not used, because the workers on %s are on this machine",
                *(address, host, self._context.master),
            )
        self._transport, self._address = transport, address
        spark_does = spark_encrypts(self._context._conf)
        self._encrypt = spark_does if encrypt is None else encrypt
        if self._encrypt and not spark_does and not is_local(self._context):
            _LOG.warning("%s", _HALF_ENCRYPTED)

    @contextmanager
    def session(
        self, factory: NetFactory, data: PackedDataset, workers: int, *, evaluate: PackedDataset | None = None
    ) -> Iterator[Session | SliceSession]:
        """Open a session on ``data``. If it has not ``workers`` shards, it is dealt out again for the session."""
        _check(data)
        running_context(self._context, "SparkCluster")
        factory = getattr(factory, "for_workers", lambda: factory)()  # it is sent in each round, as the weights are
        pickled("the factory", factory)
        # It is not persisted: its shards go from the shuffle straight into the files that workers read.
        dealt = data if data.shards == workers else data._dealt(workers)
        transport = SparkTransport(self._context)
        per_round = _SparkSession(transport, factory, dealt, uuid.uuid4().hex)
        try:
            per_round.check_preprocessor(data)
            with self._opened(per_round, data, workers, evaluate) as session:
                yield session
        finally:
            transport.close()
            if dealt is not data:
                release(dealt)
            if is_on_gpu(device_of(factory)) and not isinstance(sys.exception(), KeyboardInterrupt):
                drop_nets(self._context)

    @contextmanager
    def _opened(
        self, per_round: "_SparkSession", data: PackedDataset, workers: int, evaluate: PackedDataset | None
    ) -> Iterator[Session | SliceSession]:
        if self._transport == "spark":
            yield per_round
            return
        if evaluate is not None:
            _check(evaluate)
            per_round.check_preprocessor(evaluate)
        if per_round.data is not data:
            per_round.data.first_batch()  # deals all of it out: workers whose shards take long to come are not to wait for each other
        files = [] if evaluate is None else collected(evaluate._files)
        plan = SessionPlan(
            self._context,
            per_round.factory,
            workers,
            per_round.data,
            evaluate,
            files,
            self._address,
            self._encrypt,
            self._aggregation,
        )
        staying = Staying(plan, per_round, may_change=self._transport == "auto")
        try:  # from here on: an interrupt may come while the workers start
            obstacle = staying.open()
            if obstacle and self._transport == "direct":
                msg = f"SparkCluster: transport='direct' is not possible: {obstacle}; transport='spark' is"
                raise ClusterError(msg)
            if obstacle:
                _LOG.warning("each round is a job of its own, which takes longer than transport='direct': %s", obstacle)
            yield per_round if obstacle else staying
        finally:
            error = sys.exception()
            staying.close("" if error is None else f"the driver ended: {type(error).__name__}")

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
    first_weights: FirstWeights = field(default_factory=FirstWeights)
    waits_for_all: ClassVar[str] = (
        "each round is a Spark job, which ends with its last task; transport='direct' can end it without late workers"
    )

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
        start, is_first = time.perf_counter(), not self.codecs
        codec = self._codec(weights)
        # No codec for states: a solver may make its history at its first step, so their contents change and differ.
        messages = [codec.dumps(weights), *map(dumps, states)]
        if is_first:
            sent, state = sum(map(len, messages)), max(map(len, messages[1:]))
            for line in advice_before(self.data.rdd.context, len(tasks), sent, len(messages[0]), state):
                _LOG.warning("%s", line)
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
                about=about(),
            )
            replies: list[Trained] = shard_replies(self.data, work)
            for worker, reply in enumerate(replies):
                self.first_weights.check(worker, reply.made)
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
                about=about(),
            )
            return mean_metrics(collected(data.rdd.mapPartitionsWithIndex(work)))
