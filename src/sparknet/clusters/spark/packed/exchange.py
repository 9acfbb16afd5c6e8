"""The exchange: records from any partitions into the minibatches of shards, by one shuffle of Spark.

The place of every record is known before it travels. So a shard writes the records, in whatever order they arrive, to their
places in a scratch file, and reads its minibatches from there. Nothing is sorted. A Python worker holds one piece or one
minibatch, whatever the size of the shard. Before the shuffle it also holds the new positions of all examples if their order
changes (8 bytes each), and after it one byte for each example of its shard.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sparknet.clusters.spark.jobs.local_files import local_directories, naming, restore_directories
from sparknet.clusters.spark.packed.positions import Positions
from sparknet.data.layout import Layout
from sparknet.data.records import Records
from sparknet.errors import ClusterError, FormatError
from sparknet.serialization import dumps, loads

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["as_records", "exchanged"]

Array = np.ndarray[Any, Any]

_FIX = "was a file of the data set removed or copied? Save or pack it again"


def exchanged(
    rows: "RDD[tuple[int, bytes]]", positions: Positions, records: Records, layout: Layout
) -> "RDD[tuple[int, bytes]]":
    """Return (minibatch number, message) pairs: those of shard ``k`` in partition ``k``, in the order of their numbers.

    Parameters
    ----------
    rows
        Pairs of the position of the first record, and records one after the other.
    positions
        The new positions; called in the tasks.
    records, layout
        The form of a record, and the minibatches and shards to make.
    """
    pieces = rows.mapPartitions(partial(_pieces, positions=positions, records=records, layout=layout))
    shards = pieces.partitionBy(layout.shards, _same)
    return shards.mapPartitionsWithIndex(partial(_assembled, records=records, layout=layout))


def as_records(batches: "RDD[tuple[int, bytes]]", records: Records, batch_size: int) -> "RDD[tuple[int, bytes]]":
    """Return the ``rows`` of :func:`exchanged` for (minibatch number, message) pairs. Every message is verified."""
    return batches.map(partial(_as_records, records=records, batch_size=batch_size))


def _as_records(item: tuple[int, bytes], *, records: Records, batch_size: int) -> tuple[int, bytes]:
    number, message = item
    try:
        batch = loads(message, verify=True)
    except FormatError as error:
        msg = f"minibatch {number}: {error}"
        raise FormatError(msg) from error
    return number * batch_size, records.join(batch).tobytes()


def _same(key: int) -> int:
    return key  # Spark computes the partition from it, modulo their number


# ---- before the shuffle: rows -> (shard, (places in it, records))
def _pieces(
    rows: Iterable[tuple[int, bytes]], *, positions: Positions, records: Records, layout: Layout
) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    restore_directories()
    new = positions()
    for start, data in rows:
        found = np.frombuffer(data, np.uint8).reshape(-1, records.size)
        where = new[start : start + len(found)]
        kept = np.flatnonzero(where >= 0)
        shard, place = layout.locate(where[kept])
        order = np.lexsort((place, shard))  # so that neighbours are written together
        cuts = np.flatnonzero(np.diff(shard[order])) + 1
        for some in np.split(order, cuts) if len(order) else ():
            yield int(shard[some[0]]), (place[some].astype(np.int64).tobytes(), found[kept[some]].tobytes())


# ---- after it: the pieces of a shard, in any order -> (minibatch number, message)
def _assembled(
    shard: int, pieces: Iterable[tuple[int, tuple[bytes, bytes]]], *, records: Records, layout: Layout
) -> Iterator[tuple[int, bytes]]:
    restore_directories()
    directories = local_directories()
    directory = directories[shard % len(directories)]
    # The file has no name, so that nothing is left of it, however the worker ends.
    with tempfile.TemporaryFile(dir=directory) as file:
        received, expected, taken = 0, layout.examples(shard), np.zeros(0, bool)
        for _, (places, data) in pieces:
            taken = _take(taken, np.frombuffer(places, np.int64), shard)
            with naming(directory):
                received += _scatter(file.fileno(), places, data, records.size)
        if received != expected:
            msg = f"shard {shard} got {received} of its {expected} examples: some rows were lost, or are there twice; {_FIX}"
            raise ClusterError(msg)
        file.seek(0)
        for number in layout.batches(shard):
            found = np.frombuffer(file.read(layout.batch_size * records.size), np.uint8).reshape(-1, records.size)
            yield number, dumps(records.split(found))


def _take(taken: Array, places: Array, shard: int) -> Array:
    """Return which places are taken, these included; a ClusterError if one was taken before. The array grows as records arrive."""
    end = int(places.max()) + 1
    if end > len(taken):
        taken = np.concatenate([taken, np.zeros(max(end, 2 * len(taken)) - len(taken), bool)])
    if taken[places].any():
        msg = f"shard {shard} got examples twice; {_FIX}"
        raise ClusterError(msg)
    taken[places] = True
    return taken


def _scatter(file: int, places: bytes, data: bytes, size: int) -> int:
    """Write records to their places, neighbours together; return their number."""
    place, view = np.frombuffer(places, np.int64), memoryview(data)
    cuts = [0, *(np.flatnonzero(np.diff(place) != 1) + 1).tolist(), len(place)]
    for begin, end in pairwise(cuts):
        _write_at(file, view[begin * size : end * size], int(place[begin]) * size)
    return len(place)


def _write_at(file: int, data: memoryview, offset: int) -> None:
    while len(data):  # the system may write less than it is given
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
