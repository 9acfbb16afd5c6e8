"""RowBatches: rows become minibatches that a net takes, and a message about a row says where it is."""

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
    caller
        The function that the user has called, for messages.
    fields, columns, batch_size, preprocessor
        As for :func:`~sparknet.clusters.spark.inference.predict.featurize`.
    cells
        The fields as the rows have them: images may be encoded.
    id_column
        The column that tells one row from another, for messages about them.
    even
        What happens to a short minibatch; None: the net takes it as it is.
    """

    caller: str
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
        caller: str,
        fields: Sequence[Field],
        columns: Columns | None,
        batch_size: int,
        preprocessor: Preprocessor | None,
        decoder: Decoders | None = None,
        id_column: str | None = None,
    ) -> "RowBatches":
        """Return a RowBatches of these arguments of the function ``caller``, after checks."""
        check_packing(batch_size)
        with located(caller):
            pickled("the preprocessor", preprocessor)
        fields = check_fields(fields, columns)
        with located(caller):
            cells = with_decoders(fields, decoder, columns)
        return cls(caller, fields, cells, columns or {}, batch_size, preprocessor, id_column)

    def parts(self, rows: Iterable[Any]) -> Iterator[tuple[range, list[Any]]]:
        """Yield the rows of each minibatch: their numbers in the partition, and the rows."""
        rows, done = iter(rows), 0
        while part := list(islice(rows, self.batch_size)):
            yield range(done, done + len(part)), part
            done += len(part)

    def minibatch(self, rows: Sequence[Any]) -> tuple[int, Batch]:
        """Return the number of rows that count (after the preprocessor, without padding), and the minibatch."""
        batch = batch_of_rows(rows, self.cells, self.columns)
        return as_tested(batch, self.preprocessor, self.even)

    def prepared(self, part: tuple[Sequence[int], Sequence[Any]]) -> tuple[int, Batch]:
        """Return the :meth:`minibatch` of a pair of row numbers and rows."""
        return self.minibatch(part[1])

    @contextmanager
    def placing(self, partition: int, numbers: Sequence[int], rows: Sequence[Any]) -> Iterator[None]:
        """Add to an error of the block the place of the bad row, or of the rows of the minibatch."""
        try:
            yield
        except SparknetError as error:
            row = getattr(error, "row", None)
            if row is None:
                where = f"{self.caller}: partition {partition}, rows {numbers[0]} to {numbers[-1]}"
                raise error.placed(where, partition=partition) from error
            place = f"{self.caller}: {self.place(partition, numbers[row], rows[row])}"
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
