"""Rows that a net cannot compute, such as a null or an undecodable image: how they are found, and BadRows, which counts them.

If a minibatch cannot be computed, each of its rows is tried alone, and the minibatch is made again without the bad ones. Other
minibatches cost nothing more. An error that no single row has, such as wrong weights, is raised.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

from sparknet.clusters.spark.inference.row_batches import RowBatches, check_count
from sparknet.clusters.spark.jobs.tallies import Tallies
from sparknet.data.on_error import OnError, checked_on_error
from sparknet.errors import DataError, MissingDependency, SparknetError

__all__ = ["BadRows", "checked_choice", "refused"]


def checked_choice(
    on_error: str, bad_rows: "BadRows | None", caller: str, known: Sequence[OnError] = get_args(OnError)
) -> OnError:
    """Return ``on_error``; a DataError if it is none of ``known``, or if ``bad_rows`` cannot count for this call."""
    choice = checked_on_error(on_error, caller, known)
    if not isinstance(bad_rows, BadRows | None):
        msg = f"{caller}: got bad_rows={bad_rows!r:.60}, expected a BadRows(), which counts them, or None"
        raise DataError(msg)
    if bad_rows is not None and bad_rows.is_taken:
        msg = f"{caller}: got bad_rows= of an earlier call, whose count would be lost; give each call a BadRows() of its own"
        raise DataError(msg)
    if choice == "error" and bad_rows is not None:
        msg = f"{caller}: got bad_rows= with on_error='error', which fails at the first one; pass on_error='drop'"
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
def refused(batches: RowBatches, rows: Sequence[Any], error: SparknetError, *, all_kept: bool) -> dict[int, str]:
    """Return why rows of a minibatch are bad, by their places in it; raise the error of the minibatch if no single row is bad.

    With ``all_kept`` a row that the preprocessor leaves out is bad too.
    """
    alone = replace(batches, even=None)  # one row is no whole minibatch
    found = {i: reason for i, row in enumerate(rows) if (reason := _refusal(alone, row, all_kept))}
    if not found:  # each row can be read, but the net refuses one, such as a NaN
        row = getattr(error, "row", None)
        if row is None:
            raise error
        found = {row: str(error)}
    return found


def _refusal(batches: RowBatches, row: Any, all_kept: bool) -> str | None:
    """Return why a row cannot be read or the preprocessor refuses it; None for a good row."""
    try:
        count, _ = batches.minibatch([row])
        check_count(count, 1 if all_kept else count)
    except MissingDependency:  # not the fault of a row
        raise
    except SparknetError as error:
        return str(getattr(error, "reason", error))
    return None
