"""What the RDDDataLayers of a phase say of the rows of a batch; a CaffeNet, which is fed without them, keeps to it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sparknet.data.ragged import Even
from sparknet.errors import DataError, NetError
from sparknet.nets.caffe.layer_param import LayerParam, is_rdd_layer

__all__ = ["ANY", "Rows", "rows_of_layers"]


@dataclass(frozen=True)
class Rows:
    """The parameters of a phase's RDDDataLayers, which agree; none where the net has other inputs.

    Parameters
    ----------
    layers
        What each says, with the batch size that the net was made with.
    """

    layers: tuple[LayerParam, ...] = ()

    @property
    def even(self) -> Even | None:
        """What becomes of short batches; None where nothing is said of them."""
        return next((Even(p.batch_size, p.ragged, p.padding) for p in self.layers if p.ragged != "reshape"), None)

    @property
    def labels(self) -> list[tuple[str, int, float | None]]:
        """Columns of labels whose classes are said: the name, the classes, and what may occur beside them."""
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


ANY = Rows()  # nothing is said


def rows_of_layers(layers: Iterable[Any], batch_size: int | None) -> Rows:
    """Return what the RDDDataLayers among ``layers`` say, with another ``batch_size`` unless that is None.

    Raises
    ------
    NetError
        One says other things of short batches than another: a batch of a CaffeNet feeds all of them.
    """
    found = [LayerParam.from_json(layer.python_param.param_str) for layer in layers if is_rdd_layer(layer)]
    params = [replace(param, batch_size=batch_size or param.batch_size) for param in found]
    said = {f"batch_size {param.batch_size}, ragged {param.ragged!r}": None for param in params}
    if len(said) > 1:
        msg = f"one RDDDataLayer says {', another '.join(said)}; a batch feeds all of them, so they must say the same"
        raise NetError(msg)
    return Rows(tuple(params))
