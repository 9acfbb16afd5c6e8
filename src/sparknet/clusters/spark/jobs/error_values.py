"""Errors of sparknet as values among the results of tasks: as exceptions, Spark would try the tasks again, in vain."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from sparknet.errors import MissingDependency, SparknetError

__all__ = ["IMPORT_FIX", "as_value", "as_values", "raise_error"]

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
    """Yield the results, and an error that ends them as the last one."""
    try:
        yield from results
    except SparknetError as error:
        yield error


# ---- on the driver
def raise_error(result: Any) -> None:
    """Raise the result of a task if it is an error; of a package that is missing there, the message says how it gets there."""
    if isinstance(result, MissingDependency):
        raise type(result)(f"{result}{IMPORT_FIX}", name=result.name) from result
    if isinstance(result, SparknetError):
        raise result
