"""Errors of sparknet as results of tasks. Spark would run a task that raises them again, with the same result."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from sparknet.errors import MissingDependency, SparknetError

__all__ = ["IMPORT_FIX", "as_value", "as_values", "raise_error", "with_fix"]

T = TypeVar("T")

IMPORT_FIX = (
    "; the executors need what the driver imports: install it there (the Python is PYSPARK_PYTHON), "
    "or send it with spark-submit --py-files"
)


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
    if isinstance(result, MissingDependency):
        raise with_fix(result) from result
    if isinstance(result, SparknetError):
        raise result


def with_fix(error: SparknetError) -> SparknetError:
    """Return an error of a task; that for a missing package says how to install it on the executors."""
    return type(error)(f"{error}{IMPORT_FIX}", name=error.name) if isinstance(error, MissingDependency) else error
