"""Many small partitions taken as few: a task of Spark takes tens of milliseconds, however few its rows.

Neighbours are put together by Spark's ``coalesce``: no shuffle, and the order stays. Where Spark knows that
partitions lie on some machine (a cached or shuffled source, HDFS), it puts together what lies there instead of neighbours;
then they are left as they are, and the log says so.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from sparknet.clusters.spark.jobs import collected

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["Gathered", "gathered", "name_of"]

_LOG = logging.getLogger(__name__)
_TASKS = 4  # for each core, so that unequal ones even out
_WORTH = 4  # partitions in a task, from which on it is worth looking at some of them
_SMALL = 64 << 10  # bytes of records in a partition

Chunks = Callable[[int, Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True)
class Gathered:
    """An RDD, and which partitions of its source are in each of its own: ``bounds[k]`` to ``bounds[k + 1] - 1``."""

    rdd: "RDD[Any]"
    bounds: Sequence[int]

    def sources(self, partition: int) -> range:
        """Return the numbers of the source's partitions in this one."""
        return range(self.bounds[partition], self.bounds[partition + 1])


def name_of(sources: range) -> str:
    """Return partitions of the source as messages name them.

    Examples
    --------
    >>> name_of(range(3, 4)), name_of(range(3, 6))
    ('partition 3', 'partitions 3 to 5')
    """
    return f"partition {sources[0]}" if len(sources) == 1 else f"partitions {sources[0]} to {sources[-1]}"


def _single(rdd: "RDD[Any]") -> Gathered:
    """Return the RDD as it is."""
    return Gathered(rdd, range(rdd.getNumPartitions() + 1))


def gathered(rdd: "RDD[Any]", chunks: Chunks, fewest: int) -> Gathered:
    """Return the RDD with fewer partitions, at least ``fewest``, where it has many and they are small; else as it is.

    Parameters
    ----------
    rdd
        The source. Three of its partitions are looked at, if it has many.
    chunks
        (partition, its elements) -> (rows, bytes); how much is in a partition.
    fewest
        Partitions that are needed; Spark's cores may need more.
    """
    many, few = rdd.getNumPartitions(), max(fewest, _TASKS * rdd.context.defaultParallelism)
    if many < _WORTH * few or not _are_small(rdd, chunks, [0, many // 2, many - 1]):
        return _single(rdd)
    together = rdd.coalesce(few)
    bounds = _bounds(together, many)
    if bounds is None:
        fix = "coalesce() the rows first; Spark then chooses their order"
        _LOG.warning("pack(): the %d partitions hold few rows each, which takes long: %s", many, fix)
        return _single(rdd)
    _LOG.warning("pack(): the %d partitions hold few rows each and are taken as %d, in their order", many, few)
    return Gathered(together, bounds)


def _are_small(rdd: "RDD[Any]", chunks: Chunks, some: list[int]) -> bool:
    sizes = collected(rdd.mapPartitionsWithIndex(chunks).mapPartitions(_size), some)
    return bool(max(sizes) <= _SMALL)


def _size(chunks: Iterable[tuple[int, bytes]]) -> Iterator[int]:
    yield sum(len(records) for _, records in islice(chunks, 2))  # a second chunk follows a full one, which is large


def _bounds(together: "RDD[Any]", many: int) -> list[int] | None:
    """Return where each partition's sources begin; None if they are not neighbours: Spark puts together what is near."""
    tell = together.context._jvm.java.util.Arrays.toString
    parts = [
        [int(number) for number in tell(part.parentsIndices()).strip("[]").split(", ")]
        for part in together._jrdd.rdd().partitions()
    ]
    if list(chain.from_iterable(parts)) != list(range(many)):
        return None
    return [*(part[0] for part in parts), many]
