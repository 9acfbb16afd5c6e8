"""Watching jobs from the driver: a job that stands still is logged, and no job is ended.

A thread asks Spark's status store which tasks run. It asks nothing in the first seconds of a job, so a short job costs no more than the
start of a thread. What is said is decided in :mod:`sparknet.clusters.spark.jobs.standstill`.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sparknet.clusters.spark.jobs.connections import asked
from sparknet.clusters.spark.jobs.standstill import RunningTask, Stage, Standstill

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["watch_rows", "watched"]

_LOG = logging.getLogger(__name__)
_LOOK = 5.0  # seconds from one look to the next, at least
_PART = 10  # the next look is after 1/10 of the time that the job has taken, so a long one is looked at less often
_MOST = 20  # tasks of a stage whose details are asked for
_FAILURES = 3  # after so many in a row it is assumed that Spark has ended

_ROUNDS = {"averaged_sgd()", "map_shards()"}  # they run the same job again and again
# Such a function -> the longest time without a finished task in its last job that succeeded.
_BEFORE = dict[str, float]()
_OURS = set[int]()  # stages of jobs that `watched` looks at
# context -> id of an RDD that a lazy result is computed from -> function that returned the result
_LAZY = dict[Any, dict[int, str]]()
_LOCK = threading.Lock()


@contextmanager
def watched(context: Any, tag: str) -> Iterator[None]:
    """Watch the jobs with this tag for the length of the block."""
    caller, ended = _verb(), threading.Event()
    job = Standstill(caller, time.monotonic(), _BEFORE.get(caller, 0.0))
    try:
        with suppress(RuntimeError):  # there is no thread left, and the job needs none
            threading.Thread(target=_watch, args=(context, tag, job, ended), name=f"watch {tag}", daemon=True).start()
        yield
        if caller in _ROUNDS:
            _BEFORE[caller] = job.longest(time.monotonic())
    finally:
        ended.set()


def watch_rows(context: Any, rdd: int, caller: str) -> None:
    """Watch all jobs over the RDD with this id as long as Spark runs: the user starts the jobs over a lazy result.

    One thread watches all such RDDs.
    """
    with _LOCK:
        is_first = context not in _LAZY
        _LAZY.setdefault(context, {})[rdd] = caller
    if is_first:
        with suppress(RuntimeError):
            threading.Thread(target=_watch_lazy, args=(context,), name="watch lazy results", daemon=True).start()


def _verb() -> str:
    """Return the function of sparknet that the user has called: the outermost one on the stack with a public name.

    It is found on the stack, so it is right for every job, whichever function needs one.
    """
    frame: FrameType | None = sys._getframe(1)
    found = "sparknet"
    while frame is not None:
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if module != "contextlib" and not module.startswith(
            ("sparknet.clusters.", "sparknet.training.", "sparknet.data.")
        ):
            break
        if module.startswith("sparknet.training."):
            found = "averaged_sgd()"
        elif module != "contextlib" and not name.startswith(("_", "<")):
            found = f"{name}()"
        frame = frame.f_back
    return found


# ---- in threads of their own
def _watch(context: Any, tag: str, job: Standstill, ended: threading.Event) -> None:
    start, stages = time.monotonic(), set[int]()

    def look() -> None:
        found = _of_tag(context, tag)
        stages.update(found)
        _OURS.update(found)
        _say(context, job, found, ended.is_set)

    try:
        while not ended.wait(max(_LOOK, (time.monotonic() - start) / _PART)):
            asked(look)
    except Exception as error:  # noqa: BLE001 - whoever waits for the job hears of a Spark that has ended
        if not ended.wait(_LOOK):
            _LOG.warning("%s: will not be told if it stands still: %s: %s", job.caller, type(error).__name__, error)
    _OURS.difference_update(stages)


def _watch_lazy(context: Any) -> None:
    seen = dict[int, Standstill | None]()  # stage -> what is to be said of it; None if nothing
    failures = 0  # a stage may be gone from Spark's books, or Spark itself be gone

    def look() -> None:
        active = set(context.statusTracker().getActiveStageIds()) - _OURS
        for stage in seen.keys() - active:
            del seen[stage]
        for stage in active:
            if stage not in seen:
                seen[stage] = _of_rows(context, stage)
            job = seen[stage]
            if job is not None:
                _say(context, job, [stage], lambda: False)

    while context._jsc is not None and failures < _FAILURES:
        try:
            asked(look)
            failures = 0
        except Exception:  # noqa: BLE001 - whoever waits for the job hears of it
            failures += 1
        time.sleep(_LOOK)
    with _LOCK:
        _LAZY.pop(context, None)


def _say(context: Any, job: Standstill, stages: list[int], is_over: Callable[[], bool]) -> None:
    lines = job.words(time.monotonic(), _stages(context, stages), lambda stage: _closer(context, stage))
    if not is_over():
        for line in lines:
            _LOG.warning("%s", line)


# ---- what Spark knows about its jobs
def _of_tag(context: Any, tag: str) -> list[int]:
    """Return the active stages of the jobs with this tag."""
    tracker = context.statusTracker()
    jobs = [tracker.getJobInfo(job) for job in context._jsc.sc().statusTracker().getJobIdsForTag(tag)]
    ours = {stage for job in jobs if job is not None and job.status == "RUNNING" for stage in job.stageIds}
    return sorted(ours.intersection(tracker.getActiveStageIds())) if ours else []


def _of_rows(context: Any, stage: int) -> Standstill | None:
    """Return the Standstill of a stage that computes a lazy result of sparknet; None for any other stage."""
    ids = context._jsc.sc().statusStore().lastStageAttempt(stage).rddIds()
    rdds, lazy = {ids.apply(i) for i in range(ids.size())}, dict(_LAZY[context])
    callers = [lazy[rdd] for rdd in sorted(lazy) if rdd in rdds]
    if not callers:
        return None
    end = "Ctrl-C, and sparkContext.cancelAllJobs() after it,"  # pyspark's handler of the signal fails to cancel
    return Standstill(f"a job over the rows of {callers[-1]}", time.monotonic(), end=end)


def _stages(context: Any, ids: list[int]) -> list[Stage]:
    infos = [context.statusTracker().getStageInfo(stage) for stage in ids]
    return [
        Stage(
            (info.stageId, info.currentAttemptId),
            info.numTasks,
            info.numCompletedTasks,
            info.numFailedTasks,
            info.numActiveTasks,
        )
        for info in infos
        if info is not None
    ]


def _closer(context: Any, stage: Stage) -> tuple[list[RunningTask], float]:
    """Return the running tasks of a stage in the order of their starts, and the seconds of its slowest finished task."""
    now = context._jvm.java.lang.System.currentTimeMillis()
    running = [
        RunningTask(
            task.partitionId(),
            task.attempt(),
            task.host(),
            task.executorId(),
            (now - task.launchTime().getTime()) / 1000,
        )
        for task in _tasks(context, stage, "RUNNING", "lt", ascending=True, most=_MOST)
    ]
    slowest = _tasks(context, stage, "SUCCESS", "dur", ascending=False, most=1)
    return running, max((task.duration().get() / 1000 for task in slowest), default=0.0)


def _tasks(context: Any, stage: Stage, status: str, order: str, *, ascending: bool, most: int) -> list[Any]:
    """Return tasks of a stage from Spark's status store; the public status tracker has none."""
    jvm = context._jvm
    statuses = jvm.java.util.ArrayList()
    statuses.add(jvm.org.apache.spark.status.api.v1.TaskStatus.valueOf(status))
    store, by = context._jsc.sc().statusStore(), jvm.scala.Option.apply(order)
    found = store.taskList(*stage.key, 0, most, by, ascending, statuses)
    return [found.apply(i) for i in range(found.size())]
