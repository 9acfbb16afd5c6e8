"""evaluate: the means of what a net's test phase reports, over all rows, computed on their executors."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sparknet.clusters.spark.inference.bad_rows import BadRows, checked_choice
from sparknet.clusters.spark.inference.predict import rdd_of
from sparknet.clusters.spark.inference.row_batches import RowBatches
from sparknet.clusters.spark.inference.tasks import evaluated
from sparknet.clusters.spark.inference.trained_net import TrainedNet
from sparknet.clusters.spark.inference.trial import tried
from sparknet.clusters.spark.jobs.running import collected
from sparknet.clusters.spark.jobs.sessions import check_packed
from sparknet.clusters.spark.packed.dataset import PackedDataset
from sparknet.clusters.spark.training.cluster import SparkCluster
from sparknet.clusters.spark.workers.transport import SparkTransport
from sparknet.clusters.totals import mean_metrics
from sparknet.data.fields import Columns, Field
from sparknet.data.images.encoded import Decoders
from sparknet.data.on_error import ERROR_OR_DROP, OnError
from sparknet.data.preprocess import Compose, Preprocessor
from sparknet.data.ragged import Ragged, check_ragged
from sparknet.errors import DataError, NetError, located
from sparknet.formats import Contents, Taken
from sparknet.nets.base import NetFactory
from sparknet.training import rehearsed, settled
from sparknet.weights import WeightCollection
from sparknet.weights.given import given_weights

__all__ = ["evaluate"]

_LOG = logging.getLogger(__name__)


def evaluate(
    rows: Any,
    factory: NetFactory,
    weights: WeightCollection | Contents | Taken,
    *,
    fields: Sequence[Field] | None = None,
    columns: Columns | None = None,
    decoder: Decoders | None = None,
    batch_size: int = 100,
    preprocessor: Preprocessor | None = None,
    ragged: Ragged | None = None,
    padding: Mapping[str, float] | None = None,
    id_column: str | None = None,
    on_error: OnError = "error",
    bad_rows: BadRows | None = None,
) -> dict[str, float]:
    """Return the mean over all rows of each number that the net's test phase reports: loss, accuracy, ...

    It runs one job. For packed data a small job before that fetches the first minibatch.

    Parameters
    ----------
    rows
        As for :func:`featurize`; or a :class:`PackedDataset`, whose minibatches are used as they are, with the bits of the
        evaluation in :func:`sparknet.averaged_sgd`.
    factory, weights, columns, decoder, batch_size
        As for :func:`featurize`. A PackedDataset has its own columns and batch size, and holds pixels.
    fields
        As for :func:`featurize`, and the labels. A PackedDataset has its own.
    preprocessor
        As for :func:`featurize`; default for a PackedDataset: its own.
    ragged, padding
        What happens to a short minibatch, the last one of a partition or of packed data, as for :func:`sparknet.data.pack`.
        Default for a PackedDataset: its own. The log says how many rows are left out. Padded rows do not count.
    id_column
        A column whose value is named in messages about a row; not for packed data.
    on_error
        What happens to a row that cannot be computed: ``"error"`` fails and names it, ``"drop"`` leaves it out, and the means
        have the bits of the other rows alone. Not for packed data, because ``pack`` refuses bad rows.
    bad_rows
        A :class:`BadRows`, which counts these rows and says what is wrong. It is complete when this function returns. The
        log says how many there are in any case.

    Raises
    ------
    DataError
        There are no rows, or one does not fit; ``NetError`` and ``SchemaError`` as for :func:`featurize`.
    """
    on_error = checked_choice(on_error, bad_rows, "evaluate()", ERROR_OR_DROP)
    used: WeightCollection = given_weights(weights, "evaluate(): weights")
    if isinstance(rows, PackedDataset):
        check_packed(rows.rdd, "evaluate()")
        _check_not_dropped(on_error)
        if id_column is not None:
            raise DataError("evaluate(): got id_column= for packed data, which has its fields alone: give it to pack()")
        if decoder is not None:
            raise DataError("evaluate(): got decoder= for packed data, which holds pixels: leave it out")
        rows = rows if preprocessor is None else replace(rows, preprocessor=preprocessor)
        rows = rows if ragged is None else replace(rows, ragged=ragged, padding=padding)
        fields, columns, batch_size, preprocessor = rows.fields, None, rows.batch_size, rows.preprocessor or Compose()
    if fields is None:
        msg = "evaluate(): got no fields; expected fields=[...], the net's inputs among the columns, for what is not packed"
        raise DataError(msg)
    check_ragged(getattr(rows, "ragged", ragged), getattr(rows, "padding", padding), [f.name for f in fields])
    batches = RowBatches.of("evaluate()", fields, columns, batch_size, preprocessor, decoder, id_column)
    net = TrainedNet.of("evaluate()", factory, used)
    if isinstance(rows, PackedDataset):
        with located("evaluate()"):
            rows = rehearsed(net.on_driver(), rows, 0, train=False)
        _check_numbers(net, replace(batches, even=rows.even), batch_size)
        with SparkCluster(rows.rdd.context, transport="spark").session(factory, rows, rows.shards) as session:
            return session.evaluate(used, rows)
    bad = None if on_error == "error" else bad_rows or BadRows()
    return _means(rows, _settled(net, batches, ragged, padding), net, bad)


def _check_not_dropped(on_error: OnError) -> None:
    if on_error == "drop":
        msg = (
            "evaluate(): got on_error='drop' for packed data, expected 'error': its rows were looked at by pack(). For images "
            "that are packed encoded, there is Decode(..., on_error='drop')"
        )
        raise DataError(msg)


def _settled(
    net: TrainedNet, batches: RowBatches, ragged: Ragged | None, padding: Mapping[str, float] | None
) -> RowBatches:
    """Return ``batches`` with what happens to short ones, after the net was tried on them."""
    even = settled(net.on_driver(), batches.batch_size, ragged, padding, f"{batches.caller}: ", train=False)
    batches = replace(batches, even=even)
    try:
        _check_numbers(net, batches, batches.batch_size if even.ragged == "drop" else min(2, batches.batch_size))
    except NetError as error:
        if even.ragged == "reshape":
            _check_numbers(net, batches, batches.batch_size)  # an error for whole minibatches is more important
            fix = (
                "ragged='drop' leaves out the last minibatch of a partition where it is short, ragged='pad' fills it up"
            )
            raise error.placed(f"{batches.caller}: {fix}") from error
        raise
    return batches


def _check_numbers(net: TrainedNet, batches: RowBatches, rows: int) -> None:
    """Raise a DataError if the net reports no number for a minibatch of so many rows."""
    if not any(values.ndim == 0 for values in tried(net, batches, None, rows)[0].values()):
        msg = "evaluate(): the net's test phase reports no number, such as a loss or an accuracy; use featurize()"
        raise DataError(msg)


def _means(rows: Any, batches: RowBatches, net: TrainedNet, bad: BadRows | None) -> dict[str, float]:
    rdd = rdd_of(rows, batches, ())
    tallies = None if bad is None else bad.counted_by(rdd.context)
    with net.send(SparkTransport(rdd.context)) as parcel:
        work = partial(evaluated, batches=batches, net=net.sent(parcel), tallies=tallies)
        parts = collected(rdd.mapPartitionsWithIndex(work))
    dropped = sum(part for part in parts if isinstance(part, int))
    if dropped:
        _LOG.warning(
            "evaluate(): %d rows are left out, which make no whole minibatch of %d", dropped, batches.batch_size
        )
    if bad is not None and bad.count:
        _LOG.warning("evaluate(): %d rows could not be computed and are left out: %r", bad.count, bad)
        dropped += bad.count
    totals = [part for part in parts if not isinstance(part, int)]
    if not totals:
        msg = f"evaluate(): got no rows{f' but {dropped} that are left out' * bool(dropped)}, expected at least one"
        raise DataError(msg)
    return mean_metrics(totals)
