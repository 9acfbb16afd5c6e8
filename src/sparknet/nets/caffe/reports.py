"""The metrics of a net's test phase: which outputs are numbers about a batch, and how to add up batches."""

from collections.abc import Mapping
from math import prod
from typing import Any

from sparknet.ndarray import NDArray
from sparknet.nets.caffe.feed import Feeder
from sparknet.nets.caffe.metrics import class_totals, is_per_class, loss_total, total_of
from sparknet.nets.caffe.names import names_as_written

__all__ = ["Reports"]


class Reports:
    """Returns sums and divisors of the metrics of the last ``forward`` of one test-phase net.

    Parameters
    ----------
    param
        The NetParameter that ``net`` was made from.
    net
        The ``caffe.Net``.
    feeder
        The net's Feeder, before its first use.

    Attributes
    ----------
    names
        The outputs that are numbers about a whole batch.
    """

    def __init__(self, param: Any, net: Any, feeder: Feeder) -> None:
        self._param, self._net, self._feeder = param, net, feeder
        written = names_as_written(param, net)
        weights = zip(net._blob_names, net._blob_loss_weights, strict=True)
        self._weighted = {written.get(name, name) for name, weight in weights if weight}
        # One number in an array, such as the metric of a Python layer. The declared batch size distinguishes it from one number
        # for each example, unless it is 1.
        several = feeder.declared_rows > 1
        self._numbers = {name for name, shape in feeder.output_shapes.items() if shape and prod(shape) == 1 and several}
        self.names = [name for name in feeder.output_shapes if self._is_metric(name)]

    def total(self, name: str, value: float, rows: int) -> tuple[float, float]:
        """Return sum and divisor for a scalar output of ``rows`` examples."""
        layer, labels = self._reporting(name)
        return (value * rows, rows) if layer is None else total_of(layer, labels, value, rows)

    def totals(self, outputs: Mapping[str, NDArray], rows: int) -> dict[str, tuple[float, float]]:
        """Return metric -> sum and divisor; of a padded batch, ``rows`` count."""
        found: dict[str, tuple[float, float]] = {}
        for name, array in outputs.items():
            (layer, labels), values = self._reporting(name), array.to_host()
            if layer is not None and is_per_class(layer, name):
                found |= {f"{name}/{i}": each for i, each in enumerate(class_totals(layer, labels, values))}
            elif layer is not None and name in self._weighted:
                found[name] = loss_total(layer, labels, values, rows, self._feeder.rows)
            elif self._is_metric(name):
                found[name] = self.total(name, float(values.sum()), rows)
        return found

    def _reporting(self, name: str) -> tuple[Any, Any]:
        """Return the last layer that wrote a blob, and the labels that this layer read."""
        layer = next((layer for layer in reversed(self._param.layer) if name in layer.top), None)
        if layer is None or len(layer.bottom) < 2:
            return layer, None
        return layer, self._net.blobs[layer.bottom[1]].data

    def _is_metric(self, name: str) -> bool:
        return name in self._weighted or name in self._numbers or not self._net.blobs[name].shape
