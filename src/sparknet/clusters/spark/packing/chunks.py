"""Chunks: rows of any kind become records, some rows at a time, on the executor that has them.

Python objects take many times the memory of the bytes of their values, so only a chunk of rows is held as objects. A bad row ends
the chunks of its partition with an error that says where the row is.
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

__all__ = ["Chunk", "RowReader", "Rows", "error_of"]

Chunk = tuple[int, int, bytes, Mapping[str, NonfiniteValues]]
"""(partition of the rows, number of rows, their records one after the other, field -> values that are not finite); or
(partition, 0, a pickled error, {})."""

_BYTES = 4 << 20  # of records in a chunk, at most
_MOST_ROWS = 10_000
_MOST_IMAGES = 64  # encoded images, whose size is not known; photographs have megabytes
_ARROW_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"


@dataclass(frozen=True)
class RowReader:
    """Reads rows into records of these fields.

    Parameters
    ----------
    records
        The records.
    columns
        Field name -> name in the rows, or several names, if it differs from that of the field.
    id_column
        The column that tells one row from another, for messages about them.
    """

    records: Records
    columns: Columns
    id_column: str | None

    @property
    def rows_of_chunk(self) -> int:
        """The largest number of rows in a chunk."""
        encoded = any(isinstance(f, EncodedField) for f in self.records.fields)
        return max(1, min(_MOST_IMAGES if encoded else _MOST_ROWS, _BYTES // self.records.size))

    def of_rdd(self, rows: "RDD[Any]") -> "Rows":
        """Return what makes chunks of an RDD of mappings, Rows, records, tuples in the order of the fields, or values."""
        return Rows(rows, partial(_chunks_of_rows, self, _NAMED))

    def of_frame(self, frame: Any) -> "Rows":
        """Return what makes chunks of the rows of the DataFrame that ``frames.selected`` returned."""
        return Rows(frame.rdd, partial(_chunks_of_rows, self, _PLAIN))

    def of_arrow(self, frame: Any) -> "Rows":
        """Return what makes chunks of the Arrow batches of the DataFrame that ``frames.selected`` returned.

        The batches are those of Spark's own ``toPandas``, as bytes. The public ``mapInArrow`` gives a DataFrame; its chunks
        would travel as pickled rows, twice more between JVM and Python.
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
    """An RDD of rows of any kind, and the function that makes chunks of its partition number and elements."""

    rdd: "RDD[Any]"
    chunks: Callable[[int, Iterable[Any]], Iterator[Chunk]]


def error_of(chunk: Chunk) -> SparknetError | None:
    """Return the error that a chunk holds, or None."""
    return None if chunk[1] else pickle.loads(chunk[2])  # noqa: S301 - pickled below, in a task of this job


# ---- in the Python workers
@dataclass(frozen=True)
class _Kind:
    """A way that rows come: how some of them become a batch, which id one of them has, and advice on that for messages."""

    batch: Callable[[RowReader, Any], Mapping[str, NDArray]]
    name: Callable[[RowReader, Any, int], str]
    advice: Callable[[RowReader, Any, int], str]


def _batch_of_named(reader: RowReader, rows: Any) -> Mapping[str, NDArray]:
    return batch_of_rows(rows, reader.records.fields, reader.columns)


def _id_of_named(reader: RowReader, rows: Any, index: int) -> str:
    return id_of_row(rows[index], reader.id_column)


def _advice_on_named(reader: RowReader, rows: Any, index: int) -> str:
    return advice_on_id(rows[index], reader.id_column)


def _batch_of_plain(reader: RowReader, rows: Any) -> Mapping[str, NDArray]:
    return batch_of_columns(zip(*rows, strict=True), reader.records.fields, reader.columns)


def _id_of_plain(reader: RowReader, rows: Any, index: int) -> str:
    return f" ({reader.id_column} {rows[index][-1]!r})"


def _no_advice(reader: RowReader, rows: Any, index: int) -> str:
    del reader, rows, index  # the columns of a DataFrame were looked at before
    return ""


def _batch_of_arrow(reader: RowReader, batch: Any) -> Mapping[str, NDArray]:
    return batch_of_arrow(batch, reader.records.fields, reader.columns)


def _id_of_arrow(reader: RowReader, batch: Any, index: int) -> str:
    return f" ({reader.id_column} {batch.columns[-1][index].as_py()!r})"


_NAMED = _Kind(_batch_of_named, _id_of_named, _advice_on_named)
# As `frames.selected` orders the columns: those of the fields, then the id.
_PLAIN = _Kind(_batch_of_plain, _id_of_plain, _no_advice)
_ARROW = _Kind(_batch_of_arrow, _id_of_arrow, _no_advice)


def _chunks_of_rows(reader: RowReader, kind: _Kind, partition: int, rows: Iterable[Any]) -> Iterator[Chunk]:
    rows = iter(rows)
    return _chunks(reader, kind, partition, iter(lambda: list(islice(rows, reader.rows_of_chunk)), []))


def _chunks_of_arrow(reader: RowReader, schema: Any, partition: int, messages: Iterable[bytes]) -> Iterator[Chunk]:
    return _chunks(reader, _ARROW, partition, filter(len, batches_of_messages(messages, schema)))


def _chunks(reader: RowReader, kind: _Kind, partition: int, parts: Iterable[Any]) -> Iterator[Chunk]:
    for chunk in as_values(_good_chunks(reader, kind, partition, parts)):
        yield (partition, 0, pickle.dumps(chunk), {}) if isinstance(chunk, SparknetError) else chunk


def _good_chunks(reader: RowReader, kind: _Kind, partition: int, parts: Iterable[Any]) -> Iterator[Chunk]:
    done = 0
    for part in observed(parts, "pack()", partition):
        place = partial(_place, reader, partition, done, partial(kind.name, reader, part))
        try:
            batch = kind.batch(reader, part)
        except DataError as error:
            row = error.row  # type: ignore[attr-defined]
            advice = kind.advice(reader, part, row)
            fields = {"partition": partition, "row": done + row}
            raise error.placed(place(row), instead=True, advice=advice, **fields) from error
        found = find_nonfinite(batch, reader.records.fields, reader.columns, place)
        yield partition, len(part), reader.records.join(batch).tobytes(), found
        done += len(part)


def _place(reader: RowReader, partition: int, done: int, name: Callable[[int], str], row: int) -> str:
    """Say where the row of a chunk is in the whole; ``done`` rows of its partition are in chunks before it."""
    where = f"partition {partition}, row {done + row}"
    return where + name(row) if reader.id_column else where
