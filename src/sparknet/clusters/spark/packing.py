"""pack: any RDD or DataFrame of rows into minibatches in our wire format, spread evenly over shards.

Rows are converted once, where they are, into chunks of arrays; from then on only arrays move. Three
stages: rows -> chunks (counted), chunks -> pieces keyed by minibatch, pieces -> minibatches. The
position rules are those of :mod:`sparknet.data.dataset`, so the same rows give the same minibatches
with and without Spark.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from sparknet.clusters.spark.jobs import collected, run_job
from sparknet.data.dataset import Dataset, check_packing, packed_positions
from sparknet.data.fields import Field, batch_of_rows, rows_of_batch
from sparknet.data.preprocess import Preprocessor
from sparknet.errors import DataError, SparknetError
from sparknet.ndarray import NDArray
from sparknet.serialization import dumps, loads

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["PackedDataset", "pack"]

# Rows are converted in chunks of about this many bytes: large enough that a shuffled chunk does not
# fall apart into single rows, small enough for any Python worker.
_CHUNK_BYTES = 32 << 20
_ROWS_AT_A_TIME = 1000


@dataclass(frozen=True, eq=False)
class PackedDataset:
    """Minibatches on Spark: partition ``k`` holds the minibatches ``k, k + shards, ...`` as messages.

    Parameters
    ----------
    rdd
        Persisted RDD of (minibatch number, message of :func:`sparknet.dumps`).
    fields
        What is in a minibatch, as stored (before the preprocessor).
    batch_size
        Examples in every minibatch but the last.
    num_batches, num_examples
        Of the whole set.
    shards
        Number of partitions.
    preprocessor
        Applied when a minibatch is used.
    """

    rdd: "RDD[Any]"
    fields: tuple[Field, ...]
    batch_size: int
    num_batches: int
    num_examples: int
    shards: int
    preprocessor: Preprocessor | None = None

    def count(self) -> int:
        """Return the number of examples."""
        return self.num_examples

    def first_batch(self) -> Mapping[str, NDArray]:
        """Return the first minibatch, as stored; runs a small job."""
        return _decoded(run_job(self.rdd.first)[1])

    def reshard(self, shards: int) -> "PackedDataset":
        """Return the same minibatches over another number of shards; persisted, a copy on the cluster."""
        check_packing(self.batch_size, shards=shards)
        rdd = self.rdd.repartitionAndSortWithinPartitions(shards, _same).persist(self.rdd.getStorageLevel())
        return replace(self, rdd=rdd, shards=shards)

    def to_local(self) -> Dataset:
        """Return the whole set in the driver's memory, for ``LocalCluster``."""
        messages = dict(collected(self.rdd))
        batches = [_decoded(messages[i]) for i in range(self.num_batches)]
        return Dataset(batches, self.fields, self.batch_size, self.preprocessor)

    def unpersist(self) -> None:
        """Release the cluster's memory; the set must not be used any more."""
        self.rdd.unpersist()


