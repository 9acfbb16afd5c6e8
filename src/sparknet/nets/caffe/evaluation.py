"""The net of the test phase, with its feeder, its reports, and the weights that only it has."""

from typing import Any

from sparknet.nets.caffe.axes import by_row, output_axes
from sparknet.nets.caffe.feed import Feeder
from sparknet.nets.caffe.initial import start_from
from sparknet.nets.caffe.making import new_test_net
from sparknet.nets.caffe.prototxt import Definition
from sparknet.nets.caffe.reports import Reports
from sparknet.nets.caffe.sharing import copy_shared, shared_by_name

__all__ = ["EvaluationNet"]


class EvaluationNet:
    """A net in the test phase; its weights are the memory of a training net.

    Parameters
    ----------
    definition
        The Definition of both nets.
    param, train_param
        The NetParameters of both, parsed.
    train
        The training ``caffe.Net``.

    Attributes
    ----------
    net
        The ``caffe.Net``.
    feeder, reports
        The Feeder of its inputs, and the Reports of its outputs.
    """

    def __init__(self, definition: Definition, param: Any, train_param: Any, train: Any) -> None:
        self.net = new_test_net(definition, train)
        start_from(definition.initial, self.net, but=train.params)
        loaded = {name for _, layers in definition.initial for name in layers}
        self._shared = shared_by_name(train_param, train, param, self.net, loaded)
        self.feeder = Feeder(param, self.net, definition.test_rows)
        self.reports = Reports(param, self.net, self.feeder)
        self._axes = output_axes(self.net, self.feeder) if self.feeder.axes else {}

    def follow(self) -> None:
        """Copy newly learned weights that do not share the training net's memory; call this before a forward pass."""
        copy_shared(self._shared)

    def by_row(self, name: str) -> Any:
        """Return the values of a blob with the batch axis first; a view."""
        return by_row(self.net.blobs[name].data, self._axes.get(name, 0))
