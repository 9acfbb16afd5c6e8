"""A forward pass, layer by layer, that finds the layer which does not take a batch's number of rows."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sparknet.errors import NetError, SparknetError
from sparknet.ndarray import NDArray
from sparknet.nets.caffe.feed import Feeder

__all__ = ["rehearse"]


def rehearse(
    net: Any,
    feeder: Feeder,
    parts: Sequence[Mapping[str, NDArray]],
    seed: Callable[[], None],
    optional: Collection[str] = (),
) -> None:
    """Run the first of the ``parts`` of a batch forward, and backward if there are Python layers; the other parts are only checked.

    Parameters
    ----------
    net, feeder
        A ``caffe.Net`` and its Feeder.
    parts
        Columns for the inputs; those of ``optional`` inputs may be missing.
    seed
        Seeds Caffe's generator.

    Raises
    ------
    DataError
        A column does not fit.
    NetError
        A layer refuses the rows, or an output keeps its number of rows whatever the batch has.
    """
    for part in reversed(parts):
        feeder.feed(part, optional, reshape=False)
    seed()
    layers = list(enumerate(net._layer_names))
    _each(net, layers, net._forward, _rows(feeder, len(parts)))
    if any(
        layer.type == "Python" for layer in net.layers
    ):  # only Python layers may refuse rows in the backward pass alone
        _each(net, layers[::-1], net._backward, _rows(feeder, len(parts)))
        net.clear_param_diffs()
    _check_outputs(net, feeder)


def _each(net: Any, layers: Sequence[tuple[int, str]], run: Callable[[int, int], Any], rows: str) -> None:
    """Run the layers one by one; a NetError names the one that refuses."""
    for index, name in layers:
        try:
            run(index, index)
        except SparknetError:
            raise
        except Exception as error:  # a Python layer may raise anything
            refusal = "Caffe refuses it" if isinstance(error, RuntimeError) else type(error).__name__
            msg = f"layer {name!r} ({net.layers[index].type}){rows}: {refusal}: {error}"
            raise NetError(msg, layer=name) from error


def _rows(feeder: Feeder, passes: int) -> str:
    rows, declared = feeder.rows, feeder.declared_rows
    if rows == declared:
        return ""
    each = "batch" if passes == 1 else "pass"
    return f", with a {each} of {rows} rows where the prototxt declares {declared} (a batch size of {declared * passes} fits)"


def _check_outputs(net: Any, feeder: Feeder) -> None:
    """Raise a NetError for an output that keeps the declared rows though the batch has another number."""
    rows, declared = feeder.rows, feeder.declared_rows
    for name, before in feeder.output_shapes.items():
        now = tuple(net.blobs[name].shape)
        if not feeder.axes and rows != declared and before[:1] == (declared,) == now[:1] and before != now:
            msg = (
                f"the blob {name!r} has the shape {now} for a batch of {rows} rows, and {before} for {declared}: a layer fixes "
                "the number of rows, and mixes the values of different ones"
            )
            raise NetError(msg, blob=name)
