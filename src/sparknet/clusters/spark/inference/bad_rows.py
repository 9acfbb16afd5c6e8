"""Rows that a net cannot compute, such as a null or an undecodable image: spared, and counted, where that was asked for.

A minibatch with such rows is made again without them, and each of its rows is looked at alone; other
minibatches cost nothing more. An error that no row alone has, such as wrong weights, is raised.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from sparknet.clusters.spark.inference.row_batches import RowBatches
from sparknet.clusters.spark.inference.tasks import check_count, values_of
from sparknet.clusters.spark.inference.trained_net import SentNet
from sparknet.clusters.spark.jobs.stacks import observed
from sparknet.clusters.spark.jobs.tallies import Tallies, Tally
from sparknet.data.blas import single_threaded_blas
from sparknet.data.on_error import OnError, checked_on_error
from sparknet.errors import DataError, MissingDependency, SparknetError

__all__ = ["BadRows", "checked_choice", "refused", "spared"]

_LOG = logging.getLogger(__name__)
_NULL = np.array(None)  # what a spared row gets: it becomes Python's None


def checked_choice(
    on_error: str, bad_rows: "BadRows | None", who: str, known: Sequence[OnError] = get_args(OnError)
) -> OnError:
    """Return what becomes of a row that cannot be computed; a DataError if it is none of ``known``, or ``bad_rows`` cannot count them."""
    choice = checked_on_error(on_error, who, known)
    if not isinstance(bad_rows, BadRows | None):
        msg = f"{who}: got bad_rows={bad_rows!r:.60}, expected a BadRows(), which counts them, or None"
        raise DataError(msg)
    if bad_rows is not None and bad_rows.is_taken:
        msg = (
            f"{who}: got bad_rows= of an earlier call, whose count would be lost; give each call a BadRows() of its own"
        )
        raise DataError(msg)
    if choice == "error" and bad_rows is not None:
        msg = f"{who}: got bad_rows= with on_error='error', which fails at the first one; pass on_error='drop'"
        raise DataError(msg)
    return choice


class BadRows(Tallies):
    """The rows that one :func:`predict`, :func:`featurize` or :func:`evaluate` could not compute.

    Attributes
    ----------
    count
        How many there are.
    reasons
        Place of a row, with its id where ``id_column`` says it -> what is wrong, for the first 20 of each partition.

    Notes
    -----
    It counts for one call, and is refused by a second one. It is filled as jobs go through the rows, and complete once one has gone through all of them; after :func:`evaluate` at
    once. A partition that is computed again, because a task failed or its rows are used twice, counts once.

    Examples
    --------
    >>> bad = BadRows()  # predict(..., on_error="drop", bad_rows=bad)
    >>> bad.count, bad.reasons
    (0, {})
    """


# ---- in the Python workers
def spared(
    partition: int,
    rows: Iterable[Any],
    *,
    batches: RowBatches,
    net: SentNet,
    blobs: Sequence[str],
    finish: Callable[[Any], Any],
    join: Callable[[Any, Sequence[Any]], Any],
    on_error: OnError,
    tallies: Any,
) -> Iterator[Any]:
    """Yield what :func:`~sparknet.clusters.spark.inference.tasks.computed` does; a bad row with nulls, or not at all."""
    tally = Tally()
    with single_threaded_blas():
        for numbers, part in observed(batches.parts(rows), batches.who, partition):
            with batches.placing(partition, numbers, part):
                values, bad = _values(batches, net, blobs, finish, part)
                for i, reason in bad.items():
                    tally.add(batches.place(partition, numbers[i], part[i]), reason)
                kept = [i for i in range(len(part)) if i in values or on_error == "null"]
                joined = [join(part[i], values.get(i, [_NULL] * len(blobs))) for i in kept]
            yield from joined
    if tally.count:
        _LOG.warning("%s: %d rows of partition %d could not be computed", batches.who, tally.count, partition)
        tallies.add({partition: tally})


def _values(
    batches: RowBatches, net: SentNet, blobs: Sequence[str], finish: Callable[[Any], Any], part: Sequence[Any]
) -> tuple[dict[int, Sequence[Any]], dict[int, str]]:
    """Return the values of the good rows of a minibatch, and what is wrong with the others, by their places in it."""
    good, bad = list(range(len(part))), dict[int, str]()
    while good:
        try:
            count, batch = batches.minibatch([part[i] for i in good])
            check_count(count, len(good))
            return dict(zip(good, values_of(net, batch, count, blobs, finish), strict=True)), bad
        except SparknetError as error:
            bad.update(
                (good[k], reason)
                for k, reason in refused(batches, [part[i] for i in good], error, all_kept=True).items()
            )
            good = [i for i in good if i not in bad]
    return {}, bad


def refused(batches: RowBatches, rows: Sequence[Any], error: SparknetError, *, all_kept: bool) -> dict[int, str]:
    """Return what is wrong with the bad rows of a minibatch, by their places in it; raise its error if none alone is bad.

    With ``all_kept`` a row that the preprocessor leaves out is bad too.
    """
    alone = replace(batches, even=None)  # one row is no whole minibatch
    found = {i: reason for i, row in enumerate(rows) if (reason := _refusal(alone, row, all_kept))}
    if not found:  # each can be read, and the net takes one for bad, such as a NaN
        row = getattr(error, "row", None)
        if row is None:
            raise error
        found = {row: str(error)}
    return found


def _refusal(batches: RowBatches, row: Any, all_kept: bool) -> str | None:
    """Return what is wrong with a row that cannot be read, or that the preprocessor refuses; else None."""
    try:
        count, _ = batches.minibatch([row])
        check_count(count, 1 if all_kept else count)
    except MissingDependency:  # no row is to blame
        raise
    except SparknetError as error:
        return str(getattr(error, "reason", error))
    return None
