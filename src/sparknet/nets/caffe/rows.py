"""The rows of a batch in the inputs of a phase, and the rules of its RDDDataLayers for them, which a CaffeNet follows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sparknet.data.fields import Field
from sparknet.data.ragged import Even
from sparknet.errors import DataError, NetError
from sparknet.nets.caffe.axes import check_rows
from sparknet.nets.caffe.inputs import inputs_of
from sparknet.nets.caffe.layer_param import LayerParam, is_rdd_layer

__all__ = ["ANY", "RowRules", "rows_of_layers"]


@dataclass(frozen=True)
class RowRules:
    """The rules for the rows of a phase.

    Parameters
    ----------
    layers
        The parameters of each RDDDataLayer, with the batch size of the net; they agree.
    axes
        Input -> batch axis, for those whose batch axis is not the first.
    """

    layers: tuple[LayerParam, ...] = ()
    axes: Mapping[str, int] = field(default_factory=dict)

    @property
    def even(self) -> Even | None:
        """What happens to short batches; None if no layer says it."""
        return next((Even(p.batch_size, p.ragged, p.padding) for p in self.layers if p.ragged != "reshape"), None)

    @property
    def labels(self) -> list[tuple[str, int, float | None]]:
        """Columns of labels with declared classes: the name, the number of classes, and another label that is allowed."""
        return [(name, n, param.padding.get(name)) for param in self.layers for name, n in param.classes.items()]

    def check(self, rows: int) -> None:
        """Raise a DataError for a batch that the layer would not give to the net as it is."""
        if self.even is not None and rows != self.even.batch_size:
            msg = (
                f"got {rows} rows, expected {self.even.batch_size}: the RDDDataLayer says ragged {self.even.ragged!r}, so the net "
                "gets whole batches alone. averaged_sgd does so; in a loop of your own, take the batches from "
                f"sparknet.data.ragged.even_batches(batches, {self.even.batch_size}, {self.even.ragged!r}, ...)"
            )
            raise DataError(msg)


ANY = RowRules()  # no rules


def rows_of_layers(layers: Iterable[Any], batch_size: int | None, fields: Sequence[Field], net: Any) -> RowRules:
    """Return the rules of the RDDDataLayers among ``layers`` and of the fields, with ``batch_size`` unless that is None.

    ``net`` is the NetParameter that was made of the layers.

    Raises
    ------
    NetError
        Two layers have different rules for short batches, although one batch feeds both. Or the inputs differ in their rows.
    """
    found = [LayerParam.from_json(layer.python_param.param_str) for layer in layers if is_rdd_layer(layer)]
    params = [replace(param, batch_size=batch_size or param.batch_size) for param in found]
    said = {f"batch_size {param.batch_size}, ragged {param.ragged!r}": None for param in params}
    if len(said) > 1:
        msg = f"one RDDDataLayer says {', another '.join(said)}; a batch feeds all of them, so they must say the same"
        raise NetError(msg)
    axes = {f.name: f.batch_axis for f in fields} | {k: v for param in params for k, v in param.batch_axis.items()}
    inputs = inputs_of(net)
    axes = {name: axis for name, axis in axes.items() if axis and name in inputs}
    check_rows(inputs, axes)
    return RowRules(tuple(params), axes)
