"""A session whose workers stay: they are tasks of one long job, connected to a hub on the driver.

The workers hold the task slots of Spark. So another job of the caller's would wait for them for ever: it is looked for, and the
workers let go of their slots between two rounds. What happens then is up to the caller of :class:`Staying`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, ClassVar

from sparknet.clusters.direct.alike import FirstWeights, about
from sparknet.clusters.direct.bodies import SLICE
from sparknet.clusters.direct.session import DirectSession
from sparknet.clusters.direct.told import raised
from sparknet.clusters.spark.jobs.connections import asked
from sparknet.clusters.spark.jobs.error_values import with_fix
from sparknet.clusters.spark.jobs.labels import phase_now, run_tag
from sparknet.clusters.spark.jobs.sessions import check_packed
from sparknet.clusters.spark.training.addresses import address_of, cannot_listen
from sparknet.clusters.spark.training.long_job import LongJob
from sparknet.clusters.spark.training.memory import memory_lacking
from sparknet.clusters.spark.training.plan import SessionPlan
from sparknet.clusters.spark.training.reaching import has_room, too_few_cores, unreachable, waiting_stages
from sparknet.clusters.spark.training.serving import ATTEMPT, Server
from sparknet.errors import ClusterError, MissingDependency
from sparknet.nets.base import SolverState
from sparknet.training import Collected, Ending, Session, SliceSession
from sparknet.training.run import trained
from sparknet.transport import Hello, Hub, new_secret
from sparknet.transport.faults import JOB_FAILED, MAKES_ROOM
from sparknet.weights import WeightCollection
from sparknet.worker import Facts, Task

__all__ = ["Staying"]

_LOG = logging.getLogger(__name__)
_LOOK = 1.0  # seconds between two looks at the jobs that wait
_AGAIN = 0.5  # seconds between two attempts to start workers again
_ANSWERS = 10.0  # seconds in which Spark's JVM says what memory there is
_WAITS = "another job waits for the task slots that the workers of this training hold"
_CHANGES = "from now on each round is a job of its own, which takes longer"
_STARTS_AGAIN = "they end, and start again for the next round, which takes seconds"
_FIX = "Give Spark more slots than there are workers"
_EVALUATES = (
    "a job of its own evaluates what the workers of this training do not have, and needs a task slot: they end, and start again for the "
    f"next round, which takes seconds. {_FIX}"
)
_JOBS = 20  # times what a job that does nothing took: a worker that has not come by then does not come
_DROPS = 3  # of the worker of one shard, in a row, without a round that ended


class Staying:
    """A session of workers that stay. As a context manager it ends them.

    Parameters
    ----------
    plan
        What it is opened with.
    per_round
        Does what the workers cannot, by jobs of its own.
    may_change
        Whether ``per_round`` does all other rounds too, once another job has waited for the slots of the workers, if Spark has the
        memory for it. Else they start again.
    """

    waits_for_all: ClassVar[str] = ""  # a session that it asks says so for itself

    def __init__(self, plan: SessionPlan, per_round: Session, *, may_change: bool) -> None:
        self._plan, self._per_round, self._may_change = plan, per_round, may_change
        self._workers: _Workers | None = None
        self._first_weights, self._took = FirstWeights(), dict[str, float]()
        self._busy = threading.Lock()  # held in a round, and while workers start or end
        self._has_changed = self._is_starved = False
        self._told = set[str]()  # lines of the log, each said once
        # Bytes of a round that go out to a worker and come back from one; None: no round has ended.
        self._sizes: tuple[int, int] | None = None
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
            if self._workers is not None:
                sent = weights.nbytes + sum(array.nbytes for state in states for array in state.values())
                self._sizes = sent, self._workers.session.largest
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
            is_late = time.monotonic() > until
            if is_late and not self._may_change:
                msg = f"SparkCluster: the workers of this session cannot start again: {obstacle}"
                raise ClusterError(msg)
            if self._may_change and (is_late or not self._lacking()):
                self._has_changed = True
                self._say(f"{_CHANGES}: {obstacle}")
                return self._per_round
            time.sleep(_AGAIN)
        assert self._workers is not None
        return self._workers.session

    def _start(self) -> str:
        plan = self._plan
        if obstacle := too_few_cores(plan.context, plan.workers):
            return obstacle
        try:
            workers = _Workers(plan, self._first_weights, self._took, self._elsewhere)
        except (MissingDependency, _CannotListenError) as error:  # the former of encryption
            return str(error)
        try:  # Ctrl-C may come at any time
            obstacle = workers.start()
            self._workers = None if obstacle else workers
        finally:
            if self._workers is not workers:
                workers.close("it could not be opened")
        return obstacle

    def _elsewhere(self, weights: WeightCollection, data: Any) -> dict[str, float]:
        """Evaluate what the workers do not have, in a job of its own. Without a free slot it needs those of the workers."""
        if not has_room(self._plan.context, self._plan.workers):
            self._say(_EVALUATES)
            self._let_go("a job evaluates in their place")
        return self._per_round.evaluate(weights, data)

    def _let_go(self, reason: str = "") -> None:
        workers, self._workers, self._is_starved = self._workers, None, False
        if workers is not None:
            workers.close(reason)

    def _let_go_if_starved(self) -> None:
        if not self._is_starved:
            return
        self._let_go("another job needs the task slots")
        lacking = self._may_change and self._lacking()
        self._has_changed = self._may_change and not lacking
        goes_on = _CHANGES if self._has_changed else _STARTS_AGAIN
        why = f", because a job for each round {lacking}" if lacking else ""
        self._say(f"{_WAITS}: {goes_on}{why}. {_FIX}" + ("" if lacking else ", or say transport='spark'"))

    def _lacking(self) -> str:
        """Return in words why rounds that are jobs may fail for want of memory; "" if they will not."""
        if self._sizes is None:
            return "is not judged before a round has ended, which tells how large results are"
        context, workers, (sent, result) = self._plan.context, self._plan.workers, self._sizes
        with suppress(Exception):  # Spark may be gone, or its JVM stand still; a round tells that
            short = asked(partial(memory_lacking, context, workers, sent, result), within=_ANSWERS)
            return short and f"needs more memory: {short}"
        return "cannot be judged now"

    def _say(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            _LOG.warning("%s", line)

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


class _CannotListenError(ClusterError):
    """There is no hub, so there are no workers."""


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
            raise _CannotListenError(cannot_listen(bound, port, error)) from error
        try:  # what follows asks the JVM, and may be interrupted
            self.address = host, self.hub.address[1]
            self.job = LongJob(plan.context, self._tasks().collect, *_labels(plan.workers))
        except BaseException:
            self.hub.close("it could not be opened")
            raise
        self.session = DirectSession(
            self.hub,
            plan.workers,
            plan.evaluated,
            elsewhere,
            self._drops.clear,
            scattered=len(plan.files),
            aggregation=plan.aggregation,
            limits=plan.limits,
            first_weights=first_weights,
        )

    def start(self) -> str:
        """Submit the job, and return ""; or else why the workers would not reach the hub."""
        begin = time.monotonic()
        obstacle = unreachable(self._plan.context, self.address, self.hub.credentials, self._plan.workers)
        if obstacle:
            return obstacle
        self.session.counted = self.hub.strangers, self.hub.ignored  # what tried the way is not of the first round
        self.hub.wait_for_workers(_JOBS * (time.monotonic() - begin))
        self.job.start(self.hub)
        return ""

    def close(self, reason: str) -> None:
        """End the workers; their slots are free then."""
        try:
            self.session.close()
            self.hub.close(reason)
        finally:  # also after another Ctrl-C: the job would go on without its driver
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
