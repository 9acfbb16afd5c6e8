"""A program whose workers stand still, which is interrupted and goes on: run by test_watching.py, in a process of its own.

Usage: stopping.py MASTER FOLDER
"""

import faulthandler
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

from sparknet import Field, SparkCluster, averaged_sgd
from sparknet.nets import MLP
from sparknet.spark import pack, predict, start_spark

LONGEST = 400  # seconds until the program is taken for one that hangs; it takes a minute
FIELDS = [Field("data", (4,)), Field("label", (), "int64")]
FACTORY = MLP.factory((4,), 2)


def main(master, folder):
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    spark = start_spark(master)
    rows = spark.sparkContext.parallelize([([float(i % 7)] * 4, i % 2) for i in range(400)], 2)
    expected = trained(spark, rows)
    for name in ("pack", "predict"):
        for how in ("stopped", "waits"):
            case = folder / f"{name} {how}"
            case.mkdir()
            standing = rows.mapPartitionsWithIndex(partial(stands, case))
            pid = interrupted(case, partial(ACTIONS[name], standing, expected), how == "stopped")
            if name == "predict":  # the job is the caller's
                until(partial(cancelled, spark.sparkContext))
            assert trained(spark, rows) == expected
            if how == "stopped":
                gone(pid)
                assert trained(spark, rows) == expected
            print(f"{name} {how}: trained again", flush=True)
    spark.stop()


def predicted(rows, weights):
    return predict(rows.map(lambda row: row[0]), FACTORY, weights, fields=FIELDS[:1]).count()


ACTIONS = {"pack": lambda rows, _: pack(rows, FIELDS, 10), "predict": predicted}


def stands(folder, partition, rows):
    for row in rows:
        if partition == 0:
            (folder / "new").write_text(str(os.getpid()))
            (folder / "new").rename(folder / "pid")
            time.sleep(10**6)
        yield row


def interrupted(folder, action, is_stopped):
    """Run an action that gets Ctrl-C once its worker stands still; return that worker's process."""

    def interrupt():
        until((folder / "pid").exists)
        if is_stopped:
            os.kill(int((folder / "pid").read_text()), signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        action()
    except KeyboardInterrupt:
        thread.join()
    else:
        raise AssertionError("was not interrupted")
    return int((folder / "pid").read_text())


def gone(pid):
    """Wait until Spark has killed a process that was stopped; waking it is too late then, and changes nothing."""

    def is_gone():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    until(is_gone)


def cancelled(context):
    """Cancel all jobs; say whether there is none left."""
    try:
        context.cancelAllJobs()
        return not context.statusTracker().getActiveJobsIds()
    except Exception:  # noqa: BLE001 - after Ctrl-C py4j has the JVM shut down its connections, at any time
        return False


def until(condition):
    while not condition():
        time.sleep(0.05)


def trained(spark, rows):
    data = pack(rows, FIELDS, 10, shards=2)
    *_, last = averaged_sgd(FACTORY, data, cluster=SparkCluster(spark), tau=3, rounds=2)
    data.unpersist()
    return last.weights


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
