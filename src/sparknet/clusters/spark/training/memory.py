"""What memory a round needs of Spark where its broadcast and results carry the weights: said before the first one.

Spark says it when it is too late: a job that exceeds ``spark.driver.maxResultSize`` is ended after all of its work, an executor dies with
status 52, and a driver without memory for the results waits for ever.
"""

from typing import Any

from sparknet.clusters.spark.training.addresses import is_local
from sparknet.errors import ClusterError

__all__ = ["SparkMemory", "advice_before", "memory_lacking", "memory_of"]

# Measured with weights of 244 MB: two results take a driver of 2 GB, where one of 1 GB stands still; four take 3 GB.
_OF_RESULTS = 3
# Adam keeps two arrays for each array of weights; no common solver keeps more.
_HISTORY = 2
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


def _history_to_come(weights: int, state: int) -> int:
    """Return how many bytes of history a solver may make with its first step; 0 if it has some already.

    Solvers of torch begin without. Those of Caffe, and of :class:`~sparknet.nets.MLP` with momentum, begin with zeros.

    Parameters
    ----------
    weights, state
        Bytes of each, before the first round.
    """
    return 0 if 2 * state > weights else _HISTORY * weights


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


def advice_before(context: Any, workers: int, sent: int, weights: int, state: int) -> list[str]:
    """Return what may be too little for the first round, as :meth:`SparkMemory.advice` has it; of a history to come only that it may be.

    Parameters
    ----------
    context
        The SparkContext.
    workers, sent
        As for :meth:`SparkMemory.advice`.
    weights, state
        Bytes of each that a worker gets.

    Raises
    ------
    ClusterError
        The round certainly fails.
    """
    memory = memory_of(context)
    found = memory.advice(workers, sent, weights + state)
    if found or not (history := _history_to_come(weights, state)):
        return found
    lines = _lacking(memory, workers, sent, weights + state + history)
    return [f"{line}. This holds if the solver makes as much history as Adam with its first step" for line in lines]


def memory_lacking(context: Any, workers: int, sent: int, result: int) -> str:
    """Return what a SparkContext has too little of for a round, in one line; "" if there is nothing."""
    return "; ".join(_lacking(memory_of(context), workers, sent, result))


def _lacking(memory: SparkMemory, workers: int, sent: int, result: int) -> list[str]:
    try:
        return memory.advice(workers, sent, result)
    except ClusterError as error:
        return [str(error)]


def _in_words(count: int) -> str:
    if count < 1 << 20:
        return f"{count:,} bytes"
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.1f} MiB"
