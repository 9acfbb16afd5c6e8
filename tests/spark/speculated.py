"""A program on a cluster of two hosts whose Spark starts a second copy of each worker: run by test_speculation.py.

Usage: speculated.py MASTER FOLDER
"""

import faulthandler
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from sparknet import Field, LocalCluster, SparkCluster, averaged_sgd
from sparknet import data as local
from sparknet.clusters.spark.training import staying
from sparknet.nets import MLP
from sparknet.spark import pack, start_spark
from sparknet.transport import Hub

LONGEST = 900  # seconds until the program is taken for one that hangs; it takes about a minute
WORKERS = 3
FIELDS = [Field("data", (30,)), Field("label", (), "int64")]
X = np.random.default_rng(0).normal(size=(60, 30)).astype(np.float32)
ROWS = [(row, int(row.sum() > 0)) for row in X]
FACTORY = MLP.factory((30,), 2, (8,), learning_rate=0.1, momentum=0.9)
ROUNDS = 6
OPTIONS = {"workers": WORKERS, "tau": 3, "rounds": ROUNDS, "seed": 5}

# No task of the long job ends, so Spark has no durations to compare. It starts a copy of a task that runs for longer than the threshold, if
# an executor has slots for all tasks of the stage (hence the cores), and only on another host than that of the task.
SPECULATION = {
    "spark_speculation": "true",
    "spark_speculation_interval": "200ms",
    "spark_speculation_minTaskRuntime": "200ms",
    "spark_speculation_task_duration_threshold": "1s",
    "spark_locality_wait": "0s",
    "spark_executor_cores": str(WORKERS),
    "spark_cores_max": str(2 * WORKERS),
    "spark_executor_memory": "512m",
    "spark_driver_host": "127.0.0.1",
    "spark_driver_bindAddress": "127.0.0.1",
}


class Signing:
    """Makes a net whose steps say which process takes them, on which shard."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __call__(self, *, seed=0):
        net = FACTORY(seed=seed)
        if "SPARK_ENV_LOADED" in os.environ:
            step = net.step

            def signing(batch):
                from pyspark import TaskContext

                Path(self.folder, f"{TaskContext.get().partitionId()} {os.getpid()}").touch()
                return step(batch)

            net.step = signing
        return net


def until(condition):
    while not condition():  # main() sees to its end
        time.sleep(0.05)


def main(master, folder):
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    hubs, hellos = [], []

    class Noted(Hub):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            hubs.append(self)

        def _entered(self, number, connection, hello):
            if "probe" not in hello.about:
                hellos.append((hello.shard, hello.about["task attempt"]))
            return super()._entered(number, connection, hello)

    staying.Hub = Noted
    spark = start_spark(master, timeout=LONGEST, **SPECULATION)
    data = pack(spark.sparkContext.parallelize(ROWS, WORKERS), FIELDS, 5, shards=WORKERS)
    expected = [
        r.weights for r in averaged_sgd(FACTORY, local.pack(ROWS, FIELDS, 5), cluster=LocalCluster(), **OPTIONS)
    ]
    found, (killed, victim) = [], (1, None)
    for each in averaged_sgd(Signing(folder), data, cluster=SparkCluster(spark, transport="direct"), **OPTIONS):
        found.append(each.weights)
        if each.index == 0:
            until(lambda: len(set(hellos)) >= 2 * WORKERS)  # a second copy of each task has come
        if each.index == 2:
            (victim,) = [int(path.name.split()[1]) for path in folder.glob(f"{killed} *")]
            os.kill(victim, signal.SIGKILL)
    assert found == expected
    assert len(hubs) == 1  # the workers did not start again
    served = {shard: {int(path.name.split()[1]) for path in folder.glob(f"{shard} *")} for shard in range(WORKERS)}
    assert [len(served[shard]) for shard in range(WORKERS)] == [
        1,
        2,
        1,
    ]  # a copy took over where the first one was killed
    copies = [sum(shard == each for each, _ in set(hellos)) for shard in range(WORKERS)]
    assert min(copies) >= 2
    until(lambda: not spark.sparkContext.statusTracker().getActiveJobsIds())
    print("copies", *copies, flush=True)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
