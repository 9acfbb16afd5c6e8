"""The one job of a session: how it is ended, also where Spark's JVM answers nothing."""

import threading
from types import SimpleNamespace

import pytest

from sparknet.clusters.spark.jobs.connections import asked
from sparknet.clusters.spark.training import long_job

pytestmark = pytest.mark.spark


def test_a_jvm_that_stands_still_is_waited_for_as_long_as_is_said():
    is_over = threading.Event()
    try:
        with pytest.raises(TimeoutError, match=r"has not answered for 0\.05 s"):
            asked(lambda: is_over.wait(200), within=0.05)
    finally:
        is_over.set()
    assert asked(lambda: 6, within=200) == 6


def test_the_end_of_a_session_does_not_wait_for_ever_for_a_jvm_that_stands_still(monkeypatch, caplog):
    monkeypatch.setattr(long_job, "_ENDS", 0.05)
    monkeypatch.setattr(long_job, "_CANCELS", 0.2)
    begun, is_over, asked_for = threading.Event(), threading.Event(), []

    def stands_still(*args):
        asked_for.append(args)
        is_over.wait(200)

    context = SimpleNamespace(
        cancelJobsWithTag=stands_still, addJobTag=lambda _: None, setLocalProperty=lambda *_: None
    )

    def runs():
        begun.set()
        is_over.wait(200)

    job = long_job.LongJob(context, runs, "2 workers")
    monkeypatch.setattr(job, "_thread", threading.Thread(target=job._obey, daemon=True))  # pyspark's asks a JVM
    job.start(SimpleNamespace(job_failed=print, fail=print))
    try:
        assert begun.wait(200)
        job.end()
        assert asked_for == [(job._tag,)]
        (line,) = caplog.messages
        assert line.startswith("Spark has not ended the job of the workers (2 workers) within")
    finally:
        is_over.set()
        job._thread.join(200)
    assert not job._thread.is_alive()


class Tasks:
    """The tasks of a stage as Spark's store has them: attempt 22 at a task says each time what it is."""

    def __init__(self, executor, statuses):
        self.executor, self.statuses = executor, list(statuses)

    def taskList(self, *_):  # noqa: N802 - Spark's name
        return self

    def size(self):
        return 2

    def apply(self, i):
        if not i:
            return SimpleNamespace(taskId=lambda: 21, status=lambda: "RUNNING", executorId=lambda: "0")
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return SimpleNamespace(taskId=lambda: 22, status=lambda: status, executorId=lambda: self.executor)


@pytest.mark.parametrize(
    ("executor", "statuses", "ended"),
    [
        ("1", ["RUNNING"], ["1"]),
        ("1", ["RUNNING", "RUNNING", "KILLED"], []),
        ("1", ["KILLED"], []),
        ("driver", ["RUNNING"], []),  # on a local master
    ],
)
def test_the_executor_of_a_task_that_spark_does_not_end_is_ended(monkeypatch, caplog, executor, statuses, ended):
    monkeypatch.setattr(long_job, "_KILLED", 0.3)
    monkeypatch.setattr(long_job, "_AGAIN", 0.01)
    killed, replaced = [], []
    jvm = SimpleNamespace(
        killTaskAttempt=lambda *args: killed.append(args),
        killAndReplaceExecutor=replaced.append,
        statusStore=lambda: tasks,
        statusTracker=lambda: SimpleNamespace(getJobIdsForTag=lambda _: [5]),
    )
    tasks = Tasks(executor, statuses)
    tracker = SimpleNamespace(
        getJobInfo=lambda _: SimpleNamespace(stageIds=[16]),
        getStageInfo=lambda _: SimpleNamespace(currentAttemptId=1),
    )
    context = SimpleNamespace(_jsc=SimpleNamespace(sc=lambda: jvm), statusTracker=lambda: tracker)
    monkeypatch.setattr("pyspark.InheritableThread", threading.Thread)
    long_job.LongJob(context, print, "2 workers").kill("22", "it stands still")
    for thread in threading.enumerate():
        if thread.name == "ends a task":
            thread.join(200)
    assert killed == [(22, True, "sparknet: it stands still")]
    assert replaced == ended
    assert [line.startswith("executor 1 is ended") for line in caplog.messages] == [True] * len(ended)
