"""A session whose workers stay: they are tasks of one long job, connected to a hub on the driver.

The workers hold the task slots of Spark. So another job of the caller's would wait for them for ever: it is looked for, and the
workers let go of their slots between two rounds. What happens then is up to the caller of :class:`Staying`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from sparknet.clusters.direct.alike import FirstWeights, about
from sparknet.clusters.direct.bodies import SLICE
from sparknet.clusters.direct.session import DirectSession
from sparknet.clusters.direct.told import raised
from sparknet.clusters.spark.jobs.connections import asked
from sparknet.clusters.spark.jobs.error_values import with_fix
from sparknet.clusters.spark.jobs.labels import phase_now, run_tag
from sparknet.clusters.spark.jobs.sessions import check_packed
from sparknet.clusters.spark.packed.dataset import PackedDataset
from sparknet.clusters.spark.packed.shard_files import ShardFile
from sparknet.clusters.spark.training.long_job import LongJob
from sparknet.clusters.spark.training.reaching import address_of, is_local, too_few_cores, unreachable, waiting_stages
from sparknet.clusters.spark.training.serving import ATTEMPT, Server
from sparknet.errors import ClusterError, MissingDependency
from sparknet.nets.base import NetFactory, SolverState
from sparknet.training import Collected, Ending, Session, SliceSession
from sparknet.training.run import trained
from sparknet.transport import Hello, Hub, Limits, new_secret
from sparknet.transport.faults import JOB_FAILED, MAKES_ROOM
from sparknet.weights import WeightCollection
from sparknet.worker import Facts, Task

__all__ = ["SessionPlan", "Staying"]

_LOG = logging.getLogger(__name__)
_LOOK = 1.0  # seconds between two looks at the jobs that wait
_CHANGES = (
    "another job waits for the task slots that the workers of this training hold: from now on each round is a job of its own, which "
    "takes longer. Give Spark more slots than there are workers, or say transport='spark'"
)
_STARTS_AGAIN = (
    "another job waits for the task slots that the workers of this training hold: they end, and start again for the next round, which "
    "takes seconds. Give Spark more slots than there are workers, or say transport='spark'"
)
_JOBS = 20  # times what a job that does nothing took: a worker that has not come by then does not come
_DROPS = 3  # of the worker of one shard, in a row, without a round that ended


@dataclass(frozen=True)
class SessionPlan:
    """What a session of workers that stay is opened with.

    Parameters
    ----------
    context
        The SparkContext.
    factory, workers
        Of the training.
    dealt
        The training data, with a shard for each worker.
    evaluated, files
        The evaluation data, if it is known, and the files of its shards.
    address, encrypt
        As for :class:`SparkCluster`.
    """

    context: Any
    factory: NetFactory
    workers: int
    dealt: PackedDataset
    evaluated: PackedDataset | None
    files: Sequence[ShardFile]
    address: str | None
    encrypt: bool

    @cached_property
    def limits(self) -> Limits:
        """How long the two sides wait. A step may keep all threads of a worker waiting, so silence is long; the hub learns how long it is.

        On a local master Spark tries no task again, so the job is submitted again instead. The JVM is asked once: Ctrl-C while it is asked
        may end in an error of py4j.
        """
        tries_tasks = int(self.context._conf.get("spark.task.maxFailures", "4")) > 1 and not is_local(self.context)
        return Limits(silence=60.0, tries=2 if tries_tasks else 4)


class Staying:
    """A session of workers that stay. As a context manager it ends them.

    Parameters
    ----------
    plan
        What it is opened with.
    per_round
        Does what the workers cannot, by jobs of its own.
    may_change
        Whether ``per_round`` does all other rounds too, once another job has waited for the slots of the workers. Else they start again.
    """

    waits_for_all: ClassVar[str] = ""  # a session that it asks says so for itself

    def __init__(self, plan: SessionPlan, per_round: Session, *, may_change: bool) -> None:
        self._plan, self._per_round, self._may_change = plan, per_round, may_change
        self._workers: _Workers | None = None
        self._first_weights, self._took = FirstWeights(), dict[str, float]()
        self._busy = threading.Lock()  # held in a round, and while workers start or end
        self._has_changed = self._is_starved = self._is_told = False
        self._ended = threading.Event()

    def open(self) -> str:
        """Start the workers, and return ""; or else what is in the way of it."""
        with self._busy:
            if obstacle := self._start():
                return obstacle
        threading.Thread(target=self._watch, name="watches for jobs that wait", daemon=True).start()
        return ""

    def train_into(
        self, ending: Ending, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]
    ) -> Collected[Facts]:
        """Run one round, all workers at the same time."""
        with self._busy:
            with self._telling():
                collected = trained(self._session(), ending, tasks, weights, states)
            self._let_go_if_starved()
            return collected

    def evaluate(self, weights: WeightCollection, data: Any) -> dict[str, float]:
        """Return the means over ``data``."""
        with self._busy:
            with self._telling():
                metrics = self._session().evaluate(weights, data)
            self._let_go_if_starved()
            return metrics

    def close(self, reason: str = "") -> None:
        """End the workers."""
        self._ended.set()
        with self._busy:
            self._let_go(reason)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say of an error that Spark was stopped meanwhile, if it was: that is what it comes from."""
        try:
            yield
        except ClusterError:
            check_packed(self._plan.dealt.rdd, "SparkCluster")
            raise

    def _session(self) -> Session | SliceSession:
        if self._has_changed:
            return self._per_round
        until = time.monotonic() + self._plan.limits.join
        while self._workers is None and (obstacle := self._start()):
            if time.monotonic() > until:
                msg = f"SparkCluster: the workers of this session cannot start again: {obstacle}"
                raise ClusterError(msg)
        assert self._workers is not None
        return self._workers.session

    def _start(self) -> str:
        plan = self._plan
        if obstacle := too_few_cores(plan.context, plan.workers):
            return obstacle
        try:
            workers = _Workers(plan, self._first_weights, self._took, self._elsewhere)
        except MissingDependency as error:  # of encryption
            return str(error)
        if obstacle := workers.start():
            return obstacle
        self._workers = workers
        return ""

    def _elsewhere(self, weights: WeightCollection, data: Any) -> dict[str, float]:
        """Evaluate what the workers do not have, in a job of its own. Without a free slot it needs those of the workers."""
        if too_few_cores(self._plan.context, 1):
            self._let_go()
        return self._per_round.evaluate(weights, data)

    def _let_go(self, reason: str = "") -> None:
        workers, self._workers, self._is_starved = self._workers, None, False
        if workers is not None:
            workers.close(reason)

    def _let_go_if_starved(self) -> None:
        if not self._is_starved:
            return
        self._let_go("another job needs the task slots")
        self._has_changed = self._may_change
        if not self._is_told:
            self._is_told = True
            _LOG.warning("%s", _CHANGES if self._may_change else _STARTS_AGAIN)

    # ---- in a thread of its own
    def _watch(self) -> None:
        before = set[int]()
        while not self._ended.wait(_LOOK) and not self._has_changed:
            with suppress(Exception):  # Spark may be gone; a round tells that
                waiting = self._waiting()
                self._is_starved = self._is_starved or bool(waiting & before)
                before = waiting
            if self._is_starved and self._busy.acquire(blocking=False):  # else at the end of the round
                try:
                    self._let_go_if_starved()
                finally:
                    self._busy.release()

    def _waiting(self) -> set[int]:
        workers = self._workers
        return set() if workers is None else asked(lambda: waiting_stages(self._plan.context, workers.job.stages()))


