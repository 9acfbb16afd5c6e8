"""The tasks of featurize, predict and evaluate: rows become minibatches, which the net of this worker computes."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from sparknet.clusters.spark.inference.bad_rows import refused
from sparknet.clusters.spark.inference.row_batches import RowBatches, check_count
from sparknet.clusters.spark.inference.trained_net import SentNet
from sparknet.clusters.spark.jobs.error_values import as_values
from sparknet.clusters.spark.jobs.stacks import observed
from sparknet.clusters.spark.jobs.tallies import Tally
from sparknet.data.fields import rows_of_batch
from sparknet.data.on_error import OnError
from sparknet.data.passes import PreparedItem, one_pass
from sparknet.errors import SparknetError
from sparknet.nets.base import Batch
from sparknet.worker import evaluate_batch

__all__ = ["computed", "evaluated", "spared"]

Array = np.ndarray[Any, Any]
Numbered = tuple[
    Sequence[int], Sequence[Any]
]  # the rows of a minibatch: their numbers in the partition, and themselves
Minibatch = PreparedItem[tuple[int, Batch]]

_LOG = logging.getLogger(__name__)
_NULL = np.array(None)  # for a row that cannot be computed; it becomes None


def computed(
    partition: int,
    rows: Iterable[Any],
    *,
    batches: RowBatches,
    net: SentNet,
    blobs: Sequence[str],
    finish: Callable[[Array], Array],
    join: Callable[[Any, Sequence[Array]], Any],
) -> Iterator[Any]:
    """Yield ``join(row, values)`` for each row of a partition, with the values of ``finish(blob)`` of each blob."""

    def compute(part: Numbered, minibatch: Minibatch) -> list[Any]:
        numbers, rows = part
        with batches.placing(partition, numbers, rows):
            count, batch = minibatch.get()
            check_count(count, len(rows))
            values = _values(net, batch, count, blobs, finish)
            return [join(row, ours) for row, ours in zip(rows, values, strict=True)]

    parts = observed(batches.parts(rows), batches.caller, partition)
    for joined in one_pass(parts, batches.prepared, compute):
        yield from joined


def spared(
    partition: int,
    rows: Iterable[Any],
    *,
    batches: RowBatches,
    net: SentNet,
    blobs: Sequence[str],
    finish: Callable[[Array], Array],
    join: Callable[[Any, Sequence[Array]], Any],
    on_error: OnError,
    tallies: Any,
) -> Iterator[Any]:
    """Yield what :func:`computed` does. A bad row gets nulls or is left out, and is counted in ``tallies``."""
    tally = Tally()

    def compute(part: Numbered, minibatch: Minibatch) -> list[Any]:
        numbers, rows = part
        with batches.placing(partition, numbers, rows):
            values, bad = _values_of_good(batches, net, blobs, finish, rows, minibatch)
            for i, reason in bad.items():
                tally.add(batches.place(partition, numbers[i], rows[i]), reason)
            kept = [i for i in range(len(rows)) if i in values or on_error == "null"]
            return [join(rows[i], values.get(i, [_NULL] * len(blobs))) for i in kept]

    parts = observed(batches.parts(rows), batches.caller, partition)
    for joined in one_pass(parts, batches.prepared, compute):
        yield from joined
    if tally.count:
        _LOG.warning("%s: %d rows of partition %d could not be computed", batches.caller, tally.count, partition)
        tallies.add({partition: tally})


def _values(
    net: SentNet, batch: Batch, count: int, blobs: Sequence[str], finish: Callable[[Array], Array]
) -> Iterator[tuple[Array, ...]]:
    """Return the values of ``finish(blob)`` of each blob, for each of the first ``count`` rows of a minibatch."""
    found = net().forward(batch, blobs)
    return zip(*(finish(found[name].to_host()[:count]) for name in blobs), strict=True)


def _values_of_good(
    batches: RowBatches,
    net: SentNet,
    blobs: Sequence[str],
    finish: Callable[[Array], Array],
    rows: Sequence[Any],
    minibatch: Minibatch,
) -> tuple[dict[int, Sequence[Any]], dict[int, str]]:
    """Return the values of the good rows of a minibatch and the reasons why others are bad, by their places in it."""
    good, bad = list(range(len(rows))), dict[int, str]()
    while good:
        try:
            count, batch = batches.minibatch([rows[i] for i in good]) if bad else minibatch.get()
            check_count(count, len(good))
            return dict(zip(good, _values(net, batch, count, blobs, finish), strict=True)), bad
        except SparknetError as error:
            found = refused(batches, [rows[i] for i in good], error, all_kept=True)
            bad.update((good[k], reason) for k, reason in found.items())
            good = [i for i in good if i not in bad]
    return {}, bad


def evaluated(partition: int, rows: Iterable[Any], *, batches: RowBatches, net: SentNet, tallies: Any) -> Iterator[Any]:
    """Yield what :func:`~sparknet.worker.evaluate_batch` returns for each minibatch of a partition, or an error.

    For a minibatch that is left out, its number of rows is yielded. If bad rows are counted in ``tallies``, a minibatch with some
    is filled up with the next rows. So the minibatches are those of a partition without bad rows.
    """
    tally = Tally()
    yield from as_values(_sums(partition, rows, batches, net, None if tallies is None else tally))
    if tally.count:
        tallies.add({partition: tally})


def _sums(partition: int, rows: Iterable[Any], batches: RowBatches, net: SentNet, tally: Tally | None) -> Iterator[Any]:
    """Yield the sums of each minibatch, or its number of rows if it is left out. Without a tally the first bad row is an error."""
    good = list[tuple[int, Any]]()  # numbers and rows from the minibatch before, if that had bad ones

    def compute(part: Numbered, minibatch: Minibatch) -> Any:
        numbers, rows = part
        with batches.placing(partition, numbers, rows):
            try:
                count, batch = minibatch.get()
                return evaluate_batch(net(), batch, count) if count else rows_of_batch(batch)
            except SparknetError as error:
                if tally is None:
                    raise
                bad = refused(batches, rows, error, all_kept=False)
        for i, reason in bad.items():
            tally.add(batches.place(partition, numbers[i], rows[i]), reason)
        good[:] = [(numbers[i], row) for i, row in enumerate(rows) if i not in bad]
        return None

    parts = observed(_filled_up(rows, batches.batch_size, good), batches.caller, partition)
    # If bad rows are counted, the rows of a minibatch depend on those before.
    sums = one_pass(parts, batches.prepared, compute, ahead=1 if tally is None else 0)
    return (found for found in sums if found is not None)


def _filled_up(rows: Iterable[Any], batch_size: int, before: list[tuple[int, Any]]) -> Iterator[Numbered]:
    """Yield the rows of each minibatch: those that are in ``before`` at that moment, and then the next ones."""
    numbered = enumerate(rows)
    while part := [*before, *islice(numbered, batch_size - len(before))]:
        before.clear()
        numbers, taken = zip(*part, strict=True)
        yield numbers, taken
