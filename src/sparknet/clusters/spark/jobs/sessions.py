"""Whether a Spark session runs. A stopped one is reported before pyspark or its JVM is called.

pyspark's own error is ``'NoneType' object has no attribute 'sc'``, which says neither what was stopped
nor what to do.
"""

from typing import Any

from sparknet.errors import ClusterError

__all__ = ["check_packed", "check_rows", "is_stopped", "running_context"]

_RUNNING = "in a session that runs, as start_spark() gives one"


def is_stopped(context: Any) -> bool:
    """Say whether a SparkContext was stopped: by its own ``stop()``, by its JVM, or because the JVM has ended."""
    if context._jsc is None:
        return True
    for _ in range(2):  # after Ctrl-C py4j may fail once, see :mod:`sparknet.clusters.spark.jobs.connections`
        try:
            return bool(context._jsc.sc().isStopped())
        except Exception:  # noqa: BLE001, S112 - py4j has many for a JVM that does not answer
            continue
    return True


def running_context(spark: Any, caller: str) -> Any:
    """Return the SparkContext of a SparkSession or SparkContext.

    Raises
    ------
    ClusterError
        It is neither, it is a Connect session, or it was stopped; the message begins with ``caller``.
    """
    context = getattr(spark, "sparkContext", spark)
    if not hasattr(context, "broadcast"):
        msg = (
            f"{caller}: got {type(spark).__name__}, expected a SparkSession or SparkContext "
            "(a Spark Connect session has no executors that run our tasks)"
        )
        raise ClusterError(msg)
    if is_stopped(context):
        msg = f"{caller}: this Spark session was stopped: take one that runs, as start_spark() gives"
        raise ClusterError(msg)
    return context


def check_rows(rows: Any, caller: str) -> None:
    """Raise a ClusterError if ``rows`` is an RDD or a DataFrame whose Spark session was stopped."""
    session = getattr(rows, "sparkSession", None)  # of a DataFrame, which may have a column called "context"
    context = getattr(session, "sparkContext", None) if session is not None else getattr(rows, "context", None)
    if hasattr(context, "broadcast") and is_stopped(context):
        msg = f"{caller}: the {type(rows).__name__} cannot be computed, its Spark session was stopped: make it again {_RUNNING}"
        raise ClusterError(msg)


def check_packed(batches: Any, caller: str) -> None:
    """Raise a ClusterError if the Spark session of a packed data set's RDD was stopped."""
    if is_stopped(batches.context):
        msg = (
            f"{caller}: the packed data set is gone, its Spark session was stopped: pack again, or load_packed() what "
            f"was saved, {_RUNNING}"
        )
        raise ClusterError(msg)
