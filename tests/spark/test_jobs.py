"""Jobs end with their caller: Ctrl-C as a notebook hears it, and what is left of a data set when Spark has stopped."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.spark

INTERRUPTED = """
import os, signal, threading, time
from sparknet import Field, SparkCluster, averaged_sgd
from sparknet.nets import MLP
from sparknet.spark import pack, start_spark

context = start_spark("local[2]").sparkContext
signal.signal(signal.SIGINT, signal.default_int_handler)  # as notebooks do; Spark's own cancels every job there is
tracker = context.statusTracker()
fields = [Field("data", (2,)), Field("label", (), "int64")]


def slow(row):
    time.sleep(100)
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
context.stop()
packed.unpersist()
print("released")
"""


def test_an_interrupt_ends_its_own_jobs_and_no_others_and_what_stopped_with_spark_is_released(tmp_path):
    program = tmp_path / "interrupted.py"
    program.write_text(INTERRUPTED)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["KeyboardInterrupt True", "4 True", "released"]
