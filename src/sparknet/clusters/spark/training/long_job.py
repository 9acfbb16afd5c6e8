"""The one job of a session: it runs in a thread of its own, as long as the session is open."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from sparknet.clusters.spark.jobs.connections import asked
from sparknet.clusters.spark.jobs.labels import DESCRIPTION
from sparknet.clusters.spark.jobs.running import job_error
from sparknet.clusters.spark.jobs.sessions import is_stopped
from sparknet.errors import ClusterError
from sparknet.transport import Hub

__all__ = ["LongJob"]

_LOG = logging.getLogger(__name__)
_ENDS = 2.0  # seconds for tasks to end by themselves, once the driver has told them so
_CANCELS = 10.0  # seconds in which the job is cancelled
# Seconds in which Spark ends a task that it was told to. It never ends one whose worker stands still, if the task has first computed a lost block
# of its data, by Python: nothing watches the worker's process then (seen with Spark 4.3).
_KILLED = 20.0
_TASKS = 1 << 20  # of a stage, more than there are
_AGAIN = 0.5  # seconds between two attempts: Spark may be starting the job just now
_STAYS = "executor {executor} is ended, and Spark starts another one: it has not ended task {attempt} within {seconds:.0f} s, whose worker stands still"


class LongJob:
    """A job that is submitted once more where it fails, as often as the hub asks for it.

    Parameters
    ----------
    context
        The SparkContext.
    action
        Runs the job: an action of an RDD.
    words, tags
        What Spark's own pages say of it.
    """

    def __init__(self, context: Any, action: Callable[[], Any], words: str, tags: Sequence[str] = ()) -> None:
        from pyspark import InheritableThread

        self._context, self._action, self._words, self._tags = context, action, words, tags
        self._tag = f"sparknet-{uuid.uuid4().hex}"
        self._orders = SimpleQueue[bool]()  # True: run the job; False: end
        self._is_closing = False
        self._hub: Hub | None = None
        # It inherits what the caller has set for his jobs: their group, the pool of the scheduler.
        self._thread = InheritableThread(target=self._obey, name="runs the workers' job", daemon=True)

    def start(self, hub: Hub) -> None:
        """Run the job, and tell the hub when it fails."""
        self._hub = hub
        self._thread.start()
        self.run_again()

    def run_again(self) -> None:
        """Run the job once more; from any thread."""
        self._orders.put(True)

    def stages(self) -> set[int]:
        """Return the active stages of the job."""
        tracker = self._context.statusTracker()
        infos = [tracker.getJobInfo(job) for job in self._context._jsc.sc().statusTracker().getJobIdsForTag(self._tag)]
        return {stage for info in infos if info is not None for stage in info.stageIds}

    def kill(self, attempt: str, reason: str) -> None:
        """Let Spark end an attempt at a task, which stands still, and start another; in a thread of its own.

        Where Spark has not ended it in time, its executor is ended, and Spark starts another one.
        """

        def end() -> None:
            with suppress(Exception):  # it has ended, or Spark has
                jvm = self._context._jsc.sc()
                jvm.killTaskAttempt(int(attempt), True, f"sparknet: {reason}")
                until = time.monotonic() + _KILLED
                while (executor := self._executor_of(int(attempt))) and not self._is_closing:
                    if time.monotonic() >= until:
                        _LOG.warning("%s", _STAYS.format(executor=executor, seconds=_KILLED, attempt=attempt))
                        jvm.killAndReplaceExecutor(executor)
                        return
                    time.sleep(_AGAIN)

        threading.Thread(target=end, name="ends a task", daemon=True).start()

    def _executor_of(self, attempt: int) -> str:
        """Return the executor on which an attempt at a task of the job runs; "" for none, also on a local master, which has none."""
        store, tracker = self._context._jsc.sc().statusStore(), self._context.statusTracker()
        infos = {stage: tracker.getStageInfo(stage) for stage in self.stages()}
        for stage, info in infos.items():
            for number in range(0 if info is None else info.currentAttemptId + 1):
                tasks = store.taskList(stage, number, _TASKS)
                for task in map(tasks.apply, range(tasks.size())):
                    if task.taskId() == attempt and task.status() == "RUNNING":
                        executor = str(task.executorId())
                        return "" if executor == "driver" else executor
        return ""

    def end(self) -> None:
        """Wait for the tasks to end, which were told so, and cancel the job where they do not."""
        self._is_closing = True
        self._orders.put(False)
        if self._thread.ident is None:  # it was not started
            return
        self._thread.join(_ENDS)
        until = time.monotonic() + _CANCELS
        while self._thread.is_alive() and (left := until - time.monotonic()) > 0:
            with suppress(Exception):  # Spark may be gone, or its JVM stand still
                asked(partial(self._context.cancelJobsWithTag, self._tag), within=left)
            self._thread.join(_AGAIN)
        if self._thread.is_alive():
            _LOG.warning(
                "Spark has not ended the job of the workers (%s) within %.0f s: its tasks may run on",
                self._words,
                _CANCELS,
            )

    def _obey(self) -> None:
        with suppress(Exception):  # Spark may be gone; the job will tell
            for tag in (self._tag, *self._tags):
                self._context.addJobTag(tag)
            self._context.setLocalProperty(DESCRIPTION, self._words)
        while self._orders.get() and not self._is_closing:
            self._run()

    def _run(self) -> None:
        assert self._hub is not None
        try:
            self._action()
            error = ClusterError("the tasks of the workers have ended while the session was open")
        except Exception as failure:  # noqa: BLE001 - told to the hub
            if self._is_closing:
                return
            error = job_error(failure, self._context)
        if self._is_closing:
            return
        # Spark has tried each task several times, also on other executors; what they cannot import now they cannot import later.
        if is_stopped(self._context) or getattr(error, "is_import", False):
            self._hub.fail(error)
        else:
            self._hub.job_failed(error)
