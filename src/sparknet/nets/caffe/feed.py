"""Filling the inputs of a Caffe net from a batch: columns are found by name, shapes and values are checked.

Values are cast to float32 straight into the blob, with no array between. All checks come before Caffe computes anything, so a
refused batch does not change weights or history.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparknet.data.fields import rows_of_batch
from sparknet.errors import DataError, NetError
from sparknet.ndarray import NDArray
from sparknet.nets.caffe.axes import batch_first, by_row, input_shape
from sparknet.nets.caffe.inputs import bare, inputs_of
from sparknet.nets.caffe.names import names_as_written
from sparknet.nets.caffe.rows import ANY, RowRules
from sparknet.nets.caffe.sizes import check_inputs, check_tiles

__all__ = ["Feeder", "Labels", "as_array", "check_taken", "columns_of", "fill", "labels_of"]


_WITH_FIXED_ROOM = ("ContrastiveLoss",)  # the one layer of BVLC whose buffers keep their number of rows


@dataclass(frozen=True)
class Labels:
    """The labels that a layer takes: whole numbers, 0 <= label < ``classes``."""

    layer: str
    input: str
    classes: int
    ignore: float | None

    def check(self, values: Any) -> None:
        """Raise a DataError at the first label that the layer cannot take."""
        bad = (values < 0) | (values >= self.classes) | (values != np.floor(values))
        if self.ignore is not None:
            bad &= values != self.ignore
        if bad.any():
            row = int(np.argwhere(bad)[0][0])
            msg = (
                f"input {self.input!r}, example {row}: got the label {values[bad][0]:g}; layer {self.layer!r} has "
                f"{self.classes} classes and takes whole numbers from 0 to {self.classes - 1}"
                + (f" or {self.ignore:g}" if self.ignore is not None else "")
            )
            raise DataError(msg, input=self.input, row=row, classes=self.classes)


def labels_of(definition: Any, net: Any) -> list[Labels]:
    """Return the Labels of each input that the layers of ``net`` (made from ``definition``) read as labels."""
    inputs = inputs_of(definition)
    found = [_labels(layer, net) for layer in definition.layer]
    return [labels for labels in found if labels and labels.input in inputs]


def _labels(layer: Any, net: Any) -> Labels | None:
    def size(axis: int) -> int:
        return int(net.blobs[layer.bottom[0]].shape[axis])

    if layer.type == "Embed":
        return Labels(layer.name, layer.bottom[0], layer.embed_param.input_dim, None)
    if layer.type == "SoftmaxWithLoss":
        param, classes = layer.loss_param, size(layer.softmax_param.axis)
    elif layer.type == "Accuracy":
        param, classes = layer.accuracy_param, size(layer.accuracy_param.axis)
    elif layer.type == "InfogainLoss":
        param, classes = layer.loss_param, size(layer.infogain_loss_param.axis)
    elif layer.type in ("MultinomialLogisticLoss", "HingeLoss"):
        param, classes = None, net.blobs[layer.bottom[0]].count // size(0)
    else:
        return None
    ignore = param.ignore_label if param is not None and param.HasField("ignore_label") else None
    return Labels(layer.name, layer.bottom[1], classes, ignore)


class Feeder:
    """Fills the inputs of one Caffe net.

    Parameters
    ----------
    definition
        The NetParameter that ``net`` was made from.
    net
        A ``caffe.Net``.
    said
        What the RDDDataLayers that became inputs say of a batch.

    Attributes
    ----------
    shapes, output_shapes
        Shapes of the inputs (the examples first) and of the outputs, as the net was made.
    axes
        Input -> batch axis, for those whose batch axis is not the first.
    rows
        Number of rows of the last batch.
    """

    def __init__(self, definition: Any, net: Any, said: RowRules = ANY) -> None:
        self.axes = said.axes
        declared = inputs_of(definition)
        check_inputs(net, declared, definition.layer)
        self.shapes = {name: batch_first(s, self.axes.get(name, 0)) for name, s in declared.items()}
        self._net = net
        self._blobs = {name: net.blobs[name] for name in self.shapes}
        self._said = said
        self._labels = [*(Labels("RDDDataLayer", *each) for each in said.labels), *labels_of(definition, net)]
        written = names_as_written(definition, net)
        outputs = dict.fromkeys(written.get(name, name) for name in net.outputs)
        self.output_shapes = {name: tuple(net.blobs[name].shape) for name in outputs if name not in self.shapes}
        self._fixed = next((layer for layer in definition.layer if layer.type in _WITH_FIXED_ROOM), None)
        self._tiled = [layer for layer in definition.layer if layer.type == "Tile"]
        check_tiles(net, self._tiled)
        self.rows = self.declared_rows = next(iter(self.shapes.values()), (0,))[0]

    def feed(self, batch: Mapping[str, NDArray], optional: Collection[str] = (), *, reshape: bool = True) -> None:
        """Copy the columns of ``batch`` into the inputs, which take its number of rows.

        Columns without an input are ignored, because one batch may feed several nets. Inputs in ``optional`` without a column
        become zeros. Without ``reshape``, the layers learn the number of rows at their forward pass.

        Raises
        ------
        DataError
            A column is missing, or its shape, dtype or labels do not fit.
        NetError
            A value is not finite in float32, or Caffe refuses the shapes.
        """
        columns, rows = columns_of(batch, self.shapes, optional)
        self._said.check(rows)
        if self._fixed is not None and rows > self.declared_rows:
            msg = (
                f"layer {self._fixed.name!r} ({self._fixed.type}) has room for the {self.declared_rows} rows that the net declares, "
                f"and Caffe would write behind it; got {rows}. Declare as many rows as the largest batch has: pass batch_size="
            )
            raise NetError(msg, layer=self._fixed.name)
        self.resize(rows, reshape=reshape)
        self.rows = rows
        for name, column in columns.items():
            fill(name, self._by_row(name), column)
        for name in self.shapes.keys() - columns.keys():
            self._blobs[name].data[...] = 0
        for labels in self._labels:
            if labels.input in columns:
                labels.check(self._by_row(labels.input))

    def _by_row(self, name: str) -> Any:
        """Return the values of an input, the batch first; a view."""
        return by_row(self._blobs[name].data, self.axes.get(name, 0))

    def input_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an input in the net, with the rows of the last batch."""
        return input_shape(self.rows, self.shapes[name][1:], self.axes.get(name, 0))

    def resize(self, rows: int, *, reshape: bool = True) -> None:
        """Give all inputs ``rows`` rows, so that none keeps those of a longer batch; with ``reshape`` all blobs too."""
        changed = False
        for name, blob in self._blobs.items():
            axis = self.axes.get(name, 0)
            if rows and blob.shape[axis] != rows:
                blob.reshape(*input_shape(rows, self.shapes[name][1:], axis))
                changed = True
        if changed and (reshape or self._tiled):  # an overflow in a Tile layer must show before it runs
            self._net.reshape()
            check_tiles(self._net, self._tiled)


