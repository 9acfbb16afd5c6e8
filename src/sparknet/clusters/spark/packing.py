"""pack: any RDD or DataFrame of rows into minibatches in our wire format, spread evenly over shards.

Rows are converted once, where they are, into chunks of records; from then on only bytes move. Once
the chunks are counted, every example's place is known. The rules of that are those of
:mod:`sparknet.data.layout`, so the same rows give the same minibatches with and without Spark.
"""

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from sparknet.clusters.spark import saved
from sparknet.clusters.spark.arrow import arrow_is_installed, need_arrow
from sparknet.clusters.spark.chunks import Chunk, Rows, Source, error_of
from sparknet.clusters.spark.exchange import as_records
from sparknet.clusters.spark.frames import is_frame, selected
from sparknet.clusters.spark.gather import Gathered, gathered, name_of
from sparknet.clusters.spark.jobs import PerPartition, collected, release, run_job
from sparknet.clusters.spark.packed import PackedDataset, first_of, kept_of, packed_from
from sparknet.clusters.spark.records import Records
from sparknet.clusters.spark.sessions import check_rows, running_context
from sparknet.data.dataset import Dataset
from sparknet.data.encoded import Decoders, with_decoders
from sparknet.data.fields import Columns, Field, check_fields
from sparknet.data.layout import Layout, check_packing, packed_positions
from sparknet.data.preprocess import Preprocessor
from sparknet.data.preprocess.base import check_preprocessor
from sparknet.data.ragged import Even, Ragged, check_ragged
from sparknet.errors import ClusterError, DataError, SparknetError
from sparknet.ndarray import NDArray
from sparknet.nets.base import NetFactory
from sparknet.training import check_fit

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["PackedDataset", "load_packed", "pack"]


