"""Warnings about a Spark session that sparknet did not start: its settings, and the versions on its executors."""

import platform
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Any

from sparknet.clusters.spark.jobs.encryption import spark_encrypts
from sparknet.clusters.spark.jobs.running import run_job
from sparknet.clusters.spark.jobs.sessions import running_context
from sparknet.errors import ClusterError

__all__ = ["session_warnings"]

_COMPARED = ("sparknet", "numpy", "caffe")  # distributions that compute, or that a message travels between


def session_warnings(spark: Any) -> dict[str, str]:
    """Return the problems of training in a session: subject -> what is wrong, and the fix.

    Parameters
    ----------
    spark
        A SparkSession or SparkContext. A short job runs on it.

    Raises
    ------
    ClusterError
        It is neither, or it was stopped.
    """
    context = running_context(spark, "doctor")
    conf, master = context._conf, context.master
    found: dict[str, str] = {}
    if conf.get("spark.authenticate", "false") != "true":
        found["spark.authenticate"] = (
            "is off: whoever reaches this session's ports, as any user of this machine does, can join it as an executor, get its "
            f"tasks and data, and run code in it; {_how_to_authenticate(master)}"
        )
    elif not master.startswith("local") and not spark_encrypts(conf):
        found["spark.network.crypto.enabled"] = (
            "is off: weights and data go over the network as they are; turn it on where others can listen there"
        )
    if master == "local" or (master.startswith("local[") and "," not in master):
        found["spark.master"] = (
            f"is {master!r}, on which Spark tries no task again: where each round is a job, one lost worker ends the training; local[N,4] tries four times"
        )
    return {**found, **dict(_of_executors(context))}


def _how_to_authenticate(master: str) -> str:
    if master.startswith("local"):
        return "start_spark() sets a secret for each session that it starts"
    if master.startswith("spark://"):
        return "set it, and one spark.authenticate.secret, for the master, its workers and the session"
    return "set it: this kind of cluster makes a secret for each session"


def _of_executors(context: Any) -> Iterator[tuple[str, str]]:
    """Yield what differs between executors and driver. One task for each core usually reaches all executors."""
    here = _versions()
    try:
        found = set(run_job(context.parallelize(range(context.defaultParallelism)).mapPartitions(_told).collect))
    except ClusterError as error:
        yield "executors", str(error)
        return
    for host, versions in sorted(found):
        differing = [
            f"{name} {there or 'missing'} (here {ours or 'missing'})"
            for (name, there), (_, ours) in zip(versions, here, strict=True)
            if there != ours
        ]
        if differing:
            yield f"executor on {host}", f"has {', '.join(differing)}; install there what the driver has"


def _told(rows: Iterable[Any]) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Yield the host of this task and its versions."""
    del rows
    yield platform.node(), _versions()


def _versions() -> tuple[tuple[str, str], ...]:
    """Return (name, version) of Python and of each compared package; "" for one that is not installed."""
    return ("Python", platform.python_version()), *((name, _version(name)) for name in _COMPARED)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