def _labels(workers: int) -> tuple[str, list[str]]:
    """Return what Spark's own pages say of the job, and its tags."""
    phase = phase_now()
    if phase is None:  # a session that no run has opened
        return f"sparknet: {workers} workers, for a whole training", []
    return f"sparknet run {phase.run}: {workers} workers, for all rounds", [run_tag(phase.run), "sparknet-workers"]


class _Workers:
    """A hub, and the job whose tasks are connected to it."""

    def __init__(
        self,
        plan: SessionPlan,
        first_weights: FirstWeights,
        took: dict[str, float],
        elsewhere: Callable[..., dict[str, float]],
    ) -> None:
        bound, host, port = address_of(plan.context, plan.address)
        self._plan, self._drops = plan, dict[int, int]()
        try:
            self.hub = Hub(
                plan.workers,
                secret=new_secret(),
                encrypt=plan.encrypt,
                limits=plan.limits,
                address=bound,
                port=port,
                longest=SLICE,
                about=about(),
                raised=lambda shard, reason: with_fix(raised(shard, reason)),
                run_again=self._run_again,
                dropped=self._dropped,
                took=took,
            )
        except OSError as error:
            msg = f"SparkCluster: cannot listen at {bound}:{port} ({error}); set spark.driver.bindAddress to an address of this machine"
            raise ClusterError(msg) from error
        self.address = host, self.hub.address[1]
        self.job = LongJob(plan.context, self._tasks().collect, *_labels(plan.workers))
        self.session = DirectSession(
            self.hub,
            plan.workers,
            plan.evaluated,
            elsewhere,
            self._drops.clear,
            scattered=len(plan.files),
            first_weights=first_weights,
        )

    def start(self) -> str:
        """Submit the job, and return ""; or else why the workers would not reach the hub."""
        begin = time.monotonic()
        obstacle = unreachable(self._plan.context, self.address, self.hub.credentials, self._plan.workers)
        if obstacle:
            self.hub.close()
            return obstacle
        self.hub.wait_for_workers(_JOBS * (time.monotonic() - begin))
        self.job.start(self.hub)
        return ""

    def close(self, reason: str) -> None:
        """End the workers; their slots are free then."""
        self.hub.close(reason)
        self.job.end()

    def _tasks(self) -> Any:
        """Return the RDD whose tasks are the workers."""
        plan, evaluated = self._plan, self._plan.evaluated
        server = Server(
            self.address,
            self.hub.credentials,
            plan.limits,
            plan.factory,
            plan.dealt.preprocessor,
            plan.files,
            None if evaluated is None else (evaluated.preprocessor, evaluated.even),
        )
        return plan.dealt.rdd.mapPartitionsWithIndex(server)

    def _run_again(self) -> None:
        self._drops.clear()  # Spark ends all tasks of a job that has failed
        self.job.run_again()

    def _dropped(self, hello: Hello, reason: str) -> None:
        """Let Spark start another worker in the place of one that stands still, and give up where each of them does."""
        if ATTEMPT not in hello.about or reason == JOB_FAILED:  # a probe; or its task has ended, as all of the job
            return
        self.job.kill(hello.about[ATTEMPT], reason)
        if reason == MAKES_ROOM:
            return
        self._drops[hello.shard] = self._drops.get(hello.shard, 0) + 1
        if self._drops[hello.shard] >= _DROPS:
            msg = (
                f"the worker of shard {hello.shard} was given up {_DROPS} times without a round that ended, the last time because "
                f"{reason}. Its process may stand still; or a step lets no other thread of Python run for so long, which transport='spark' allows"
            )
            self.hub.fail(ClusterError(msg, shard=hello.shard))
