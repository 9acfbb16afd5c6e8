"""A program that is interrupted at random moments and goes on: run by test_interrupts.py, in a process of its own.

Usage: interrupting.py MASTER SEED MOMENTS FOLDER
"""

import faulthandler
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

from sparknet import Field, SparkCluster, averaged_sgd
from sparknet.errors import interrupt_in
from sparknet.nets import MLP
from sparknet.spark import evaluate, pack, predict, start_spark

LONGEST = 200  # seconds until a training is taken for one that hangs; it takes one
FIELDS = [Field("data", (4,)), Field("label", (), "int64")]
FACTORY = MLP.factory((4,), 2)


def main(master, seed, moments, folder):
    spark = start_spark(master)
    rows = spark.sparkContext.parallelize([([float(i % 7)] * 4, i % 2) for i in range(400)], 2)
    data = pack(rows, FIELDS, 10, shards=2)
    expected = trained(spark, data)
    rng = random.Random(seed)
    handlers = signal.getsignal(signal.SIGINT), signal.default_int_handler  # Spark's, and that of notebooks
    for moment in range(moments + 1):
        handler = rng.choice(handlers)
        fresh = pack(rows, FIELDS, 10, shards=2)
        if moment == 0:
            name, action, condition = (
                "user code",
                partial(fresh.map_shards, partial(stays, folder)),
                partial(both, folder),
            )
        else:
            name, action = rng.choice(list(actions(spark, rows, fresh, expected).items()))
            condition = partial(time.sleep, rng.random() * 3)
        signal.signal(signal.SIGINT, handler)
        interrupted(name, action, condition)
        if name == "predict":  # the job is the caller's: neither handler ends it
            spark.sparkContext.cancelAllJobs()
        for again in (fresh, pack(rows, FIELDS, 10, shards=2)):
            assert trained(spark, again) == expected, name
            again.unpersist()
        print("went on after", name, flush=True)
    spark.stop()


def actions(spark, rows, data, weights):
    """What takes longer than any moment."""
    endless = rows.map(slow)
    return {
        "pack": lambda: pack(endless, FIELDS, 10),
        "train": lambda: list(averaged_sgd(FACTORY, data, cluster=SparkCluster(spark), tau=5, rounds=10**6)),
        "a long round": lambda: list(averaged_sgd(FACTORY, data, cluster=SparkCluster(spark), tau=10**7, rounds=2)),
        "map_shards": lambda: data.map_shards(lambda _: time.sleep(10**6)),
        "evaluate": lambda: evaluate(endless, FACTORY, weights, fields=FIELDS),
        "predict": lambda: predict(endless.map(lambda row: row[0]), FACTORY, weights, fields=FIELDS[:1]).count(),
    }


def slow(row):
    time.sleep(10)
    return row


def stays(folder, shard):
    Path(folder, f"{shard.index}").touch()
    time.sleep(10**6)


def both(folder):
    while len(list(Path(folder).iterdir())) < 2:
        time.sleep(0.1)


def interrupted(name, action, condition):
    """Run an action that gets Ctrl-C once a condition holds."""

    def interrupt():
        condition()
        # From another process, as a terminal does. A thread of this one wakes up where the main thread lets go of the interpreter to
        # wait for the JVM; a signal at just that moment is noticed once the JVM has answered, which is never.
        subprocess.run([sys.executable, "-c", f"import os; os.kill({os.getpid()}, {int(signal.SIGINT)})"], check=True)

    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        action()
    except KeyboardInterrupt:
        thread.join()
    except Exception as error:
        thread.join()
        # The job of predict() is the caller's: pyspark may use a connection that the interrupt has closed.
        if name != "predict" or interrupt_in(error) is None:
            raise
    else:
        raise AssertionError("was not interrupted")


def trained(spark, data):
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    *_, last = averaged_sgd(FACTORY, data, cluster=SparkCluster(spark), tau=3, rounds=2)
    faulthandler.cancel_dump_traceback_later()
    return last.weights


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