def check_taken(batch: Collection[str], net: Any) -> None:
    """Refuse a batch with a column for a blob that a DummyData layer of ``net`` fills: the column would not be used.

    Raises
    ------
    NetError
        The layer and the column are named.
    """
    for layer in net.layer:
        made = [top for top in layer.top if top in batch]
        if made and not layer.bottom and layer.type != "Input":
            msg = (
                f"layer {layer.name!r} ({layer.type}) makes {', '.join(map(repr, made))} itself, so what is packed or passed by "
                "that name would not be used. Put an Input layer with these tops in its place, or leave the columns out"
            )
            raise NetError(msg, layer=layer.name, columns=made)


def columns_of(
    batch: Mapping[str, NDArray], shapes: Mapping[str, Sequence[int]], optional: Collection[str] = ()
) -> tuple[dict[str, NDArray], int]:
    """Return the columns of ``batch`` for inputs of these ``shapes`` (the batch first), and their number of rows.

    Raises
    ------
    DataError
        A column that is not ``optional`` is missing, a column has examples of another shape, or there are no rows.
    """
    columns = {name: as_array(batch[name]) for name in shapes if name in batch}
    missing = [name for name in shapes if name not in columns and name not in optional]
    misfits = [name for name, column in columns.items() if bare(column.shape[1:]) != bare(shapes[name][1:])]
    if missing or misfits:
        raise DataError(_misfit(batch, shapes, missing, misfits), missing=missing, misfits=misfits)
    rows = rows_of_batch(columns) if columns else 0
    if columns and not rows:
        msg = "the batch has no rows"
        raise DataError(msg)
    return columns, rows


def _misfit(
    batch: Mapping[str, NDArray], shapes: Mapping[str, Sequence[int]], missing: list[str], misfits: list[str]
) -> str:
    needs = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
    has = ", ".join(f"{name} {as_array(column).shape}" for name, column in batch.items()) or "no columns"
    faults = [f"no column {name!r}" for name in missing]
    faults += [f"column {name!r} needs (rows, *{tuple(shapes[name][1:])})" for name in misfits]
    return f"the net has inputs {needs}; the batch has {has}: {'; '.join(faults)}"


def as_array(column: Any) -> NDArray:
    """Return the column as an NDArray, sharing its memory."""
    return column if isinstance(column, NDArray) else NDArray(column)


def fill(name: str, blob: Any, column: NDArray) -> None:
    """Cast ``column`` into the memory of a ``blob``, whose first axis is the batch, and check the values there.

    Raises
    ------
    DataError
        The column is not of real numbers.
    NetError
        A value is not finite in float32.
    """
    values = column.to_host()
    if values.dtype.kind not in "buif":
        msg = f"input {name!r}: got {values.dtype}, expected real numbers"
        raise DataError(msg)
    with np.errstate(over="ignore", invalid="ignore"):  # the check below finds an overflow
        np.copyto(blob, values.reshape(blob.shape), casting="unsafe")
    # min and max are NaN if a value is; a mask of all values would take a quarter of the batch's memory
    if values.dtype.kind == "f" and blob.size and not np.isfinite([blob.min(), blob.max()]).all():
        row, value = _first_bad(blob)
        msg = f"input {name!r}, example {row}: got {value:g}, expected finite numbers (in float32)"
        raise NetError(msg, input=name, row=row)


def _first_bad(blob: Any) -> tuple[int, float]:
    where = tuple(np.argwhere(~np.isfinite(blob))[0])
    return int(where[0]), float(blob[where])
