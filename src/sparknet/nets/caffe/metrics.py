"""Sums and divisors of the numbers that a net reports, so that means of batches can be added up.

A number is a mean over all rows of a batch, or over the labels that its layer does not ignore; with the normalization NONE a loss
is a sum. Metrics are the numbers that do not grow with the batch: scalars, the accuracy of each class, and what the solver minimises.
"""

from typing import Any

import numpy as np

__all__ = ["NORMALIZED", "class_totals", "ignores", "is_per_class", "loss_total", "total_of"]


# The losses that read loss_param -> their normalization by default.
NORMALIZED = {"SoftmaxWithLoss": "VALID", "InfogainLoss": "VALID", "SigmoidCrossEntropyLoss": "BATCH_SIZE"}


def total_of(layer: Any, labels: Any, value: float, rows: int) -> tuple[float, int]:
    """Return sum and divisor of a number that a layer reports for a batch.

    Parameters
    ----------
    layer
        The layer's LayerParameter.
    labels
        The values of its second bottom; None if it has none.
    value
        The reported number.
    rows
        Number of examples in the batch.
    """
    if _normalization(layer) == "NONE" or _is_sum(layer):
        return value, rows
    if not ignores(layer):
        return value * rows, rows
    param = layer.accuracy_param if layer.type == "Accuracy" else layer.loss_param
    counted = int((np.trunc(labels) != param.ignore_label).sum())  # Caffe cuts the fraction off a label
    return (value * counted, counted) if counted else (0.0, 0)


def is_per_class(layer: Any, name: str) -> bool:
    """Say whether ``name`` is the second top of an Accuracy: the accuracy of each class."""
    return layer.type == "Accuracy" and list(layer.top[1:]) == [name]


def class_totals(layer: Any, labels: Any, accuracies: Any) -> list[tuple[float, int]]:
    """Return, for each class, the number of its labels that were found and the number of its labels, without ignored ones."""
    counted = np.trunc(labels).ravel()
    if layer.accuracy_param.HasField("ignore_label"):
        counted = counted[counted != layer.accuracy_param.ignore_label]
    numbers = np.bincount(counted.astype(np.intp), minlength=len(accuracies))
    return [(float(one) * int(number), int(number)) for one, number in zip(accuracies, numbers, strict=True)]


def loss_total(layer: Any, labels: Any, values: Any, rows: int, fed: int) -> tuple[float, int]:
    """Return sum and divisor of the part of the loss that comes from a top with a loss weight: the sum of its elements.

    The batch has ``fed`` rows, of which ``rows`` count.
    """
    value = float(values.sum(dtype=np.float64))
    if values.ndim and len(values) == fed:  # a value for each example
        return value, rows
    return total_of(layer, labels, value, rows)


def ignores(layer: Any) -> bool:
    """Say whether the layer leaves out rows with its ``ignore_label``, and divides by the number of the others."""
    if layer.type == "Accuracy":
        return bool(layer.accuracy_param.HasField("ignore_label"))
    return _normalization(layer) == "VALID" and layer.loss_param.HasField("ignore_label")


def _is_sum(layer: Any) -> bool:
    """Say whether the layer adds up over the rows of a batch."""
    param = layer.reduction_param
    return bool(layer.type == "Reduction" and param.axis == 0 and param.operation != param.MEAN)


def _normalization(layer: Any) -> str | None:
    """Return the name of a loss's normalization; None if the layer has none."""
    if layer.type not in NORMALIZED:
        return None
    param = layer.loss_param
    if param.HasField("normalization"):
        return str(param.NormalizationMode.Name(param.normalization))
    if param.HasField("normalize"):
        return "VALID" if param.normalize else "BATCH_SIZE"
    return NORMALIZED[layer.type]
