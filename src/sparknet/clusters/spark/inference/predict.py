"""featurize, predict: a trained net computes new columns for the rows of an RDD or DataFrame, on their executors.

Rows keep their order, partitions and columns. A DataFrame is computed as an RDD of rows and made a DataFrame again, with a schema
that sparknet writes. ``mapInPandas`` and ``mapInArrow`` would need pandas and pyarrow on every executor, and the DataFrame has
a JVM row for each image anyway. The weights are sent once; each Python worker makes one net with them and keeps it.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from sparknet.clusters.spark.inference.bad_rows import BadRows, checked_choice
from sparknet.clusters.spark.inference.new_columns import check_added, with_columns, with_values
from sparknet.clusters.spark.inference.row_batches import RowBatches
from sparknet.clusters.spark.inference.tasks import computed, spared
from sparknet.clusters.spark.inference.trained_net import TrainedNet
from sparknet.clusters.spark.inference.trial import tried_by_row
from sparknet.clusters.spark.jobs.sessions import check_rows
from sparknet.clusters.spark.jobs.watching import watch_rows
from sparknet.clusters.spark.packed.dataset import PackedDataset
from sparknet.clusters.spark.packing.frames import check_frame, check_rdd, is_frame
from sparknet.clusters.spark.workers.transport import SparkTransport
from sparknet.data.columns import check_columns
from sparknet.data.fields import Columns, Field
from sparknet.data.images.encoded import Decoders
from sparknet.data.on_error import OnError
from sparknet.data.preprocess import Preprocessor
from sparknet.errors import DataError, NetError, located
from sparknet.formats import Contents, Taken
from sparknet.nets.base import NetFactory
from sparknet.weights import WeightCollection

__all__ = ["featurize", "predict", "rdd_of"]

_LOG = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


def featurize(
    rows: Any,
    factory: NetFactory,
    weights: WeightCollection | Contents | Taken,
    outputs: Sequence[str] | Mapping[str, str],
    *,
    fields: Sequence[Field],
    columns: Columns | None = None,
    decoder: Decoders | None = None,
    batch_size: int = 100,
    preprocessor: Preprocessor | None = None,
    id_column: str | None = None,
    on_error: OnError = "error",
    bad_rows: BadRows | None = None,
) -> Any:
    """Add what the net computes for each row: any of its blobs, as columns.

    Parameters
    ----------
    rows
        DataFrame, or RDD of Rows, mappings, or tuples in the order of ``fields``.
    factory, weights
        The net, and the weights it is given: a WeightCollection, or what has one, as ``formats.read`` returns it.
    outputs
        Blobs of the net's test phase, each with a row for each example: names, or blob -> name of the new column.
    fields
        The net's inputs among the columns, those that the outputs depend on.
    columns
        Field name -> column, or a list of columns whose values are joined, if the names differ; as for
        :func:`sparknet.data.pack`.
    decoder
        Of encoded images, as for :func:`sparknet.spark.pack`.
    batch_size
        Rows that the net computes at once; the last minibatch of a partition may have fewer. If the net takes only this
        number of rows, a short minibatch is filled up with zeros, whose results are left out.
    preprocessor
        Applied to each minibatch in its test behaviour; it must keep all rows. Give the one that the net was trained with:
        without one a warning is logged if pixels reach the net as they are stored. ``Compose()`` says that there was none.
    id_column
        A column whose value is named in messages about a row, such as the path of a file.
    on_error
        What happens to a row that cannot be computed, such as one with a null or an undecodable image: ``"error"`` fails the
        job and names the row, ``"null"`` gives it nulls in the new columns, ``"drop"`` leaves it out. The other rows of its
        minibatch are computed without it.
    bad_rows
        A :class:`BadRows`, which counts these rows and says what is wrong, for ``"null"`` and ``"drop"``. Nothing is computed
        when this function returns, so look at it after a job of yours has computed all rows. The logs of the executors say
        how many there are in any case.

    Returns
    -------
    DataFrame or RDD
        Lazy, and of the kind of ``rows``. A DataFrame gets a float, or an array of floats in row-major order. An RDD gets a
        float or a numpy array: Rows and mappings under the name, tuples at their end.

    Raises
    ------
    DataError, NetError, SchemaError
        Columns, fields, outputs or weights do not fit. This is found before any job, with a net made on the driver. A row
        that does not fit, or that has a column with the name of a new one, fails the job, which says where the row is.

    Notes
    -----
    The same rows in the same minibatches give the bits of ``net.forward`` in one process. The weights stay on the executors
    as long as the Spark session runs, because the result may be computed again at any time.

    Examples
    --------
    ::

        features = featurize(
            images,
            CaffeNet.factory("solver.prototxt"),
            weights,
            {"fc7": "features"},
            fields=[Field("data", (3, 227, 227), "uint8")],
            columns={"data": "pixels"},
        )
    """
    on_error = checked_choice(on_error, bad_rows, "featurize()")
    named = _named(outputs)
    batches = RowBatches.of("featurize()", fields, columns, batch_size, preprocessor, decoder, id_column)
    net = TrainedNet.of("featurize()", factory, weights)
    return _extended(rows, batches, net, named, _as_they_are, on_error, bad_rows)


def predict(
    rows: Any,
    factory: NetFactory,
    weights: WeightCollection | Contents | Taken,
    output: str = "prob",
    *,
    fields: Sequence[Field],
    column: str = "prediction",
    columns: Columns | None = None,
    decoder: Decoders | None = None,
    batch_size: int = 100,
    preprocessor: Preprocessor | None = None,
    id_column: str | None = None,
    on_error: OnError = "error",
    bad_rows: BadRows | None = None,
) -> Any:
    """Add the class of each row: the index of the largest value of the blob ``output``, the first one of equal values.

    Parameters
    ----------
    rows, factory, weights, fields, columns, decoder, batch_size, preprocessor, id_column, on_error, bad_rows
        As for :func:`featurize`.
    output
        The blob with the scores or probabilities of the classes, of shape ``(rows, classes)``.
    column
        Name of the new column, of whole numbers.
    """
    on_error = checked_choice(on_error, bad_rows, "predict()")
    if not isinstance(output, str):
        msg = f"predict(): got output={output!r:.60}, expected the name of one blob; featurize() returns several"
        raise DataError(msg)
    batches = RowBatches.of("predict()", fields, columns, batch_size, preprocessor, decoder, id_column)
    net = TrainedNet.of("predict()", factory, weights)
    with _output_named(output):
        return _extended(rows, batches, net, {output: column}, _largest, on_error, bad_rows)


def _named(outputs: Any) -> dict[str, str]:
    """Return blob -> name of the new column; a DataError if ``outputs`` names no blobs."""
    if isinstance(outputs, str) or not isinstance(outputs, Iterable) or not outputs:
        msg = f"featurize(): got outputs={outputs!r:.60}, expected names of blobs, ['fc7'], or blob -> column, {{'fc7': 'features'}}"
        raise DataError(msg)
    return dict(outputs) if isinstance(outputs, Mapping) else {name: name for name in outputs}


@contextmanager
def _output_named(output: str) -> Iterator[None]:
    """Say in the error of a net without the blob ``output``, which may be the default, how to name another one."""
    try:
        yield
    except NetError as error:
        if getattr(error, "unknown", None) != [output]:
            raise
        msg = (
            f"predict(): {error}. output= names the blob with a value for each class: probabilities, or the scores that a net for "
            "training has in their place"
        )
        raise NetError(msg, **vars(error)) from error


def _extended(
    rows: Any,
    batches: RowBatches,
    net: TrainedNet,
    outputs: Mapping[str, str],
    finish: Callable[[Array], Array],
    on_error: OnError,
    bad_rows: BadRows | None,
) -> Any:
    """Return ``rows`` with ``finish(blob)`` of each blob in ``outputs`` as a column."""
    rdd = rdd_of(rows, batches, list(outputs.values()))
    batches, tried = tried_by_row(net, batches, list(outputs))
    found = {name: finish(values) for name, values in tried.items()}
    task: Callable[..., Any] = computed
    if on_error != "error":
        tallies = (bad_rows or BadRows()).counted_by(rdd.context)
        task = partial(spared, on_error=on_error, tallies=tallies)
    parcel = net.send(SparkTransport(rdd.context))  # never released: the rows may be computed again at any time
    work = partial(task, batches=batches, net=net.sent(parcel), blobs=tuple(outputs), finish=finish)
    if not is_frame(rows):
        joined = rdd.mapPartitionsWithIndex(partial(work, join=partial(with_values, names=tuple(outputs.values()))))
        watch_rows(rdd.context, joined._prev_jrdd.id(), batches.caller)
        return joined
    schema = _extended_schema(rows.schema, {outputs[name]: values for name, values in found.items()}, on_error)
    extended = rdd.mapPartitionsWithIndex(partial(work, join=with_columns))
    frame = rows.sparkSession.createDataFrame(extended, schema, verifySchema=False)
    watch_rows(rdd.context, frame._jdf.queryExecution().logical().rdd().id(), batches.caller)
    return frame


def _as_they_are(values: Array) -> Array:
    return values


def _largest(values: Array) -> Array:
    if sum(side > 1 for side in values.shape[1:]) > 1:
        msg = (
            f"predict(): the blob has examples of shape {values.shape[1:]}, expected one value for each class; featurize() "
            "returns all of it, of a sequence for each step"
        )
        raise NetError(msg)
    places: Array = values.reshape(len(values), -1).argmax(axis=1)
    return places


def rdd_of(rows: Any, batches: RowBatches, added: Sequence[str]) -> Any:
    """Return the RDD of the rows. The columns are checked if they are known."""
    check_rows(rows, batches.caller)
    if is_frame(rows):
        check_frame(rows, batches.cells, batches.columns, batches.caller)
        check_columns(
            [batches.id_column] if batches.id_column else [], rows.columns, f"{batches.caller}: the DataFrame"
        )
        # By default `label` and `Label` are the same name to Spark.
        key = None if rows.sparkSession.conf.get("spark.sql.caseSensitive") == "true" else str.lower
        with located(batches.caller):
            check_added(added, rows.columns, key)
        return rows.rdd
    packed = ": give it the rows that were packed; evaluate() takes a PackedDataset"
    check_rdd(rows, batches.caller, packed * isinstance(rows, PackedDataset))
    with located(batches.caller):
        check_added(added, ())
    return rows


def _extended_schema(schema: Any, added: Mapping[str, Array], on_error: OnError) -> Any:
    """Return the schema with a column for each array: of numbers where it has one axis, else of arrays."""
    from pyspark.sql.types import ArrayType, FloatType, LongType, StructField, StructType

    def kind(values: Array) -> Any:
        number = LongType() if values.dtype.kind == "i" else FloatType()
        return number if values.ndim == 1 else ArrayType(number, containsNull=False)

    columns = [StructField(name, kind(values), on_error == "null") for name, values in added.items()]
    return StructType([*schema.fields, *columns])
