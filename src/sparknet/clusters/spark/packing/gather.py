"""Many small partitions are joined to a few: a Spark task takes tens of milliseconds, however few rows it has.

Spark's ``coalesce`` joins partitions without a shuffle. It joins neighbours, or partitions on one machine if the source is cached,
shuffled or in HDFS. So that the order can be restored, each piece of a partition gets a number first. The JVM gives the numbers,
because a Python function would be started once for each partition.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any

from sparknet.clusters.spark.jobs.running import collected, run_job
from sparknet.clusters.spark.packing.chunks import Chunk, Rows

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["chunks_of"]

_LOG = logging.getLogger(__name__)
_TASKS = 4  # for each core, so that unequal ones even out
_WORTH = 4  # with so many partitions to a task it is worth looking at some of them
_SMALL = 64 << 10  # bytes of records in a partition


def chunks_of(source: Rows, fewest: int) -> "RDD[Chunk]":
    """Return the chunks. If the rows have many small partitions, the chunks have fewer, but at least ``fewest``.

    If there are many partitions, three of them are computed to see their size. The chunks of a partition stay together and
    in order. There may be more than ``fewest`` partitions, so that all cores of Spark have work.
    """
    rdd = source.rdd
    many, few = rdd.getNumPartitions(), max(fewest, _TASKS * rdd.context.defaultParallelism)
    if many < _WORTH * few or not _are_small(source, [0, many // 2, many - 1]):
        return rdd.mapPartitionsWithIndex(source.chunks)
    own = "; the Python functions of an RDD still start once for each: coalesce() before them" * _has_python(rdd)
    _LOG.warning("pack(): the %d partitions hold few rows each and are taken as %d, in their order%s", many, few, own)
    return _coalesced(source, few)


def _are_small(source: Rows, some: list[int]) -> bool:
    sizes = collected(source.rdd.mapPartitionsWithIndex(source.chunks).mapPartitions(_size), some)
    return bool(max(sizes) <= _SMALL)


def _size(chunks: Iterable[Chunk]) -> Iterator[int]:
    first = islice(chunks, 2)  # a second chunk follows a full one, which is large
    yield sum(len(records) for _, _, records, _ in first)


def _has_python(rdd: "RDD[Any]") -> bool:
    from pyspark.core.rdd import PipelinedRDD

    return isinstance(rdd, PipelinedRDD) and not rdd.is_cached


def _coalesced(source: Rows, few: int) -> "RDD[Chunk]":
    from pyspark import RDD
    from pyspark.serializers import AutoBatchedSerializer, CPickleSerializer

    rdd, items = _pieces(source.rdd)
    many, context = rdd.getNumPartitions(), rdd.context
    # The JVM gives piece i of partition k the number i * many + k, without a job.
    pairs = rdd._jrdd.zipWithUniqueId().coalesce(few).rdd()
    pickled = run_job(lambda: context._jvm.SerDeUtil.pairRDDToPython(pairs, 0))  # looks at the first pair
    numbered = RDD(pickled.toJavaRDD(), context, AutoBatchedSerializer(CPickleSerializer()))
    return numbered.mapPartitions(partial(_chunks, many=many, items=items, chunks=source.chunks))


def _pieces(rdd: "RDD[Any]") -> tuple["RDD[Any]", Callable[[bytes], Iterable[Any]]]:
    """Return the RDD in a form whose pieces are bytes in Spark's JVM, and the function that makes the elements of a piece."""
    from pyspark.serializers import AutoBatchedSerializer, BatchedSerializer, NoOpSerializer

    if isinstance(rdd._jrdd_deserializer, NoOpSerializer):
        return rdd, _itself
    if type(rdd._jrdd_deserializer) not in (AutoBatchedSerializer, BatchedSerializer):  # pairs, for example
        rdd = rdd.map(_same)
    return rdd, rdd._jrdd_deserializer.serializer.loads


# ---- in the Python workers
def _same(element: Any) -> Any:
    return element


def _itself(piece: bytes) -> Iterable[bytes]:
    return [bytes(piece)]


def _chunks(
    pairs: Iterable[tuple[bytes, int]],
    *,
    many: int,
    items: Callable[[bytes], Iterable[Any]],
    chunks: Callable[[int, Iterable[Any]], Iterator[Chunk]],
) -> Iterator[Chunk]:
    for partition, ours in groupby(pairs, lambda pair: pair[1] % many):
        yield from chunks(partition, chain.from_iterable(items(piece) for piece, _ in ours))
