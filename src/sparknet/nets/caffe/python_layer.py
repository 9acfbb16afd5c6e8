"""RDDDataLayer: the Python layer that Caffe itself makes, from a prototxt. Importing this module imports Caffe."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

from sparknet.data.fields import rows_of_batch
from sparknet.data.ranges import implausible, line_about
from sparknet.errors import NetError, located
from sparknet.ndarray import NDArray
from sparknet.nets.caffe.axes import by_row, input_shape
from sparknet.nets.caffe.feed import Labels, as_array, fill
from sparknet.nets.caffe.layer_param import LayerParam
from sparknet.nets.caffe.runtime import load
from sparknet.nets.caffe.sources import BatchSource, source_of
from sparknet.serialization.visible import say

__all__ = ["RDDDataLayer"]

_LOG = logging.getLogger(__name__)
_PHASES = ("train", "test")


class RDDDataLayer(load().Layer):  # type: ignore[misc] # Caffe's classes have no types
    r"""A data layer that takes its batches from Python, so that a loop of plain pycaffe can train on them.

    It is named in a prototxt, with :class:`~sparknet.nets.caffe.LayerParam` as JSON::

        layer {
          name: "data" type: "Python" top: "data" top: "label"
          python_param {
            module: "sparknet.nets.caffe" layer: "RDDDataLayer"
            param_str: '{"tops": {"data": [3, 32, 32], "label": []}, "batch_size": 100}'
          }
        }

    and fed by :func:`~sparknet.nets.caffe.feeding`. A CaffeNet takes the same prototxt, with the layer as its inputs.

    The tops get the values of the batch in float32. A ``transform_param`` has no effect, as in all Python layers of Caffe. For
    the first batch, a line about each top goes to standard error, and a warning is logged if a net could hardly learn from the
    values.
    """

    def setup(self, bottom: Any, top: Any) -> None:
        """Read the ``param_str``; called by Caffe once."""
        self._param = LayerParam.from_json(self.param_str)
        if len(top) != len(self._param.tops) or len(bottom):
            msg = (
                f"RDDDataLayer has {len(bottom)} bottoms and {len(top)} tops, expected none and {len(self._param.tops)}: "
                f"{', '.join(self._param.tops)}"
            )
            raise NetError(msg)
        self._columns = list(self._param.tops)
        self._axes = [self._param.batch_axis.get(name, 0) for name in self._columns]
        self._labels = [
            Labels("RDDDataLayer", name, classes, self._param.padding.get(name))
            for name, classes in self._param.classes.items()
        ]
        self._name = self._param.source or _PHASES[self.phase]
        self._connected: BatchSource | None = None
        self._told = False

    def connect(self, source: BatchSource | None) -> None:
        """Take batches from ``source``, or, if it is None, from the source of the layer's name; a NetError if it is fed already."""
        if source is not None and self._connected is not None:
            msg = "feeding(): this net is fed already; leave its block first"
            raise NetError(msg)
        self._connected = source

    def reshape(self, bottom: Any, top: Any) -> None:
        """Give the tops their declared shapes; called by Caffe when the net is made and before each forward pass."""
        del bottom
        self._reshape(top, self._param.batch_size)

    def forward(self, bottom: Any, top: Any) -> None:
        """Take the next batch; the tops get its number of rows.

        Raises
        ------
        NetError
            Nothing feeds the layer, its source has ended, or a value is not finite.
        DataError
            A column is missing, or its shape or labels do not fit.
        """
        del bottom
        source = self._connected or source_of(self._name)
        batch = source.next(self, self._param)
        self._reshape(top, rows_of_batch(batch))
        with located(f"batch {source.number}", batch=source.number):
            for i, name in enumerate(self._columns):
                fill(name, self._by_row(top, i), batch[name])
            for labels in self._labels:
                labels.check(self._by_row(top, self._columns.index(labels.input)))
        self._tell(batch)

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        """Do nothing: data has no gradient."""

    def _tell(self, batch: Mapping[str, NDArray]) -> None:
        """Print once what the layer feeds."""
        if self._told:
            return
        self._told = True
        for name in self._columns:
            column = as_array(batch[name])
            say(f"RDDDataLayer {self._name!r}: {line_about(name, column, ())}", file=sys.stderr)
            warning = implausible(name, column)
            if warning is not None:
                _LOG.warning("%s", warning)

    def _by_row(self, top: Any, i: int) -> Any:
        """Return the values of a top, the batch first; a view."""
        return by_row(top[i].data, self._axes[i])

    def _reshape(self, top: Any, rows: int) -> None:
        for i, shape in enumerate(self._param.tops.values()):  # Caffe's vectors can be indexed, not iterated
            top[i].reshape(*input_shape(rows, shape, self._axes[i]))
