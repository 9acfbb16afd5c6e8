"""What the tasks of featurize and predict do: rows to minibatches, minibatches through the net of this worker, rows back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from sparknet.clusters.spark.inference.row_batches import RowBatches
from sparknet.clusters.spark.inference.trained_net import SentNet
from sparknet.clusters.spark.jobs.stacks import observed
from sparknet.data.blas import single_threaded_blas
from sparknet.errors import DataError
from sparknet.nets.base import Batch

__all__ = ["check_count", "computed", "values_of"]

Array = np.ndarray[Any, Any]


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
    with single_threaded_blas():
        for numbers, part in observed(batches.parts(rows), batches.who, partition):
            with batches.placing(partition, numbers, part):
                count, batch = batches.minibatch(part)
                check_count(count, len(part))
                values = values_of(net, batch, count, blobs, finish)
                joined = [join(row, ours) for row, ours in zip(part, values, strict=True)]
            yield from joined


def values_of(
    net: SentNet, batch: Batch, count: int, blobs: Sequence[str], finish: Callable[[Array], Array]
) -> Iterator[tuple[Array, ...]]:
    """Return the values of ``finish(blob)`` of each blob, for each of the first ``count`` rows of a minibatch."""
    found = net().forward(batch, blobs)
    return zip(*(finish(found[name].to_host()[:count]) for name in blobs), strict=True)


def check_count(count: int, rows: int) -> None:
    """Raise a DataError unless the preprocessor has kept all rows."""
    if count != rows:
        msg = (
            f"the preprocessor made {count} rows of {rows}; expected one for each row "
            "(Decode: on_error='error', or filter the rows first)"
        )
        raise DataError(msg)
