"""What the tasks of evaluate do: rows to minibatches, and each of these to the sums of the net's metrics."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sparknet.clusters.spark.inference.bad_rows import refused
from sparknet.clusters.spark.inference.row_batches import RowBatches
from sparknet.clusters.spark.inference.trained_net import SentNet
from sparknet.clusters.spark.jobs.error_values import as_values
from sparknet.clusters.spark.jobs.stacks import observed
from sparknet.clusters.spark.jobs.tallies import Tally
from sparknet.data.blas import single_threaded_blas
from sparknet.data.fields import rows_of_batch
from sparknet.errors import SparknetError
from sparknet.worker import evaluate_batch

__all__ = ["evaluated"]


def evaluated(partition: int, rows: Iterable[Any], *, batches: RowBatches, net: SentNet, tallies: Any) -> Iterator[Any]:
    """Yield what :func:`~sparknet.worker.evaluate_batch` returns for each minibatch of a partition, or an error as a value.

    For a minibatch that is left out it yields its number of rows. Where bad rows are counted, in ``tallies``, a minibatch
    is filled up with the rows after it: the minibatches are those of a partition that never had bad rows.
    """
    tally = Tally()
    sums = _sums(partition, rows, batches, net, None if tallies is None else tally)
    yield from as_values(observed(sums, batches.who, partition))
    if tally.count:
        tallies.add({partition: tally})


def _sums(partition: int, rows: Iterable[Any], batches: RowBatches, net: SentNet, tally: Tally | None) -> Iterator[Any]:
    """Yield the sums of each minibatch, or its number of rows; the first bad row is an error where there is no tally."""
    left, taken = enumerate(rows), list[tuple[int, Any]]()
    with single_threaded_blas():
        while taken := [*taken, *islice(left, batches.batch_size - len(taken))]:
            numbers, part = zip(*taken, strict=True)
            with batches.placing(partition, numbers, part):
                found, bad = _part(batches, net, part, spare=tally is not None)
            for i, reason in bad.items():
                assert tally is not None
                tally.add(batches.place(partition, numbers[i], part[i]), reason)
            taken = [item for i, item in enumerate(taken) if i not in bad] if bad else []
            if not bad:
                yield found


def _part(batches: RowBatches, net: SentNet, rows: Sequence[Any], *, spare: bool) -> tuple[Any, dict[int, str]]:
    """Return the sums of a minibatch, or its number of rows if it is left out; or what is wrong with which of its rows."""
    try:
        count, batch = batches.minibatch(rows)
        return evaluate_batch(net(), batch, count) if count else rows_of_batch(batch), {}
    except SparknetError as error:
        if not spare:
            raise
        return None, refused(batches, rows, error, all_kept=False)
