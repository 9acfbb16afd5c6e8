"""Jobs end with their caller: Ctrl-C as a notebook hears it, and what is left of a data set when Spark has stopped."""

import logging
import os
import signal
import subprocess
import sys

import pytest

from sparknet import ClusterError
from sparknet.clusters.spark.jobs import collected, run_job
from sparknet.errors import MissingDependency

pytestmark = pytest.mark.spark

INTERRUPTED = """
import faulthandler, os, signal, sys, threading, time
from sparknet import Field, SparkCluster, averaged_sgd
from sparknet.nets import MLP
from sparknet.spark import pack, start_spark

faulthandler.dump_traceback_later(250, exit=True)  # if it hangs, the test shows where
context = start_spark("local[2]").sparkContext
signal.signal(signal.SIGINT, signal.default_int_handler)  # as notebooks do; Spark's own cancels every job there is
tracker = context.statusTracker()
fields = [Field("data", (2,)), Field("label", (), "int64")]


def slow(row, over=sys.argv[1]):
    while not os.path.exists(over):  # a time would be too short on some machine
        time.sleep(0.05)
    return row


def until(condition):
    while not condition():
        time.sleep(0.05)
    return True


def interrupt():
    until(lambda: len(tracker.getActiveJobsIds()) > len(others))
    os.kill(os.getpid(), signal.SIGINT)


context.parallelize([0], 1).map(slow)._jrdd.countAsync()  # takes one of the two cores
until(tracker.getActiveJobsIds)
others = tracker.getActiveJobsIds()
threading.Thread(target=interrupt).start()
try:
    pack(context.parallelize([([0.0, 1.0], 0)], 1).map(slow), fields, 1)
except KeyboardInterrupt as error:
    print(type(error).__name__, until(lambda: tracker.getActiveJobsIds() == others))
packed = pack(context.parallelize([([0.0, 1.0], 0)] * 4, 1), fields, 2)
print(packed.count(), tracker.getActiveJobsIds() == others)
next(averaged_sgd(MLP.factory((2,), 2), packed, cluster=SparkCluster(context), tau=1, rounds=1))
open(sys.argv[1], "x").close()
context.stop()
packed.unpersist()
print("released")
"""


def test_an_interrupt_ends_its_own_jobs_and_no_others_and_what_stopped_with_spark_is_released(tmp_path):
    program = tmp_path / "interrupted.py"
    program.write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "over")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["KeyboardInterrupt True", "4 True", "released"]


LOOP = """
import signal, threading, time
from sparknet import Field, SparkCluster, averaged_sgd
from sparknet.nets import MLP
from sparknet.spark import pack, start_spark

session = start_spark("local[2]")
HANDLER
fields = [Field("data", (2,)), Field("label", (), "int64")]
packed = pack(session.sparkContext.parallelize([([0.0, 1.0], 0)] * 8, 2), fields, 2, shards=2)
tracker = session.sparkContext.statusTracker()


def tell():
    while not tracker.getActiveJobsIds():
        time.sleep(0.05)
    print("working", flush=True)


threading.Thread(target=tell).start()
WORK
"""
TRAINING = "list(averaged_sgd(MLP.factory((2,), 2), packed, cluster=SparkCluster(session), tau=10**6, rounds=9))"
NOTEBOOK = "signal.signal(signal.SIGINT, signal.default_int_handler)"


def interrupted(tmp_path, work, handler):
    """Return what a program prints that is interrupted in ``work``."""
    program = tmp_path / "loop.py"
    program.write_text(LOOP.replace("WORK", work).replace("HANDLER", handler))
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the whole process group gets the signal, as from a terminal
    ) as process:
        assert process.stdout.readline() == "working\n"
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == -signal.SIGINT, err
    return err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "handler"),
    [(TRAINING, "# Spark's own"), ("packed.map_shards(lambda shard: time.sleep(1000))", NOTEBOOK)],
    ids=["averaged_sgd", "map_shards"],
)
def test_ctrl_c_in_a_program_of_ones_own_shows_a_short_traceback_and_nothing_of_py4j(tmp_path, work, handler):
    err = interrupted(tmp_path, work, handler)
    # what Java says of its options, and Spark's own log
    others = ("WARNING: ", "NOTE: ", "spark: ", "org.apache.spark.")
    lines = [line for line in err.splitlines() if not line.startswith(others)]
    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "KeyboardInterrupt")
    assert work in err
    assert "py4j" not in err
    assert len(lines) <= 25, err


@pytest.mark.slow
def test_ctrl_c_in_an_action_of_ones_own_is_pythons_traceback_without_py4js_log(tmp_path):
    work = "session.sparkContext.parallelize([0], 1).map(lambda _: time.sleep(1000)).collect()"
    err = interrupted(tmp_path, work, "# Spark's own")
    assert work in err
    assert "while sending command" not in err
    assert err.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize(
    "error", [MissingDependency("backend 'numpy' cannot be imported", name="numpy"), ImportError("x")]
)
def test_what_the_executors_cannot_import_is_said_with_the_fix_however_it_comes(context, error):
    def raising(_):
        raise error

    fix = "install it there .the Python is PYSPARK_PYTHON.* or send it with spark-submit --py-files$"
    with pytest.raises(ClusterError, match=f"{error}; .*{fix}"):
        run_job(context.parallelize([0], 1).map(raising).collect)
    if isinstance(error, MissingDependency):
        with pytest.raises(MissingDependency, match=fix) as caught:
            collected(context.parallelize([0], 1).map(lambda _: error))
        assert caught.value.name == "numpy"


def test_a_job_that_fails_while_an_interrupt_is_handled_is_a_failed_job(context):
    try:
        raise KeyboardInterrupt  # noqa: TRY301 -- as a user's own rounds may end
    except KeyboardInterrupt:
        with pytest.raises(ClusterError, match="ZeroDivisionError"):
            run_job(context.parallelize([0], 1).map(lambda x: 1 / x).collect)


def test_an_interrupt_whose_cleaning_up_fails_stays_an_interrupt():
    class Stop(KeyboardInterrupt):
        pass

    def interrupted():
        try:
            raise Stop
        finally:
            raise OSError("the connection is closed")

    with pytest.raises(Stop) as caught:
        run_job(interrupted)
    assert "interrupted" not in [entry.name for entry in caught.traceback]  # nor any call that it made


def test_a_call_that_ends_leaves_the_log_of_another_one_without_interrupts(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "filters", [])  # without the one that stays, of a session started before
    error = KeyboardInterrupt()
    record = logging.LogRecord("root", logging.INFO, "py4j/clientserver.py", 1, "", (), (type(error), error, None))

    def working():
        run_job(lambda: None)  # as another thread's
        return logging.getLogger().filter(record)

    assert not run_job(working)
    assert logging.getLogger().filter(record)
