"""The sum of what a function computes from the minibatches of each shard: one job, which adds up in a tree."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sparknet.clusters.spark.jobs.error_values import as_value, raise_error
from sparknet.clusters.spark.jobs.running import pickled, run_job
from sparknet.clusters.spark.jobs.stacks import observed
from sparknet.data.shards import calling
from sparknet.data.sums import added, check_summable
from sparknet.errors import SparknetError, located
from sparknet.ndarray import NDArray
from sparknet.serialization import loads

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["tree_sum"]

Part = Callable[[Iterable[Mapping[str, NDArray]]], Any]


def tree_sum(batches: "RDD[tuple[int, bytes]]", part: Part) -> Any:
    """Return the sum of ``part(minibatches)`` over the partitions of (minibatch number, message).

    Raises
    ------
    SparknetError
        ``part`` raised it, or returned a value that cannot be added. The message begins with the shard.
    """
    pickled("summed(): the function", part)
    total = run_job(lambda: batches.mapPartitionsWithIndex(partial(_of_shard, part=part)).treeReduce(_merged))
    raise_error(total)
    return total


# ---- in the Python workers
def _of_shard(shard: int, messages: Iterable[tuple[int, bytes]], *, part: Part) -> Iterator[Any]:
    yield as_value(partial(_part_of_shard, shard, messages, part))


def _part_of_shard(shard: int, messages: Iterable[tuple[int, bytes]], part: Part) -> Any:
    with calling(shard):
        total = part(loads(message) for _, message in observed(messages, "summed()", shard))
        return check_summable(total, "summed(): what the function returned")


def _merged(left: Any, right: Any) -> Any:
    """Return the sum of both; if one of them is an error, that error."""
    for part in (left, right):
        if isinstance(part, SparknetError):
            return part
    return as_value(partial(_added, left, right))


def _added(left: Any, right: Any) -> Any:
    with located("summed()"):
        return added(left, right)
