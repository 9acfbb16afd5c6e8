"""load_packed: loads a saved data set onto the cluster."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sparknet.clusters.spark.jobs.sessions import running_context
from sparknet.clusters.spark.packed import saving
from sparknet.clusters.spark.packed.dataset import PackedDataset, packed_from, storage_level
from sparknet.clusters.spark.packed.exchange import as_records
from sparknet.clusters.spark.packed.positions import in_order
from sparknet.data.layout import check_packing
from sparknet.data.preprocess import Preprocessor
from sparknet.data.preprocess.base import check_preprocessor
from sparknet.data.ragged import Even, Ragged, check_ragged
from sparknet.data.records import Records

__all__ = ["load_packed"]


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
        As for :func:`~sparknet.spark.pack`.
    shards
        Default: as many as it was saved with.
    ragged, padding
        As for :func:`~sparknet.spark.pack`; default: those that it was saved with.

    Raises
    ------
    DataError
        There is no whole data set under ``path``, or its manifest was changed or is of another set.
    ClusterError
        Minibatches are missing, damaged, there twice, or of another set.

    Notes
    -----
    Every minibatch carries the identity of the set that it was saved with. Sets of older versions have none; they are loaded,
    and a warning says so.
    """
    batches, manifest = saving.read(running_context(spark, "load_packed()"), os.fspath(path).rstrip("/"))
    fields, layout, choice = manifest.fields, manifest.layout, manifest.choice
    check_packing(layout.batch_size, shards)
    check_preprocessor(preprocessor, fields)
    check_ragged(ragged, padding, [field.name for field in fields])
    choice = choice if ragged is None else {"ragged": ragged, "padding": padding}
    total = Even(layout.batch_size, choice["ragged"] or "reshape").num_packed(layout.total, "load_packed()")
    rows = as_records(batches, Records(fields), layout.batch_size)
    positions = in_order(layout.total, total)
    layout = replace(layout, total=total, shards=shards or layout.shards)
    packed = packed_from(rows, positions, fields, layout, preprocessor)
    return replace(packed, **choice)._persisted(storage_level(storage))