def pack(
    rows: Any,
    fields: Sequence[Field],
    batch_size: int,
    preprocessor: Preprocessor | None = None,
    *,
    shards: int | None = None,
    shuffle: int | None = None,
) -> PackedDataset:
    """Pack an RDD or DataFrame into minibatches, spread evenly over ``shards`` partitions.

    Parameters
    ----------
    rows
        DataFrame with a column for each field (numbers, arrays, binary), or an RDD of Rows,
        mappings, or tuples in the order of ``fields``. It is evaluated once. Partitions may be
        unequal or empty.
    fields
        Name, shape and dtype of each input, as it is to be stored.
    batch_size
        Examples in a minibatch; only the last one of the whole set may be short, none is dropped.
    preprocessor
        Applied on the worker each time a minibatch is used.
    shards
        Usually the number of workers; default: the number of partitions of ``rows``, but not more
        than there are minibatches.
    shuffle
        Seed of a permutation of all examples; None keeps their order.

    Returns
    -------
    PackedDataset
        Persisted in memory and on disk of the executors; :meth:`PackedDataset.unpersist` releases it.

    Raises
    ------
    DataError
        A column is missing, a value does not fit its field, or there is no row.
    """
    check_packing(batch_size, shuffle, shards)
    fields = tuple(fields)
    if preprocessor is not None:
        preprocessor.fields(fields)
    rdd = _rows_rdd(rows, fields)
    storage = _storage_level()
    chunks = rdd.mapPartitionsWithIndex(partial(_chunks, fields=fields, batch_size=batch_size)).persist(storage)
    try:
        sizes = _chunk_sizes(chunks)
        total = sum(map(sum, sizes))
        num_batches = -(-total // batch_size)
        shards = min(rdd.getNumPartitions(), num_batches) if shards is None else shards
        starts = np.cumsum([0, *map(sum, sizes)]).tolist()
        split = partial(_pieces, starts=starts, total=total, batch_size=batch_size, shuffle=shuffle)
        pieces = chunks.mapPartitionsWithIndex(split)
        packed = pieces.repartitionAndSortWithinPartitions(shards, _same).mapPartitions(_assembled).persist(storage)
        run_job(packed.count)  # computed now, while the chunks are there
    finally:
        chunks.unpersist()
    return PackedDataset(packed, fields, batch_size, num_batches, total, shards, preprocessor)


def _storage_level() -> Any:
    from pyspark import StorageLevel

    return StorageLevel.MEMORY_AND_DISK


def _rows_rdd(rows: Any, fields: Sequence[Field]) -> "RDD[Any]":
    """Return the RDD of rows; from a DataFrame only the columns of the fields."""
    columns = getattr(rows, "columns", None)
    if columns is None:
        if hasattr(rows, "mapPartitionsWithIndex"):
            return rows
        msg = f"pack(): got {type(rows).__name__}, expected an RDD or a DataFrame"
        raise DataError(msg)
    missing = [f.name for f in fields if f.name not in columns]
    if missing:
        msg = f"pack(): the DataFrame has no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, columns))}"
        raise DataError(msg)
    return rows.select(*[f"`{f.name}`" for f in fields]).rdd


def _same(key: int) -> int:
    return key  # Spark takes it modulo the number of partitions


def _decoded(message: bytes) -> Mapping[str, NDArray]:
    return loads(message)  # type: ignore[no-any-return]


# ---- stage 1: rows -> (number of rows, message), or (0, error)
def _chunks(
    partition: int, rows: Iterable[Any], *, fields: Sequence[Field], batch_size: int
) -> Iterator[tuple[int, bytes | SparknetError]]:
    row_bytes = sum(int(np.prod(f.shape)) * np.dtype(f.dtype).itemsize for f in fields)
    length = max(batch_size, _CHUNK_BYTES // max(row_bytes, 1))
    try:
        for chunk in _joined(_converted(partition, rows, fields), length):
            yield rows_of_batch(chunk), dumps(chunk)
    except SparknetError as error:  # as a value: an exception would be tried four times, in vain
        yield 0, error


def _converted(partition: int, rows: Iterable[Any], fields: Sequence[Field]) -> Iterator[dict[str, NDArray]]:
    """Convert the rows, a few at a time: as Python objects they take many times the memory."""
    rows = iter(rows)
    done = 0
    while part := list(islice(rows, _ROWS_AT_A_TIME)):
        try:
            yield batch_of_rows(part, fields)
        except SparknetError as error:
            where = f"partition {partition}, rows {done} to {done + len(part) - 1}: {error}"
            raise type(error)(where) from error
        done += len(part)


def _joined(batches: Iterable[dict[str, NDArray]], length: int) -> Iterator[dict[str, NDArray]]:
    """Join batches until they have ``length`` rows."""
    waiting: list[dict[str, NDArray]] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(rows_of_batch, waiting)) >= length:
            yield _concatenated(waiting)
            waiting = []
    if waiting:
        yield _concatenated(waiting)


def _concatenated(batches: Sequence[dict[str, NDArray]]) -> dict[str, NDArray]:
    return {name: NDArray(np.concatenate([b[name].to_host() for b in batches])) for name in batches[0]}


def _chunk_sizes(chunks: "RDD[Any]") -> list[list[int]]:
    """Return for each partition the rows of its chunks."""
    sizes: list[list[int]] = collected(chunks.mapPartitions(_sizes_or_error))
    if not sum(map(sum, sizes)):
        msg = "pack(): got no rows, expected at least one"
        raise DataError(msg)
    return sizes


def _sizes_or_error(chunks: Iterable[tuple[int, Any]]) -> Iterator[Any]:
    chunks = [(count, payload if isinstance(payload, SparknetError) else None) for count, payload in chunks]
    error = next((error for _, error in chunks if error is not None), None)
    yield error or [count for count, _ in chunks]


# ---- stage 2: chunks -> (minibatch number, (places in it, message))
def _pieces(
    partition: int,
    chunks: Iterable[tuple[int, bytes]],
    *,
    starts: Sequence[int],
    total: int,
    batch_size: int,
    shuffle: int | None,
) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    positions = packed_positions(total, shuffle)
    start = starts[partition]
    for count, message in chunks:
        chunk = {name: array.to_host() for name, array in _decoded(message).items()}
        where = positions[start : start + count]
        order = np.argsort(where, kind="stable")
        numbers = where[order] // batch_size
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        for rows in np.split(order, cuts):
            number, places = divmod(where[rows], batch_size)
            piece = {name: NDArray(array[rows]) for name, array in chunk.items()}
            yield int(number[0]), (places.astype(np.int64).tobytes(), dumps(piece))
        start += count


# ---- stage 3: the sorted pieces of a shard -> (minibatch number, message)
def _assembled(pieces: Iterable[tuple[int, tuple[bytes, bytes]]]) -> Iterator[tuple[int, bytes]]:
    for number, group in groupby(pieces, key=itemgetter(0)):
        parts = [(np.frombuffer(places, np.int64), _decoded(message)) for _, (places, message) in group]
        rows = sum(rows_of_batch(piece) for _, piece in parts)
        batch = {name: np.empty((rows, *a.shape[1:]), a.dtype) for name, a in parts[0][1].items()}
        for places, piece in parts:
            for name, array in piece.items():
                batch[name][places] = array.to_host()
        yield number, dumps({name: NDArray(array) for name, array in batch.items()})
