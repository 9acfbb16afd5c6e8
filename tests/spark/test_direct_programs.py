"""Programs whose workers stay: a driver that is killed, a session that is stopped in mid-round, Ctrl-C."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.spark

PROGRAM = """
import os, signal, sys, threading
import numpy as np
from sparknet import ClusterError, Field, LocalCluster, SparkCluster, averaged_sgd
from sparknet.data import pack as local_pack
from sparknet.nets import MLP
from sparknet.spark import pack, start_spark

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have had it ignored
spark = start_spark(sys.argv[1])
x = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
rows = [(row, int(row.sum() > 0)) for row in x]
fields = [Field("data", (6,)), Field("label", (), "int64")]
data = pack(spark.sparkContext.parallelize(rows, 2), fields, 8)
factory, options = MLP.factory((6,), 2, (9,)), {"workers": 2, "tau": 3, "seed": 5}


def train(rounds, data=data, cluster=SparkCluster(spark, transport="direct"), **more):
    return averaged_sgd(factory, data, cluster=cluster, rounds=rounds, **options, **more)


"""


def program(text, master="local[2]"):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + text, master],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process, status=0):
    said, wrong = process.communicate(timeout=500)
    assert process.returncode == status, wrong
    return said, wrong


def family(pid):
    """Return a process and those that it, and they, have started."""
    found = [pid]
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # so has a thread of it
                found += [each for child in (task / "children").read_text().split() for each in family(int(child))]
    return found


def test_all_processes_end_with_a_driver_that_is_killed():
    process = program("for done in train(10**6):\n    print('round', flush=True)")
    assert process.stdout.readline() == "round\n"
    until = time.monotonic() + 300
    # With the JVM, the daemon and two workers. Linux leaves some out while others end.
    while len(pids := family(process.pid)) < 4:
        assert time.monotonic() < until
    process.kill()
    ended(process, -signal.SIGKILL)
    until = time.monotonic() + 300
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_session_that_is_stopped_in_mid_round_ends_the_training_by_name():
    text = """
try:
    for done in train(10**6):
        if not done.index:
            threading.Timer(0.5, spark.stop).start()
except ClusterError as error:
    print(error)
"""
    said, _ = ended(program(text))
    assert "its Spark session was stopped" in said


@pytest.mark.parametrize("handler", ["spark", "notebook"])
def test_an_interrupt_in_a_round_leaves_a_session_that_works(handler):
    handlers = {"spark": "", "notebook": "signal.signal(signal.SIGINT, signal.default_int_handler)"}
    text = f"""
{handlers[handler]}
try:
    for done in train(10**6):
        if not done.index:
            threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
except KeyboardInterrupt:
    print("interrupted", flush=True)
*_, last = train(3)
print(last.index, spark.sparkContext.parallelize(range(4), 2).sum())
spark.stop()
"""
    said, wrong = ended(program(text))
    assert said == "interrupted\n2 6\n"
    assert "Traceback" not in wrong
