"""Running Spark jobs: a failure becomes one clear exception, and an interrupt cancels them.

The exceptions of py4j and pyspark are pages of Java, with the cause somewhere inside.
"""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparknet.clusters.imports import executors_fix
from sparknet.clusters.spark.jobs.error_values import raise_error
from sparknet.clusters.spark.jobs.interrupts import interruptible
from sparknet.clusters.spark.jobs.local_files import restore, restore_directories
from sparknet.clusters.spark.jobs.sessions import is_stopped
from sparknet.errors import ClusterError, DataError

__all__ = ["PerPartition", "collected", "is_stored", "job_error", "pickled", "release", "run_job", "telling_line"]

# A Python traceback inside a Java one: indented lines, ended by the exception itself. Where that has another one in its words (pyspark 4.0
# says so of what it cannot unpickle), the end of the inner one is meant.
_TRACEBACK = re.compile(
    r"Traceback \(most recent call last\):\n(?:(?:[ \t].*|\S.*Traceback \(most recent call last\):)\n)+(\S.*)"
)
# The task that ended a job, in Spark's words: its number, the machine, the executor. Spark 4.3 does not say it.
_TASK = re.compile(r"Lost task (\d+)\.\d+ in stage \S+ \(TID \d+\) \((\S+) executor (\S+)\)")
# A missing file in a scratch directory of Spark; the group is the directory.
_LOST = re.compile(r"(?:FileNotFound|NoSuchFile)Exception: (/\S*/blockmgr-[-\w]+)/")
# A missing file in the driver's own directory of pyspark, through which broadcasts and results go.
_LOST_BY_PYSPARK = re.compile(r"No such file or directory: '(/\S*/pyspark-[-\w]+)/")
# The note that `sparknet.data.shards.calling` adds to an exception: the shard, and the line of the user's function.
_PLACE = re.compile(r"^\[(shard \d+, .+)\]$", re.MULTILINE)
_CAUSED = "Caused by: "
_LONGEST = 600  # characters of a line that is shown


def run_job(action: Callable[[], Any]) -> Any:
    """Return ``action()``, an action of an RDD. A job that fails raises a ClusterError that names what failed.

    The error's ``traceback`` is that of the Python worker, if there is one. Ctrl-C cancels the jobs and raises
    KeyboardInterrupt.
    """
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    try:
        return interruptible(action, context)
    except Exception as error:
        raise job_error(error, context) from error


def job_error(error: Exception, context: Any) -> ClusterError:
    """Return the error to raise for that of a job."""
    fields = dict[str, Any]()
    *_, found = [None, *_TRACEBACK.finditer(str(error))]  # the last: those before it are its causes
    line = found[1][:_LONGEST] if found else telling_line(error)
    if context is not None and is_stopped(context):
        line = f"its Spark session was stopped meanwhile ({line})"
    if lost := _LOST.search(line) or _LOST_BY_PYSPARK.search(line):
        line += _with_new_directories(context, Path(lost[1]))
    if fix := executors_fix(line):
        task = _TASK.search(str(error))
        where = f", in task {task[1]} on {task[2]} (executor {task[3]})" if task else ""
        line, fields = f"{line}{where}{fix}", {"is_import": True}
    place = _PLACE.search(str(error)) if found else None
    msg = f"the job failed on the cluster: {f'{place[1]}: ' if place else ''}{line}"
    return ClusterError(msg, traceback=found[0] if found else "", **fields)


def _with_new_directories(context: Any, lost: Path) -> str:
    """Create the scratch directories of driver and executors again, and return what the error message says about it."""
    # Without the driver's own no job starts. The JVM may be gone, and its error is not to replace the job's.
    with suppress(Exception):
        roots = os.environ.get("SPARK_LOCAL_DIRS") or context.getConf().get("spark.local.dir", "")
        for directory in (context._temp_dir, *filter(None, roots.split(","))):
            Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    if "blockmgr" in lost.name and lost.parent.is_dir():
        restore(lost)  # on this machine, of the driver or of an executor
    with suppress(Exception):  # as many tasks as run at once most often reach every executor
        context.parallelize(range(context.defaultParallelism)).foreach(restore_directories)
    return (
        "; this file of Spark was removed while Spark ran. The directory was made again, so try once more: what was packed is "
        "computed again from its source, and must be packed again where that fails. Start a new session where this comes again: "
        "files that were added to this one are not made again"
    )


def collected(rdd: Any, partitions: Sequence[int] | None = None) -> list[Any]:
    """Return all elements, or those of these partitions. An error among them, which a task reported as a value, is raised."""
    replies: list[Any] = run_job(
        rdd.collect if partitions is None else lambda: rdd.context.runJob(rdd, list, partitions)
    )
    for reply in replies:
        raise_error(reply)
    return replies


def pickled(what: str, value: Any) -> bytes:
    """Return a value pickled, as it is sent to tasks; a DataError that begins with ``what`` if it cannot be pickled.

    Call it for each value of the user's before a broadcast and a task are made. pyspark notes the broadcasts that are
    pickled here for the next job, which would fail after they are destroyed; so these notes are cleared.
    """
    from pyspark import SparkContext, cloudpickle

    context = SparkContext._active_spark_context
    try:
        message: bytes = cloudpickle.dumps(value)
    except Exception as error:
        msg = (
            f"{what} ({type(value).__name__}) cannot be sent to the executors: {type(error).__name__}: {error}; "
            "what cannot be pickled, such as a lock, an open file or a connection, has to be made there when it is used first"
        )
        raise DataError(msg) from error
    finally:
        if context is not None:
            context._pickled_broadcast_vars.clear()
    return message


def is_stored(rdd: Any) -> bool:
    """Say whether the executors have all partitions of a persisted RDD now."""
    found = rdd.context._jsc.sc().getRDDStorageInfo()
    return any((info.id(), info.numCachedPartitions()) == (rdd.id(), rdd.getNumPartitions()) for info in found)


def release(persisted: Any) -> None:
    """Unpersist an RDD or data set that is not needed any more. A failure is ignored: it would hide an error before it."""
    with suppress(Exception):
        persisted.unpersist()


class PerPartition:
    """Spark's AccumulatorParam for partition -> a fact about it. A partition that is computed twice counts once."""

    def zero(self, value: dict[int, Any]) -> dict[int, Any]:
        """Return the initial value of an accumulator."""
        del value
        return {}

    def addInPlace(self, ours: dict[int, Any], theirs: dict[int, Any]) -> dict[int, Any]:  # noqa: N802 - Spark's name
        """Return the facts of both."""
        ours.update(theirs)
        return ours


def telling_line(error: BaseException) -> str:
    r"""Return the line that names the exception, cut to a readable length.

    Examples
    --------
    >>> telling_line(RuntimeError("An error occurred\n: java.net.BindException: Address in use\n  at x"))
    'java.net.BindException: Address in use'

    Where that is Spark's "Job aborted.", the last cause is.

    >>> telling_line(
    ...     RuntimeError("org.apache.spark.SparkException: Job aborted.\n  at x\nCaused by: java.io.IOException: full")
    ... )
    'java.io.IOException: full'
    """
    lines = [line.strip(": \t") for line in str(error).splitlines() if line.strip(": \t")]
    telling = [line for line in lines if "Exception" in line or "Error" in line]
    line = (telling or lines or [type(error).__name__])[0]
    if line.endswith("Job aborted."):
        *_, line = [line, *(cause.removeprefix(_CAUSED) for cause in lines if cause.startswith(_CAUSED))]
    return line[:_LONGEST]
