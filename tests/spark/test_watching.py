"""What stands still in a job of Spark is seen and named, and goes on with the same bits once it is let go."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sparknet import Field
from sparknet.clusters.spark.jobs import interrupts, standstill, watching
from sparknet.clusters.spark.jobs.interrupts import interruptible
from sparknet.data.mean import mean_image
from sparknet.nets import MLP
from sparknet.spark import evaluate, pack, predict

pytestmark = pytest.mark.spark

LONGEST = 200  # seconds until a test gives up; what it waits for takes a few
FIELDS = [Field("data", (4,)), Field("label", (), "int64")]
FACTORY = MLP.factory((4,), 2)
STANDS = 2  # the partition that stands still


@pytest.fixture
def rows(context):
    return context.parallelize([([float(i % 7)] * 4, i % 2) for i in range(400)], 4)


@pytest.fixture
def told(monkeypatch, caplog):
    """Say what stands still after seconds, not minutes; what is said from now on."""
    monkeypatch.setattr(watching, "_LOOK", 0.2)
    monkeypatch.setattr(standstill, "_SLOW", 1.0)
    monkeypatch.setattr(standstill, "_STILL", 2.0)
    caplog.set_level(logging.WARNING, watching.__name__)
    return lambda *parts: [m for m in caplog.messages if all(part in m for part in parts)]


def standing(folder, partition, rows):
    """Yield the rows; in one partition write this worker's process, and wait until it is let go."""
    for number, row in enumerate(rows):
        if partition == STANDS and number == 50:
            folder.joinpath("new").write_text(str(os.getpid()))
            folder.joinpath("new").rename(folder / "pid")
            wait_for(folder / "go")
        yield row


def wait_for(path):
    until = time.monotonic() + 2 * LONGEST
    while not path.exists():
        time.sleep(0.05)
        assert time.monotonic() < until, f"nobody wrote {path}"


def eventually(condition):
    until = time.monotonic() + LONGEST
    while not condition():
        time.sleep(0.05)
        assert time.monotonic() < until, "never came"


@contextmanager
def beside(work):
    """Run something in another thread; it has ended, and well, when the block has ended well."""
    errors = []

    def run():
        try:
            work()
        except BaseException as error:
            errors.append(error)
            raise

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join()
    assert errors == []


def let_go_once(folder, is_told, *, stopped):
    """Stop the worker, or leave it where it waits, until that is told."""
    try:
        wait_for(folder / "pid")
        pid = int((folder / "pid").read_text())
        if stopped:
            os.kill(pid, signal.SIGSTOP)
            (folder / "go").touch()  # what keeps it now is the signal alone
        eventually(is_told)
    finally:
        (folder / "go").touch()
        if stopped:
            os.kill(pid, signal.SIGCONT)


VERBS = {
    "pack()": lambda rows: pack(rows, FIELDS, 10, shards=2).to_local().batches,
    "evaluate()": lambda rows: evaluate(rows, FACTORY, FACTORY(seed=0).get_weights(), fields=FIELDS),
    "predict()": lambda rows: predict(
        rows.map(lambda row: row[0]), FACTORY, FACTORY(seed=0).get_weights(), fields=FIELDS[:1]
    ).collect(),
    "predict() ": lambda rows: (  # of a DataFrame
        predict(rows.toDF("data array<double>, label long"), FACTORY, FACTORY(seed=0).get_weights(), fields=FIELDS[:1])
        .select("prediction")
        .collect()
    ),
}


# Each verb, and each way to stand still, of RDDs and of DataFrames.
CASES = {("pack()", True), ("evaluate()", False), ("predict()", False), ("predict() ", True)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "stopped"),
    [
        pytest.param(
            *(verb, stopped),
            id=f"{verb}-{'SIGSTOP' if stopped else 'a function that does not return'}",
            marks=[] if (verb, stopped) in CASES else pytest.mark.further,
        )
        for stopped in (True, False)
        for verb in VERBS
    ],
)
def test_what_stands_still_is_named_and_goes_on_with_the_same_bits(rows, told, tmp_path, verb, stopped):
    expected = str(VERBS[verb](rows))
    is_told = partial(told, verb.strip(), f"partition {STANDS} (for ", "executor driver")
    with beside(partial(let_go_once, tmp_path, is_told, stopped=stopped)):
        assert str(VERBS[verb](rows.mapPartitionsWithIndex(partial(standing, tmp_path)))) == expected
    assert told(verb.strip(), "kill -CONT")


def steps(folder, batch):
    if not (folder / "go").exists():
        (folder / "pid").touch()
        wait_for(folder / "go")
    return batch


@pytest.mark.slow
def test_the_function_that_waits_is_named_also_where_every_task_stands_still(rows, told, tmp_path):
    images = rows.map(lambda row: ([[row[0]]], row[1]))
    packed = pack(images, [Field("data", (1, 1, 4)), FIELDS[1]], 10, shards=2)

    def release():
        wait_for(tmp_path / "pid")
        eventually(partial(told, "mean_image(): no task has ended for", "0 of 2 partitions are done"))
        (tmp_path / "go").touch()

    waits = packed.rdd.map(partial(steps, tmp_path))
    with beside(release):
        mean = mean_image(replace(packed, rdd=waits), "data")
    assert (mean.to_host() == mean_image(packed, "data").to_host()).all()


def test_a_short_job_asks_spark_nothing_and_leaves_no_thread(context, monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(watching, "_of_tag", never)
    assert interruptible(lambda: context.parallelize(range(4), 2).count(), context) == 4
    for thread in threading.enumerate():
        if thread.name.startswith("watch sparknet-"):
            thread.join(LONGEST)
            assert not thread.is_alive()


def test_a_cancellation_that_fails_because_spark_was_stopped_is_not_told(monkeypatch, caplog):
    class Context:
        _jsc = object()

        def cancelJobsWithTag(self, tag):  # noqa: ARG002, N802 - Spark's name
            raise RuntimeError("java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext.\n at x")

    monkeypatch.setattr(interrupts, "_AGAIN", [0.0, 0.0])
    interrupts._cancel_later(Context(), "sparknet-x")
    assert not caplog.messages


def test_a_cancellation_that_fails_is_told_once(monkeypatch, caplog):
    class Context:
        _jsc = object()

        def cancelJobsWithTag(self, tag):  # noqa: N802 - Spark's name
            raise ConnectionError(f"no answer for {tag}")

        addJobTag = removeJobTag = print  # noqa: N815

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(interrupts, "_AGAIN", [0.0, 0.0, 0.0])
    with pytest.raises(KeyboardInterrupt):
        interruptible(interrupted, Context())
    for thread in threading.enumerate():
        if thread.name.startswith(
            "sparknet-"
        ):  # it asks by threads of its own, some not yet started, and waits for them
            thread.join(LONGEST)
            assert not thread.is_alive()
    (message,) = [each for each in caplog.messages if "may go on" in each]
    assert "no answer for sparknet-" in message


@pytest.mark.slow
@pytest.mark.timeout(900)  # the program itself ends where it hangs
@pytest.mark.parametrize("master", [pytest.param("local[2]", marks=pytest.mark.further), "local-cluster[2,1,1024]"])
def test_ctrl_c_ends_what_stands_still_and_the_session_trains_again(tmp_path, master):
    program = Path(__file__).with_name("stopping.py")
    done = subprocess.run(
        [sys.executable, str(program), master, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = ["pack stopped", "pack waits", "predict stopped", "predict waits"]
    assert done.stdout.splitlines() == [f"{case}: trained again" for case in cases]
