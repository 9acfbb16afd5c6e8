"""Chunks: rows of any kind into records, a few at a time, where the rows are.

As Python objects values take many times the memory of their bytes, so few rows are ever held as
such. A bad row ends the chunks of its partition with an error that says where the row is.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from sparknet.clusters.spark.jobs.error_values import as_values
from sparknet.clusters.spark.jobs.running import run_job
from sparknet.clusters.spark.jobs.stacks import observed
from sparknet.clusters.spark.packing.arrow import arrow_schema, batch_of_arrow, batches_of_messages
from sparknet.data.columns import advice_on_id, id_of_row
from sparknet.data.fields import Columns
from sparknet.data.images.encoded import EncodedField
from sparknet.data.nonfinite import NonfiniteValues, find_nonfinite
from sparknet.data.records import Records
from sparknet.data.rows import batch_of_columns, batch_of_rows
from sparknet.errors import DataError, SparknetError
from sparknet.ndarray import NDArray

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["Chunk", "Rows", "Source", "error_of"]

Chunk = tuple[int, int, bytes, Mapping[str, NonfiniteValues]]
"""Partition of the rows, their number, their records one after the other, and what in them is not finite, by field; or the
partition, 0, and an error, pickled."""

_BYTES = 4 << 20  # of records in a chunk
_MOST_ROWS = 10_000
_MOST_IMAGES = 64  # encoded ones, whose size is not known: photographs have megabytes
_ARROW_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"


@dataclass(frozen=True)
class Source:
    """What is made of rows: records of these fields.

    Parameters
    ----------
    records
        The records.
    columns
        Field name -> name in the rows, or several, where they differ.
    id_column
        The column that tells one row from another, for messages about them.
    """

    records: Records
    columns: Columns
    id_column: str | None

    @property
    def rows_of_chunk(self) -> int:
        """Rows of a chunk, at most."""
        encoded = any(isinstance(f, EncodedField) for f in self.records.fields)
        return max(1, min(_MOST_IMAGES if encoded else _MOST_ROWS, _BYTES // self.records.size))

    def of_rdd(self, rows: "RDD[Any]") -> "Rows":
        """Return an RDD of mappings, Rows, records, tuples in the order of the fields, or values, to be made chunks."""
        return Rows(rows, partial(_chunks_of_rows, self, _NAMED))

    def of_frame(self, frame: Any) -> "Rows":
        """Return what ``frames.selected`` returned, by its rows, to be made chunks."""
        return Rows(frame.rdd, partial(_chunks_of_rows, self, _PLAIN))

    def of_arrow(self, frame: Any) -> "Rows":
        """Return what ``frames.selected`` returned, by Arrow batches, to be made chunks.

        They are those of Spark's own ``toPandas``, as bytes. The public ``mapInArrow`` gives a DataFrame, from which the
        chunks would come as pickled rows, through the pipe twice more.
        """
        from pyspark import RDD
        from pyspark.serializers import NoOpSerializer

        conf = frame.sparkSession.conf
        before = conf.get(_ARROW_ROWS)
        conf.set(_ARROW_ROWS, str(self.rows_of_chunk))
        try:
            messages = run_job(frame._jdf.toArrowBatchRdd).toJavaRDD()  # takes the setting along
        finally:
            conf.set(_ARROW_ROWS, before)
        work = partial(_chunks_of_arrow, self, arrow_schema(frame))
        return Rows(RDD(messages, frame.sparkSession.sparkContext, NoOpSerializer()), work)


@dataclass(frozen=True)
class Rows:
    """An RDD of rows of any kind, and what makes chunks of a partition: called with its number and its elements."""

    rdd: "RDD[Any]"
    chunks: Callable[[int, Iterable[Any]], Iterator[Chunk]]


def error_of(chunk: Chunk) -> SparknetError | None:
    """Return the error that a chunk stands for, if it does."""
    return None if chunk[1] else pickle.loads(chunk[2])  # noqa: S301 - pickled below, in a task of this job


# ---- in the Python workers
@dataclass(frozen=True)
class _Kind:
    """A way that rows come: how some of them become a batch, which id one of them has, and advice on that for messages."""

    batch: Callable[[Source, Any], Mapping[str, NDArray]]
    name: Callable[[Source, Any, int], str]
    advice: Callable[[Source, Any, int], str]


def _batch_of_named(source: Source, rows: Any) -> Mapping[str, NDArray]:
    return batch_of_rows(rows, source.records.fields, source.columns)


def _id_of_named(source: Source, rows: Any, index: int) -> str:
    return id_of_row(rows[index], source.id_column)


def _advice_on_named(source: Source, rows: Any, index: int) -> str:
    return advice_on_id(rows[index], source.id_column)


def _batch_of_plain(source: Source, rows: Any) -> Mapping[str, NDArray]:
    return batch_of_columns(zip(*rows, strict=True), source.records.fields, source.columns)


def _id_of_plain(source: Source, rows: Any, index: int) -> str:
    return f" ({source.id_column} {rows[index][-1]!r})"


def _no_advice(source: Source, rows: Any, index: int) -> str:
    del source, rows, index  # the columns of a DataFrame were looked at before
    return ""


def _batch_of_arrow(source: Source, batch: Any) -> Mapping[str, NDArray]:
    return batch_of_arrow(batch, source.records.fields, source.columns)


def _id_of_arrow(source: Source, batch: Any, index: int) -> str:
    return f" ({source.id_column} {batch.columns[-1][index].as_py()!r})"


_NAMED = _Kind(_batch_of_named, _id_of_named, _advice_on_named)
# As `frames.selected` orders the columns: those of the fields, then the id.
_PLAIN = _Kind(_batch_of_plain, _id_of_plain, _no_advice)
_ARROW = _Kind(_batch_of_arrow, _id_of_arrow, _no_advice)


def _chunks_of_rows(source: Source, kind: _Kind, partition: int, rows: Iterable[Any]) -> Iterator[Chunk]:
    rows = iter(rows)
    return _chunks(source, kind, partition, iter(lambda: list(islice(rows, source.rows_of_chunk)), []))


def _chunks_of_arrow(source: Source, schema: Any, partition: int, messages: Iterable[bytes]) -> Iterator[Chunk]:
    return _chunks(source, _ARROW, partition, filter(len, batches_of_messages(messages, schema)))


def _chunks(source: Source, kind: _Kind, partition: int, parts: Iterable[Any]) -> Iterator[Chunk]:
    for chunk in as_values(_good_chunks(source, kind, partition, parts)):
        yield (partition, 0, pickle.dumps(chunk), {}) if isinstance(chunk, SparknetError) else chunk


def _good_chunks(source: Source, kind: _Kind, partition: int, parts: Iterable[Any]) -> Iterator[Chunk]:
    done = 0
    for part in observed(parts, "pack()", partition):
        place = partial(_place, source, partition, done, partial(kind.name, source, part))
        try:
            batch = kind.batch(source, part)
        except DataError as error:
            row = error.row  # type: ignore[attr-defined]
            advice = kind.advice(source, part, row)
            fields = {"partition": partition, "row": done + row}
            raise error.placed(place(row), instead=True, advice=advice, **fields) from error
        found = find_nonfinite(batch, source.records.fields, source.columns, place)
        yield partition, len(part), source.records.join(batch).tobytes(), found
        done += len(part)


def _place(source: Source, partition: int, done: int, name: Callable[[int], str], row: int) -> str:
    """Say where the row of a chunk is in the whole; ``done`` rows of its partition are in chunks before it."""
    where = f"partition {partition}, row {done + row}"
    return where + name(row) if source.id_column else where
