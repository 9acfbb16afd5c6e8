"""A program that trains on executors of their own, of which some end: run by test_executors.py, in a process of its own.

Usage: on_executors.py MASTER FOLDER CASE...
"""

import faulthandler
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from sparknet import Field, LocalCluster, SparkCluster, averaged_sgd
from sparknet import data as local
from sparknet.clusters.direct.results import Results
from sparknet.clusters.spark.training.cluster import _SparkSession
from sparknet.clusters.spark.training.plan import SessionPlan
from sparknet.nets import MLP
from sparknet.spark import pack, start_spark
from sparknet.transport import Limits

LONGEST = 900  # seconds until the program is taken for one that hangs; it takes one or two minutes
FIELDS = [Field("data", (1500,)), Field("label", (), "int64")]
X = np.random.default_rng(0).normal(size=(60, 1500)).astype(np.float32)
ROWS = [(row, int(row.sum() > 0)) for row in X]
FACTORY = MLP.factory((1500,), 2, (400,), learning_rate=0.1, momentum=0.9)  # with its history a result is 5 slices
OPTIONS = {"workers": 2, "tau": 3, "rounds": 4, "seed": 5}
BY_JOBS = {"train": _SparkSession.train, "evaluate": _SparkSession.evaluate}

# Where a task runs for a second Spark starts another one on another host, if an executor has room for all tasks of the job.
SPECULATION = {
    "spark_speculation": "true",
    "spark_speculation_interval": "200ms",
    "spark_speculation_minTaskRuntime": "200ms",
    "spark_speculation_task_duration_threshold": "1s",
}


class Deadly:
    """Makes a net that tells where it runs, and in the second round of shard 1 ends a process; once, as a file remembers.

    With ``stops``, in the third round the worker of shard 1 then stands still; once, too.
    """

    def __init__(self, folder, victim=None, *, stops=False):
        self.folder, self.victim, self.stops = str(folder), victim, stops

    def __call__(self, *, seed=0):
        net = FACTORY(seed=seed)
        if "SPARK_ENV_LOADED" in os.environ:
            step = net.step

            def stepping(batch):
                is_second = (
                    _tell(self.folder) == 1
                )  # of the two shards; Spark computes the first one of a job that it begins again first
                if is_second and net.iteration == OPTIONS["tau"] + 1 and self.victim is not None:
                    with suppress(FileExistsError):
                        Path(self.folder, "killed").touch(exist_ok=False)
                        os.kill(self.victim(), signal.SIGKILL)
                if is_second and net.iteration == 2 * OPTIONS["tau"] + 1 and self.stops:
                    with suppress(FileExistsError):
                        Path(self.folder, "stopped").touch(exist_ok=False)
                        os.kill(os.getpid(), signal.SIGSTOP)
                return step(batch)

            net.step = stepping
        return net


def _tell(folder):
    """Leave a file that says which process serves which shard; return the shard."""
    from pyspark import TaskContext

    shard = TaskContext.get().partitionId()
    Path(folder, f"{shard} {os.getpid()}").touch()
    return shard


def processes(folder, shard):
    """Return the processes that have taken steps on a shard."""
    return {int(path.name.split()[1]) for path in folder.glob(f"{shard} *")}


def executor():
    """Return the process of the executor that this worker belongs to."""
    pid = os.getpid()
    while Path(f"/proc/{pid}/comm").read_text().strip() != "java":
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def rounds_of(factory, data, cluster):
    return averaged_sgd(factory, data, cluster=cluster, evaluate=(data, 2), **OPTIONS)


def facts(rounds):
    return [(r.weights, r.loss, r.metrics, r.steps, r.examples) for r in rounds]


def until(condition):
    while not condition():  # main() sees to its end
        time.sleep(0.05)


# ---- the cases: each returns what a training of four rounds gave
def direct(spark, data, folder):
    """The workers evaluate too: they have the files of the evaluation set."""
    found = facts(rounds_of(Deadly(folder), data, SparkCluster(spark, transport="direct")))
    assert [len(processes(folder, shard)) for shard in (0, 1)] == [1, 1]
    return found


def executor_killed(spark, data, folder):
    found = facts(rounds_of(Deadly(folder, executor), data, SparkCluster(spark, transport="direct", encrypt=True)))
    assert (folder / "killed").exists()
    return found


def stopped_after_its_executor_was_killed(spark, data, folder):
    """The task of the worker has computed its minibatches again, which were lost with the executor: Spark does not end its process then."""
    limits = SessionPlan.limits
    SessionPlan.limits = Limits(beat=0.5, silence=8.0, join=LONGEST)
    _SparkSession.evaluate = BY_JOBS["evaluate"]  # no executor is left that had the files
    try:
        found = facts(rounds_of(Deadly(folder, executor, stops=True), data, SparkCluster(spark, transport="direct")))
    finally:
        SessionPlan.limits, _SparkSession.evaluate = limits, None
    assert (folder / "stopped").exists()
    return found


def executor_killed_sliced(spark, data, folder):
    """The workers combine, over connections of their own that are encrypted."""
    cluster = SparkCluster(spark, transport="direct", encrypt=True, aggregation="sliced")
    found = facts(rounds_of(Deadly(folder, executor), data, cluster))
    assert (folder / "killed").exists()
    return found


def killed_while_pulled(spark, data, folder):
    """The worker is killed once the first slices of its result are there."""
    take, pulled = Results.take, []

    def taking(results, number, slices):
        pulled.append(number)
        if pulled.count(1) == 2 and not (folder / "killed").exists():  # the second round's
            (folder / "killed").touch()
            (pid,) = processes(folder, 1)
            os.kill(pid, signal.SIGKILL)
        take(results, number, slices)

    Results.take = taking
    try:
        found = facts(rounds_of(Deadly(folder), data, SparkCluster(spark, transport="direct")))
    finally:
        Results.take = take
    assert len(processes(folder, 1)) == 2
    assert pulled == [*range(max(pulled) + 1)] * OPTIONS["rounds"]  # no slice was taken twice
    return found


def executor_killed_by_jobs(spark, data, folder):
    """Each round is a job of its own."""
    for name, method in BY_JOBS.items():
        setattr(_SparkSession, name, method)
    try:
        found = facts(rounds_of(Deadly(folder, executor), data, SparkCluster(spark, transport="spark")))
    finally:
        for name in BY_JOBS:
            setattr(_SparkSession, name, None)
    assert (folder / "killed").exists()
    return found


CASES = [
    direct,
    executor_killed,
    stopped_after_its_executor_was_killed,
    executor_killed_sliced,
    killed_while_pulled,
    executor_killed_by_jobs,
]


def main(master, folder, names):
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    host = {"spark_driver_host": "127.0.0.1", "spark_driver_bindAddress": "127.0.0.1"}
    spark = start_spark(master, timeout=LONGEST, **host, **SPECULATION)
    data = pack(spark.sparkContext.parallelize(ROWS, 2), FIELDS, 10, shards=2)
    expected = facts(rounds_of(FACTORY, local.pack(ROWS, FIELDS, 10), LocalCluster()))
    _SparkSession.train = _SparkSession.evaluate = None  # no round is a job of its own, but where a case wants it
    for case in CASES:
        if case.__name__ in names:
            its = folder / case.__name__
            its.mkdir()
            assert case(spark, data, its) == expected, case.__name__
            until(lambda: not spark.sparkContext.statusTracker().getActiveJobsIds())
            print(case.__name__, flush=True)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
