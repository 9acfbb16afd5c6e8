"""Jobs end with their caller: Ctrl-C as a notebook hears it, and what is left of a data set when Spark has stopped."""

import logging
import os
import signal
import subprocess
import sys

import pytest

from sparknet import ClusterError
from sparknet.clusters.spark.jobs.running import collected, run_job
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
OWN_ACTION = "session.sparkContext.parallelize([0], 1).map(lambda _: time.sleep(1000)).collect()"
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
    # py4j may lose its connections by an interrupt of an action of one's own, and end the program with an error of its own
    assert process.returncode in ([-signal.SIGINT, 1] if work == OWN_ACTION else [-signal.SIGINT]), err
    return err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "handler"),
    [
        (TRAINING, "# Spark's own"),
        pytest.param("packed.map_shards(lambda shard: time.sleep(1000))", NOTEBOOK, marks=pytest.mark.further),
        pytest.param(OWN_ACTION, "# Spark's own", marks=pytest.mark.further),
        (OWN_ACTION, NOTEBOOK),
    ],
    ids=["averaged_sgd", "map_shards", "an action", "an action in a notebook"],
)
def test_ctrl_c_in_a_program_of_ones_own_is_one_line_that_names_the_place(tmp_path, work, handler):
    lines = shown(interrupted(tmp_path, work, handler))
    program = tmp_path / "loop.py"
    number = program.read_text().splitlines().index(work) + 1
    assert lines == [f"KeyboardInterrupt while Spark worked: {program}, line {number}"]


@pytest.mark.slow
def test_ctrl_c_is_printed_as_the_program_asks_where_it_has_its_own_way(tmp_path):
    own = "import sys; sys.excepthook = lambda kind, error, trace: print('mine', kind.__name__, file=sys.stderr)"
    assert shown(interrupted(tmp_path, TRAINING, own)) == ["mine KeyboardInterrupt"]


@pytest.mark.slow
def test_ctrl_c_where_the_programs_own_code_runs_is_pythons_traceback(tmp_path):
    own = "print('working', flush=True); time.sleep(1000)"
    lines = shown(interrupted(tmp_path, "", own))
    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "KeyboardInterrupt")


def shown(err):
    """Return the lines of a program without what Java says of its options, and without Spark's own log."""
    others = ("WARNING: ", "NOTE: ", "spark: ", "org.apache.spark.")
    return [line for line in err.splitlines() if not line.startswith(others)]


@pytest.mark.parametrize(
    "error", [MissingDependency("backend 'numpy' cannot be imported", name="numpy"), ImportError("x")]
)
def test_what_the_executors_cannot_import_is_said_with_the_fix_however_it_comes(context, error):
    def raising(_):
        raise error

    fix = r"install it there .the Python is PYSPARK_PYTHON.* or send it with spark-submit --py-files or SparkContext\.addPyFile$"
    with pytest.raises(ClusterError, match=rf"{error}(, in task 0 on \S+ \(executor driver\))?; .*{fix}"):
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
