"""Programs whose workers stay: a driver that is killed or stands still, a session that is stopped in mid-round, Ctrl-C."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparknet.clusters.spark.jobs import startup

pytestmark = pytest.mark.spark

PROGRAM = """
import os, signal, sys, threading
import numpy as np
from sparknet import ClusterError, Field, LocalCluster, SparkCluster, averaged_sgd
from sparknet.data import pack as local_pack
from sparknet.nets import MLP
from sparknet.spark import pack, start_spark

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have had it ignored
spark = start_spark(sys.argv[1], **dict(each.split("=", 1) for each in sys.argv[2:]))
x = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
rows = [(row, int(row.sum() > 0)) for row in x]
fields = [Field("data", (6,)), Field("label", (), "int64")]
data = pack(spark.sparkContext.parallelize(rows, 2), fields, 8)
factory, options = MLP.factory((6,), 2, (9,)), {"workers": 2, "tau": 3, "seed": 5}


def train(rounds, data=data, cluster=SparkCluster(spark, transport="direct"), **more):
    return averaged_sgd(factory, data, cluster=cluster, rounds=rounds, **options, **more)


"""


def program(text, *settings):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + text, "local[2]", *settings],
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


def workers_of(pid):
    """Return the Python workers of a driver: what Spark's daemon has started."""
    found = family(pid)
    daemons = [
        each for each in found if b"pyspark.daemon" in command(each) and b"pyspark.daemon" not in command(parent(each))
    ]
    return [worker for daemon in daemons for worker in family(daemon)[1:]]


def command(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def parent(pid):
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_workers_end_within_a_minute_of_their_silence_where_the_driver_stands_still(tmp_path):
    """Its machine may be gone without a word: no connection ends. It is stopped here, and Spark's JVM is not."""
    silence = 6
    text = f"""
from sparknet.clusters.spark.training.plan import SessionPlan
from sparknet.transport import Limits

SessionPlan.limits = Limits(beat=0.5, silence={silence})
for done in train(10**6):
    if done.index == 1:
        print("round", flush=True)
"""
    logging = tmp_path / "log4j2.properties"  # with what Spark says of tasks that have failed
    logging.write_text(startup._LOGGING.read_text().replace("logger.tasks.level = off", "logger.tasks.level = warn"))
    process = program(text, f"spark_driver_extraJavaOptions=-Dlog4j2.configurationFile=file:{logging}")
    try:
        assert process.stdout.readline() == "round\n"
        workers = workers_of(process.pid)
        assert len(workers) >= 2
        os.kill(process.pid, signal.SIGSTOP)
        until = time.monotonic() + 300
        while any(Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        process.kill()
        _, wrong = process.communicate(timeout=500)
    seconds = [int(each) for each in re.findall(r"ClusterError: the driver has said nothing for (\d+) s", wrong)]
    assert seconds  # Spark prints the same error of two tasks once
    assert all(silence <= each <= silence + 60 for each in seconds)


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
