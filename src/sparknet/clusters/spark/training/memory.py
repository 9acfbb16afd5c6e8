"""What memory a round needs of Spark where its broadcast and results carry the weights: said before the first one.

Spark says it when it is too late: a job that exceeds ``spark.driver.maxResultSize`` is ended after all of its work, an executor dies with
status 52, and a driver without memory for the results waits for ever.
"""

from typing import Any

from sparknet.clusters.spark.training.reaching import is_local
from sparknet.errors import ClusterError

__all__ = ["SparkMemory", "memory_of"]

# Measured with weights of 244 MB: two results take a driver of 2 GB, where one of 1 GB stands still; four take 3 GB.
_OF_RESULTS = 3
# An executor has the broadcast, and of each result bytes of Python, of the JVM, and of what it sends.
_OF_A_TASK = 4


class SparkMemory:
    """The memory settings of a session, in bytes.

    Parameters
    ----------
    results
        ``spark.driver.maxResultSize``; 0: no limit.
    driver
        Heap of the driver's JVM.
    executor
        ``spark.executor.memory``; None: the executor is in the driver's JVM.
    tasks
        That run at the same time in an executor.

    Examples
    --------
    >>> SparkMemory(results=1 << 30, driver=2 << 30, executor=1 << 30, tasks=1).advice(
    ...     workers=2, sent=244 << 20, result=244 << 20
    ... )
    ['an executor needs about 1.2 GiB for weights of 244.0 MiB, and spark.executor.memory is 1.0 GiB: raise it']
    """

    def __init__(self, *, results: int, driver: int, executor: int | None, tasks: int) -> None:
        self._results, self._driver, self._executor, self._tasks = results, driver, executor, tasks

    def advice(self, workers: int, sent: int, result: int) -> list[str]:
        """Return what may be too little for a round, with the setting to change.

        Parameters
        ----------
        workers
            How many results come back.
        sent, result
            Bytes that go out to each worker, and that come back from each.

        Raises
        ------
        ClusterError
            A round certainly fails.
        """
        total = workers * result
        if 0 < self._results < total:
            msg = (
                f"a round brings {workers} results of {_in_words(result)} to the driver, and spark.driver.maxResultSize is "
                f"{_in_words(self._results)}: give Spark {_in_words(2 * total)} or 0 (no limit) when it is started; "
                "transport='direct' needs none of it"
            )
            raise ClusterError(msg)
        driver, executor = _OF_RESULTS * total, sent + self._tasks * _OF_A_TASK * result
        found = []
        if self._executor is None:
            driver += executor
        elif self._executor < executor:
            found.append(
                f"an executor needs about {_in_words(executor)} for weights of {_in_words(result)}, and spark.executor.memory is "
                f"{_in_words(self._executor)}: raise it"
            )
        if self._driver < driver:
            found.append(
                f"the driver needs about {_in_words(driver)} for {workers} results of {_in_words(result)}, and spark.driver.memory "
                f"gives it {_in_words(self._driver)}: raise it, without memory it may wait for ever"
            )
        return found


def memory_of(context: Any) -> SparkMemory:
    """Return the memory settings of a SparkContext."""
    conf, jvm = context._conf, context._jvm
    parse = jvm.org.apache.spark.network.util.JavaUtils
    executors = max(1, len(context._jsc.sc().statusTracker().getExecutorInfos()) - 1)
    cores = int(conf.get("spark.executor.cores", "0")) or max(1, context.defaultParallelism // executors)
    return SparkMemory(
        results=parse.byteStringAsBytes(conf.get("spark.driver.maxResultSize", "1g")),
        driver=jvm.java.lang.Runtime.getRuntime().maxMemory(),
        executor=None if is_local(context) else parse.byteStringAsMb(conf.get("spark.executor.memory", "1g")) << 20,
        tasks=max(
            1, (context.defaultParallelism if is_local(context) else cores) // int(conf.get("spark.task.cpus", "1"))
        ),
    )


def _in_words(count: int) -> str:
    if count < 1 << 20:
        return f"{count:,} bytes"
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.1f} MiB"
