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
