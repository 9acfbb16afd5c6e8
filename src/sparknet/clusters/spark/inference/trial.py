"""The trial of a net on the driver, with minibatches of zeros: what does not fit is found before any job."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sparknet.clusters.spark.inference.row_batches import RowBatches
from sparknet.clusters.spark.inference.trained_net import TrainedNet
from sparknet.data.fields import Field
from sparknet.data.preprocess.base import check_preprocessor
from sparknet.data.ragged import Even, evened
from sparknet.errors import DataError, NetError
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net
from sparknet.training import check_axes

__all__ = ["tried", "tried_by_row"]

_LOG = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


def tried(net: TrainedNet, batches: RowBatches, blobs: Sequence[str] | None, *sizes: int) -> list[dict[str, Array]]:
    """Return the blobs (None: all outputs) for minibatches of zeros of these sizes. Warn if pixels reach the net as they are stored."""
    fields = check_preprocessor(batches.preprocessor, batches.fields)
    made = net.on_driver()
    check_axes(made, fields)
    zeros = [{f.name: NDArray(np.zeros((rows, *f.shape), f.dtype)) for f in fields} for rows in sizes]
    used = [evened(batch, batches.even)[1] for batch in zeros]
    found = [{name: values.to_host() for name, values in made.forward(batch, blobs).items()} for batch in used]
    if batches.preprocessor is None:
        _warn_of_raw_pixels(batches.caller, made, fields)
    return found


def tried_by_row(net: TrainedNet, batches: RowBatches, blobs: Sequence[str]) -> tuple[RowBatches, dict[str, Array]]:
    """Return minibatches that the net takes, and the blobs for one of them. Each blob must have a row for each example.

    If the net takes only ``batch_size`` rows, short minibatches are filled up with zeros.
    """
    sizes = [2, 3]  # a blob that has 2 rows by chance does not have 3 by chance too
    try:
        found = tried(net, batches, blobs, *sizes)
    except (NetError, DataError):
        batches, sizes = replace(batches, even=Even(batches.batch_size, "pad")), [batches.batch_size]
        found = tried(net, batches, blobs, *sizes)
    for name in blobs:
        if [values[name].shape[:1] for values in found] != [(rows,) for rows in sizes]:
            msg = (
                f"{batches.caller}: the blob {name!r} has no row for each example: {sizes[0]} examples give the shape "
                f"{found[0][name].shape}; take another one, or evaluate() for means"
            )
            raise NetError(msg)
    return batches, found[0]


def _warn_of_raw_pixels(caller: str, net: Net, fields: Sequence[Field]) -> None:
    """Log a warning if the net gets pixels as they are stored. If it was trained with a preprocessor, nothing else shows the mistake."""
    changes = getattr(net, "input_changes", None)
    changed = {} if changes is None else changes(train=False)
    raw = [f.name for f in fields if f.dtype == "uint8" and len(f.shape) > 1 and f.name not in changed]
    if raw:
        _LOG.warning(
            "%s: the net gets the pixels of %s as they are stored, 0..255: preprocessor= is not given. It needs the one that the "
            "net was trained with; preprocessor=Compose() says that there was none",
            caller,
            ", ".join(map(repr, raw)),
        )