def pack(
    rows: Any,
    fields: Sequence[Field],
    batch_size: int,
    preprocessor: Preprocessor | None = None,
    *,
    columns: Columns | None = None,
    decoder: Decoders | None = None,
    shards: int | None = None,
    shuffle: int | None = None,
    storage: Any = None,
    factory: NetFactory | None = None,
    id_column: str | None = None,
    arrow: bool | None = None,
    ragged: Ragged | None = None,
    padding: Mapping[str, float] | None = None,
) -> PackedDataset:
    """Pack an RDD or DataFrame into minibatches, spread evenly over ``shards`` partitions.

    Parameters
    ----------
    rows
        A DataFrame with a column for each field (numbers, booleans, arrays of them, vectors, binary),
        or an RDD of Rows, mappings, records of structured arrays, tuples in the order of ``fields``,
        or, for one field, its values. Partitions may be unequal or empty. It is evaluated once (of many partitions, three before),
        and a partition that is lost on the cluster once more: it must give the same rows in the same order then.
    fields
        Name, shape and dtype of each input, as it is to be stored.
    batch_size
        Examples in a minibatch; only the last one of the whole set may be short.
    preprocessor
        Applied on the worker each time a minibatch is used.
    columns
        Field name -> column, where they differ: ``{"data": "pixels"}``. Of a list of columns the values are joined, as for
        :func:`sparknet.data.pack`: ``{"data": ["age", "tenure"]}`` needs no ``VectorAssembler``.
    decoder
        Of encoded images, as for :func:`sparknet.data.pack`; on a DataFrame the column is binary, or a struct.
    shards
        Usually the number of workers; default: the number of partitions of ``rows``, but not more
        than there are minibatches. Where ``rows`` has many partitions and they are small, neighbours are taken together
        first, as the log says: to four for each core of Spark, or ``shards`` if that is more.
    shuffle
        Seed of a permutation of all examples; None keeps their order.
    storage
        A ``pyspark.StorageLevel`` to persist with; default ``MEMORY_AND_DISK``.
    factory
        The net's: fields, preprocessor and net are tried out together on zeros, before any job.
    id_column
        A column whose value is named with a row that cannot be packed.
    arrow
        Whether a DataFrame comes as Arrow batches, without a Python object for each value; default: if pyarrow is
        installed (``pip install 'sparknet[arrow]'``). The executors need it too.
    ragged, padding
        What becomes of a short last minibatch, as for :func:`sparknet.data.pack`.

    Returns
    -------
    PackedDataset
        Persisted on the executors; :meth:`PackedDataset.unpersist` releases it.

    Raises
    ------
    DataError
        Before any job: a column is missing, there twice, or of a type that no value of the field has.
        After the rows were read: a value does not fit (``partition`` and ``row`` say which), or there is no row.
    ClusterError
        A partition was lost, and gave other rows when it was computed again.
    MissingDependency
        ``arrow=True`` where pyarrow is not installed.
    """
    check_packing(batch_size, shuffle, shards)
    fields = check_fields(fields, columns)
    check_preprocessor(preprocessor, fields)
    check_ragged(ragged, padding, [field.name for field in fields])
    if factory is not None:
        _check_net(factory, fields, batch_size, preprocessor)
    storage = _storage_level(storage)
    source = _rows(rows, Source(Records(with_decoders(fields, decoder, columns)), columns or {}, id_column), arrow)
    taken = gathered(source.rdd, source.chunks, shards or 1)
    chunks, starts, checksums = _counted(source, taken, storage)
    try:
        total = kept_of(starts[-1], Even(batch_size, ragged or "reshape"), "pack()")
        layout = Layout(total, batch_size, shards or min(len(starts) - 1, -(-total // batch_size)))
        placed = chunks.mapPartitionsWithIndex(
            partial(_placed, starts=starts, checksums=checksums, bounds=taken.bounds)
        )
        moved = partial(_moved, starts[-1], shuffle, total)
        packed = packed_from(placed, moved, fields, layout, preprocessor)
        packed = replace(packed, ragged=ragged, padding=padding)
        return packed._persisted(storage)  # computed now, while the chunks are there
    finally:
        release(chunks)


def load_packed(
    spark: Any,
    path: str | os.PathLike[str],
    preprocessor: Preprocessor | None = None,
    *,
    shards: int | None = None,
    storage: Any = None,
    ragged: Ragged | None = None,
    padding: Mapping[str, float] | None = None,
) -> PackedDataset:
    """Load what :meth:`PackedDataset.save` wrote: the same minibatches, persisted on the executors.

    Parameters
    ----------
    spark
        A SparkSession or SparkContext.
    path
        The directory.
    preprocessor, storage
        As for :func:`pack`.
    shards
        Default: as many as it was saved with.
    ragged, padding
        As for :func:`pack`; default: those that it was saved with.

    Raises
    ------
    DataError
        There is no whole data set under ``path``.
    ClusterError
        Minibatches are missing or damaged.
    """
    batches, fields, layout, choice = saved.read(running_context(spark, "load_packed()"), os.fspath(path).rstrip("/"))
    check_packing(layout.batch_size, shards=shards)
    check_preprocessor(preprocessor, fields)
    check_ragged(ragged, padding, [field.name for field in fields])
    choice = choice if ragged is None else {"ragged": ragged, "padding": padding}
    total = kept_of(layout.total, Even(layout.batch_size, choice["ragged"] or "reshape"), "load_packed()")
    rows = as_records(batches, Records(fields), layout.batch_size)
    moved = partial(_moved, layout.total, None, total)
    layout = replace(layout, total=total, shards=shards or layout.shards)
    packed = packed_from(rows, moved, fields, layout, preprocessor)
    return replace(packed, **choice)._persisted(_storage_level(storage))


def _check_net(
    factory: NetFactory, fields: tuple[Field, ...], batch_size: int, preprocessor: Preprocessor | None
) -> None:
    zeros = {f.name: NDArray(np.zeros((batch_size, *f.shape), f.dtype)) for f in fields}
    check_fit(factory, Dataset([zeros], fields, batch_size, preprocessor), 0, "a minibatch of zeros")


def _storage_level(storage: Any) -> Any:
    from pyspark import StorageLevel

    if storage is None:
        return StorageLevel.MEMORY_AND_DISK
    if not isinstance(storage, StorageLevel) or not (storage.useMemory or storage.useDisk):
        msg = f"storage: got {storage!s}, expected a pyspark.StorageLevel that stores, such as StorageLevel.DISK_ONLY"
        raise DataError(msg)
    return storage


def _rows(rows: Any, source: Source, arrow: bool | None) -> Rows:
    if arrow:
        need_arrow()
    check_rows(rows, "pack()")
    if is_frame(rows):
        frame = selected(rows, source.records.fields, source.columns, source.id_column)
        return source.of_arrow(frame) if arrow or (arrow is None and arrow_is_installed()) else source.of_frame(frame)
    if hasattr(rows, "mapPartitionsWithIndex"):
        return source.of_rdd(rows)
    msg = f"pack(): got {type(rows).__name__}, expected an RDD or a DataFrame"
    raise DataError(msg)


def _counted(source: Rows, taken: Gathered, storage: Any) -> tuple["RDD[Chunk]", list[int], list[int]]:
    """Return the chunks, computed and persisted; where each partition's rows begin, and their number; its checksums."""
    chunks = taken.rdd.mapPartitionsWithIndex(source.chunks)
    counts = chunks.context.accumulator({}, PerPartition())
    counted = chunks.mapPartitionsWithIndex(partial(_counting, counts=counts)).persist(storage)
    try:
        run_job(counted._jrdd.count)  # in the JVM: nothing is piped to Python only to be counted
        _check_counts(counts.value, source, taken)
    except BaseException:
        release(counted)
        raise
    rows, checksums = zip(*(counts.value[k] for k in range(counted.getNumPartitions())), strict=True)
    return counted, np.cumsum([0, *rows]).tolist(), list(checksums)


def _check_counts(counts: Mapping[int, Any], source: Rows, taken: Gathered) -> None:
    """Raise the first partition's error, if there is one, and a DataError if there are no rows."""
    rows = [count for _, (count, _) in sorted(counts.items())]
    for partition, count in enumerate(rows):
        if isinstance(count, SparknetError):
            _raise_placed(count, source, taken.sources(partition))
    if not sum(rows):
        msg = "pack(): got no rows, expected at least one"
        raise DataError(msg)


def _raise_placed(error: SparknetError, source: Rows, partitions: range) -> NoReturn:
    """Raise the error of some partitions with its place in the one that it comes from, which is computed again for that."""
    if len(partitions) > 1:
        errors = source.rdd.mapPartitionsWithIndex(source.chunks).map(error_of).filter(bool)
        collected(errors, list(partitions))  # raises the first
        # The source is another each time: its own place is not known any more.
        raise error.placed(f"{name_of(partitions)}, taken together", instead=True) from error
    raise error


# ---- in the Python workers
def _moved(count: int, shuffle: int | None, kept: int) -> Any:
    """Return the new position of each of ``count`` examples; -1 for all but the first ``kept`` in their new order."""
    return first_of(packed_positions(count, shuffle), kept)


def _counting(partition: int, chunks: Iterable[Chunk], *, counts: Any) -> Iterator[Chunk]:
    total: Any = 0
    checksum = 0
    for chunk in chunks:
        total, checksum = error_of(chunk) or total + chunk[0], zlib.crc32(chunk[1], checksum)
        yield chunk
    counts.add({partition: (total, checksum)})


def _placed(
    partition: int,
    chunks: Iterable[Chunk],
    *,
    starts: Sequence[int],
    checksums: Sequence[int],
    bounds: Sequence[int],
) -> Iterator[tuple[int, bytes]]:
    start, checksum = starts[partition], 0
    for chunk in chunks:
        if error := error_of(chunk):
            raise error
        count, records = chunk
        yield start, records
        start, checksum = start + count, zlib.crc32(records, checksum)
    # Examples go by their numbers: rows in another order would be lost, and others be there twice.
    if (start, checksum) != (starts[partition + 1], checksums[partition]):
        msg = (
            f"{name_of(range(bounds[partition], bounds[partition + 1]))} gave other rows when it was computed again, or the same in another order; "
            "persist or save the source"
        )
        raise ClusterError(msg)
