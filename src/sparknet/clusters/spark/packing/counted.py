"""Counting of chunks, so that the place of every row is known: one job computes and keeps them, another reads them.

A partition here is one of the source. A task may have several of them.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sparknet.clusters.spark.jobs.error_values import raise_error
from sparknet.clusters.spark.jobs.local_files import restore_directories
from sparknet.clusters.spark.jobs.running import PerPartition, release, run_job
from sparknet.clusters.spark.packing.chunks import Chunk, error_of
from sparknet.data.nonfinite import NonfiniteValues, merged, warn_of_nonfinite
from sparknet.errors import ClusterError, DataError

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["Count", "counted", "placed"]

_FINITE = "leave such rows out, or fill them, before they are packed (na.drop() and fillna() take NaN, not infinities)"


class Count(NamedTuple):
    """What was counted in a partition of the source.

    The task that has it, the number of rows (or the error), their checksum, and field -> values that are not finite.
    """

    task: int
    rows: Any = 0
    checksum: int = 0
    nonfinite: Mapping[str, NonfiniteValues] = {}

    def with_chunk(self, chunk: Chunk) -> "Count":
        """Return the count with another chunk of the partition."""
        _, rows, records, found = chunk
        return self._replace(
            rows=error_of(chunk) or self.rows + rows,
            checksum=zlib.crc32(records, self.checksum),
            nonfinite=merged([self.nonfinite, found]),
        )


def counted(chunks: "RDD[Chunk]", storage: Any) -> tuple["RDD[Chunk]", dict[int, Count]]:
    """Return the chunks, which are computed and persisted, and the count of each partition of the source that has rows.

    Raises
    ------
    DataError
        A row does not fit (the message names the first one), or there is no row.
    """
    counts = chunks.context.accumulator({}, PerPartition())
    kept = chunks.mapPartitionsWithIndex(partial(_counting, counts=counts)).persist(storage)
    try:
        run_job(kept._jrdd.count)  # in the JVM, so that the chunks are not piped to Python to be counted
        _check_counts(counts.value)
    except BaseException:
        release(kept)
        raise
    return kept, counts.value


def _check_counts(counts: Mapping[int, Count]) -> None:
    """Raise the error of the first partition that has one, or a DataError if there are no rows; warn of values that are not finite."""
    for _, count in sorted(counts.items()):
        raise_error(count.rows)
    if not counts:
        msg = "pack(): got no rows, expected at least one"
        raise DataError(msg)
    warn_of_nonfinite(merged(count.nonfinite for _, count in sorted(counts.items())), _FINITE)


# ---- in the Python workers
def _counting(task: int, chunks: Iterable[Chunk], *, counts: Any) -> Iterator[Chunk]:
    restore_directories()
    found = dict[int, Count]()
    for chunk in chunks:
        found[chunk[0]] = found.get(chunk[0], Count(task)).with_chunk(chunk)
        yield chunk
    counts.add(found)


def placed(
    task: int, chunks: Iterable[Chunk], *, starts: Sequence[int], counts: Mapping[int, Count]
) -> Iterator[tuple[int, bytes]]:
    """Yield the position of the first row of each chunk, and its records. ``starts`` has the position of each partition's first row.

    Raises
    ------
    ClusterError
        The chunks were lost, and a partition had others when it was computed again.
    """
    expected = {partition: count for partition, count in counts.items() if count.task == task}
    found = {partition: Count(task) for partition in expected}
    for chunk in chunks:
        if error := error_of(chunk):
            raise error
        partition, _, records, _ = chunk
        before = found.get(partition, Count(task))
        yield starts[partition] + before.rows, records
        found[partition] = before.with_chunk(chunk)
    # Examples are known by their numbers. With rows in another order some would be lost, and others be there twice.
    others = [partition for partition, count in found.items() if count != expected.get(partition)]
    if others:
        msg = (
            f"partition {min(others)} gave other rows when it was computed again, or the same in another order; "
            "persist or save the source"
        )
        raise ClusterError(msg)
