"""Errors of sparknet as results of tasks. Spark would run a task that raises them again, with the same result."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from sparknet.clusters.imports import executors_fix, helped
from sparknet.errors import SparknetError

__all__ = ["as_value", "as_values", "raise_error", "with_fix"]

T = TypeVar("T")


# ---- in the Python workers
def as_value(work: Callable[[], T]) -> T | SparknetError:
    """Return ``work()``, or the error that it raises."""
    try:
        return work()
    except SparknetError as error:
        return error


def as_values(results: Iterable[T]) -> Iterator[T | SparknetError]:
    """Yield the results. An error that they raise is yielded too, as the last one."""
    try:
        yield from results
    except SparknetError as error:
        yield error


# ---- on the driver
def raise_error(result: Any) -> None:
    """Raise the result of a task if it is an error."""
    if not isinstance(result, SparknetError):
        return
    fixed = with_fix(result)
    if fixed is result:
        raise result
    raise fixed from result


def with_fix(error: SparknetError) -> SparknetError:
    """Return an error of a task; one of a module that is missing says how to bring it to the executors."""
    return helped(error, executors_fix)
