"""What the numbers that a net reports are means of: all rows of a batch, or the labels that its layer does not ignore.

With the normalization NONE a loss is no mean but a sum.
"""

from typing import Any

import numpy as np

__all__ = ["ignores", "total_of"]


# The losses that read loss_param, and what they divide by where it says nothing.
_NORMALIZED = {"SoftmaxWithLoss": "VALID", "InfogainLoss": "VALID", "SigmoidCrossEntropyLoss": "BATCH_SIZE"}


def total_of(layer: Any, labels: Any, value: float, rows: int) -> tuple[float, int]:
    """Return a sum and what it has to be divided by, of a number that ``layer`` reports for a batch.

    Parameters
    ----------
    layer
        Its LayerParameter.
    labels
        The values of its second bottom, None if it has none.
    value
        What it reports.
    rows
        Examples of the batch.
    """
    if _normalization(layer) == "NONE":
        return value, rows
    if not ignores(layer):
        return value * rows, rows
    param = layer.accuracy_param if layer.type == "Accuracy" else layer.loss_param
    counted = int((np.trunc(labels) != param.ignore_label).sum())  # Caffe cuts the fraction off a label
    return (value * counted, counted) if counted else (0.0, 0)


def ignores(layer: Any) -> bool:
    """Say whether the layer leaves out what has its ``ignore_label``, and divides by the number of the others."""
    if layer.type == "Accuracy":
        return bool(layer.accuracy_param.HasField("ignore_label"))
    return _normalization(layer) == "VALID" and layer.loss_param.HasField("ignore_label")


def _normalization(layer: Any) -> str | None:
    """Return the name of a loss's normalization; None for what has none."""
    if layer.type not in _NORMALIZED:
        return None
    param = layer.loss_param
    if param.HasField("normalization"):
        return str(param.NormalizationMode.Name(param.normalization))
    if param.HasField("normalize"):
        return "VALID" if param.normalize else "BATCH_SIZE"
    return _NORMALIZED[layer.type]
