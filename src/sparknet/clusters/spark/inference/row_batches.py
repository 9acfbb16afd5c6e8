"""Rows into minibatches, as a net takes them; where a row is, for messages about it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sparknet.clusters.spark.jobs.running import pickled
from sparknet.data.columns import advice_on_id, id_of_row
from sparknet.data.fields import Columns, Field, check_fields
from sparknet.data.images.encoded import Decoders, with_decoders
from sparknet.data.layout import check_packing
from sparknet.data.passes import as_tested
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even
from sparknet.data.rows import batch_of_rows
from sparknet.errors import DataError, SparknetError, located
from sparknet.nets.base import Batch

__all__ = ["RowBatches", "check_count"]


@dataclass(frozen=True)
class RowBatches:
    """How rows become minibatches.

    Parameters
    ----------
    who
        The caller's function, for messages.
    fields, columns, batch_size, preprocessor
        As for :func:`~sparknet.clusters.spark.inference.predict.featurize`.
    cells
        The fields as the rows have them: images may be encoded.
    id_column
        The column that tells one row from another, for messages about them.
    even
        What becomes of a short minibatch; None: the net takes it as it is.
    """

    who: str
    fields: tuple[Field, ...]
    cells: tuple[Field, ...]
    columns: Columns
    batch_size: int
    preprocessor: Preprocessor | None
    id_column: str | None = None
    even: Even | None = None

    @classmethod
    def of(
        cls,
        who: str,
        fields: Sequence[Field],
        columns: Columns | None,
        batch_size: int,
        preprocessor: Preprocessor | None,
        decoder: Decoders | None = None,
        id_column: str | None = None,
    ) -> "RowBatches":
        """Return what these arguments of ``who`` say, after they were checked."""
        check_packing(batch_size)
        with located(who):
            pickled("the preprocessor", preprocessor)
        fields = check_fields(fields, columns)
        with located(who):
            cells = with_decoders(fields, decoder, columns)
        return cls(who, fields, cells, columns or {}, batch_size, preprocessor, id_column)

    def parts(self, rows: Iterable[Any]) -> Iterator[tuple[range, list[Any]]]:
        """Yield the rows of each minibatch, by their numbers and themselves, until there are none."""
        rows, done = iter(rows), 0
        while part := list(islice(rows, self.batch_size)):
            yield range(done, done + len(part)), part
            done += len(part)

    def minibatch(self, rows: Sequence[Any]) -> tuple[int, Batch]:
        """Return how many rows of a minibatch count, after the preprocessor and without padding, and the minibatch itself."""
        batch = batch_of_rows(rows, self.cells, self.columns)
        return as_tested(batch, self.preprocessor, self.even)

    def prepared(self, part: tuple[Sequence[int], Sequence[Any]]) -> tuple[int, Batch]:
        """Return the :meth:`minibatch` of the numbers and rows of one."""
        return self.minibatch(part[1])

    @contextmanager
    def placing(self, partition: int, numbers: Sequence[int], rows: Sequence[Any]) -> Iterator[None]:
        """Raise the error of a minibatch with the place of its row, or of its rows, in the whole."""
        try:
            yield
        except SparknetError as error:
            row = getattr(error, "row", None)
            if row is None:
                where = f"{self.who}: partition {partition}, rows {numbers[0]} to {numbers[-1]}"
                raise error.placed(where, partition=partition) from error
            place = f"{self.who}: {self.place(partition, numbers[row], rows[row])}"
            advice = advice_on_id(rows[row], self.id_column)
            raise error.placed(place, instead=True, advice=advice, partition=partition, row=numbers[row]) from error

    def place(self, partition: int, number: int, row: Any) -> str:
        """Return where a row is, and its id if there is one."""
        return f"partition {partition}, row {number}{id_of_row(row, self.id_column)}"


def check_count(count: int, rows: int) -> None:
    """Raise a DataError unless the preprocessor has kept all rows."""
    if count != rows:
        msg = (
            f"the preprocessor made {count} rows of {rows}; expected one for each row "
            "(Decode: on_error='error', or filter the rows first)"
        )
        raise DataError(msg)
