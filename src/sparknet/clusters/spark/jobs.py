"""Running Spark jobs: what fails in them arrives as one clear exception.

The exceptions of py4j and pyspark are pages of Java with, somewhere inside, what matters.
"""

import re
from collections.abc import Callable
from typing import Any

from sparknet.errors import ClusterError, SparknetError

__all__ = ["collected", "run_job", "telling_line"]

# A Python traceback inside a Java one: indented lines, ended by the exception itself.
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)+(\S.*)")
_LONGEST = 300


def run_job(action: Callable[[], Any]) -> Any:
    """Return ``action()``, the action of an RDD; a failed job is a ClusterError that names what failed.

    The Python worker's traceback, if there is one, is the exception's ``traceback``.
    """
    try:
        return action()
    except Exception as error:
        found = _TRACEBACK.search(str(error))
        line = found[1][:_LONGEST] if found else telling_line(error)
        if "ModuleNotFoundError" in line:
            line += (
                "; the executors need what the driver imports: install it there (the Python is PYSPARK_PYTHON), "
                "or send it with spark-submit --py-files"
            )
        msg = f"the job failed on the cluster: {line}"
        raise ClusterError(msg, traceback=found[0] if found else "") from error


def collected(rdd: Any) -> list[Any]:
    """Return all elements; an error that a task reports as a value is raised here as what it was."""
    replies: list[Any] = run_job(rdd.collect)
    for reply in replies:
        if isinstance(reply, SparknetError):
            raise reply
    return replies


def telling_line(error: BaseException) -> str:
    r"""Return the line that names the exception, cut to a readable length.

    Examples
    --------
    >>> telling_line(RuntimeError("An error occurred\n: java.net.BindException: Address in use\n  at x"))
    'java.net.BindException: Address in use'
    """
    lines = [line.strip(": \t") for line in str(error).splitlines() if line.strip(": \t")]
    telling = [line for line in lines if "Exception" in line or "Error" in line]
    return (telling or lines or [type(error).__name__])[0][:_LONGEST]
