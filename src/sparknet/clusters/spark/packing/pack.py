"""pack: rows of any RDD or DataFrame become minibatches in the wire format of sparknet, spread evenly over shards.

Rows are converted once, on their executor, into chunks of records; after that only bytes move. When the chunks are counted, the
place of every example is known. The rules are those of :mod:`sparknet.data.layout`, so the same rows give the same minibatches
with and without Spark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from sparknet.clusters.spark.jobs.running import release
from sparknet.clusters.spark.jobs.sessions import check_rows
from sparknet.clusters.spark.packed.dataset import PackedDataset, packed_from, storage_level
from sparknet.clusters.spark.packed.positions import shuffled
from sparknet.clusters.spark.packing.arrow import arrow_is_installed, need_arrow
from sparknet.clusters.spark.packing.chunks import RowReader, Rows
from sparknet.clusters.spark.packing.counted import counted, placed
from sparknet.clusters.spark.packing.frames import check_rdd, is_frame, selected
from sparknet.clusters.spark.packing.gather import chunks_of
from sparknet.data.dataset import Dataset
from sparknet.data.fields import Columns, Field, check_fields
from sparknet.data.images.encoded import Decoders, with_decoders
from sparknet.data.layout import Layout, check_packing, shuffle_seed
from sparknet.data.on_error import checked_on_error
from sparknet.data.preprocess import Preprocessor
from sparknet.data.preprocess.base import check_preprocessor
from sparknet.data.ragged import Even, Ragged, check_ragged
from sparknet.data.records import Records
from sparknet.errors import DataError
from sparknet.ndarray import NDArray
from sparknet.nets.base import NetFactory
from sparknet.training import check_fit

__all__ = ["pack"]


def pack(
    rows: Any,
    fields: Sequence[Field],
    batch_size: int,
    preprocessor: Preprocessor | None = None,
    *,
    columns: Columns | None = None,
    decoder: Decoders | None = None,
    shards: int | None = None,
    shuffle: bool | int | None = None,
    seed: int | None = None,
    storage: Any = None,
    factory: NetFactory | None = None,
    id_column: str | None = None,
    on_error: str = "error",
    arrow: bool | None = None,
    ragged: Ragged | None = None,
    padding: Mapping[str, float] | None = None,
) -> PackedDataset:
    """Pack an RDD or DataFrame into minibatches, spread evenly over ``shards`` partitions.

    NaN and infinite values are packed as they are. A warning says how many there are, and where the first one is.

    Parameters
    ----------
    rows
        A DataFrame with a column for each field (numbers, booleans, arrays of them, vectors, binary),
        or an RDD of Rows, mappings, records of structured arrays, tuples in the order of ``fields``,
        or, for one field, its values. Partitions may be unequal or empty. They are computed once. If there are very many,
        three of them are computed before, to see whether they are small. A partition that the cluster loses is computed
        again, and must then give the same rows in the same order.
    fields
        Name, shape and dtype of each input, as it will be stored.
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
        Usually the number of workers. Default: the number of partitions of ``rows``, but not more than there are
        minibatches. Many small partitions are joined first, to four for each core of Spark or ``shards`` if that is more;
        the log says so. Rows keep their order.
    shuffle, seed
        Whether the examples are permuted before they are packed, and the seed, as for :func:`sparknet.data.pack`:
        ``shuffle=True, seed=7``.
    storage
        A ``pyspark.StorageLevel`` to persist with; default ``MEMORY_AND_DISK``.
    factory
        The factory of the net. Fields, preprocessor and net are tried together on zeros, before any job.
    id_column
        A column whose value is named in messages about a row.
    on_error
        Only ``"error"``: a row that cannot be packed fails the call, which names it. To leave out images that cannot be decoded,
        pack what :func:`decode_images` with ``on_error="drop"`` returns; filter other rows first.
    arrow
        Whether a DataFrame comes as Arrow batches, without a Python object for each value; default: if pyarrow is
        installed (``pip install 'sparknet[arrow]'``). The executors need it too.
    ragged, padding
        What happens to a short last minibatch, as for :func:`sparknet.data.pack`.

    Returns
    -------
    PackedDataset
        Persisted on the executors; :meth:`PackedDataset.unpersist` releases it.

    Raises
    ------
    DataError
        Before any job: a column is missing or there twice, or has a type that does not fit the field.
        When the rows are read: a value does not fit (``partition`` and ``row`` say which), or there is no row.
    ClusterError
        A partition was lost, and had other rows when it was computed again.
    MissingDependency
        ``arrow=True`` where pyarrow is not installed.
    """
    check_packing(batch_size, shards)
    permutation = shuffle_seed(shuffle, seed)
    _check_not_dropped(on_error)
    fields = check_fields(fields, columns)
    check_preprocessor(preprocessor, fields)
    check_ragged(ragged, padding, [field.name for field in fields])
    if factory is not None:
        _check_net(factory, fields, batch_size, preprocessor)
    storage = storage_level(storage)
    source = _rows(rows, RowReader(Records(with_decoders(fields, decoder, columns)), columns or {}, id_column), arrow)
    many = source.rdd.getNumPartitions()
    chunks, counts = counted(chunks_of(source, shards or 1), storage)
    try:
        starts = np.cumsum([0, *(counts[k].rows if k in counts else 0 for k in range(many))]).tolist()
        total = Even(batch_size, ragged or "reshape").num_packed(starts[-1], "pack()")
        layout = Layout(total, batch_size, shards or min(chunks.getNumPartitions(), -(-total // batch_size)))
        records = chunks.mapPartitionsWithIndex(partial(placed, starts=starts, counts=counts))
        positions = shuffled(starts[-1], permutation, total)
        packed = packed_from(records, positions, fields, layout, preprocessor)
        packed = replace(packed, ragged=ragged, padding=padding)
        return packed._persisted(storage)  # computed now, while the chunks are there
    finally:
        release(chunks)


def _check_not_dropped(on_error: str) -> None:
    if on_error in ("null", "drop"):
        msg = (
            f"pack(): got on_error={on_error!r}, expected 'error': pack() leaves no row out. For images that cannot be decoded, pack "
            "the rows of `rows, bad = decode_images(rows, decoder, image=COLUMN, on_error='drop')`; filter other rows first"
        )
        raise DataError(msg)
    checked_on_error(on_error, "pack()", ("error",))


def _check_net(
    factory: NetFactory, fields: tuple[Field, ...], batch_size: int, preprocessor: Preprocessor | None
) -> None:
    zeros = {f.name: NDArray(np.zeros((batch_size, *f.shape), f.dtype)) for f in fields}
    check_fit(factory, Dataset([zeros], fields, batch_size, preprocessor), 0, "a minibatch of zeros", are_values=False)


def _rows(rows: Any, reader: RowReader, arrow: bool | None) -> Rows:
    if arrow:
        need_arrow()
    check_rows(rows, "pack()")
    if is_frame(rows):
        frame = selected(rows, reader.records.fields, reader.columns, reader.id_column)
        return reader.of_arrow(frame) if arrow or (arrow is None and arrow_is_installed()) else reader.of_frame(frame)
    check_rdd(rows, "pack()")
    return reader.of_rdd(rows)
