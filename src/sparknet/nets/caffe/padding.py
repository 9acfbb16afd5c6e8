"""The values that a short batch can be padded with, so that the net learns from the batch's own rows alone.

A loss with an ``ignore_label`` leaves rows with this label out of its sum and its count. A net that multiplies each example's loss
by an input can get a weight of 0. Any other loss counts every row.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.caffe.inputs import inputs_of
from sparknet.nets.caffe.layers import sources_of
from sparknet.nets.caffe.metrics import ignores

__all__ = ["padding_of"]

# Layers whose output for a row depends on other rows; recurrent ones do not if time is before the batch.
_RECURRENT = {"LSTM", "RNN"}
_MIXING = {"BatchNorm", "BatchReindex", *_RECURRENT}
_NOWHERE: Mapping[str, int] = MappingProxyType({})
_MIXING_IN_TEST = _MIXING - {"BatchNorm"}  # in test it takes the statistics of training


def padding_of(
    net: Any, weight: str | None, *, axes: Mapping[str, int] = _NOWHERE, reported: Collection[str] | None = None
) -> dict[str, float]:
    """Return input -> value of the rows added to a batch of the phase net ``net``; other inputs get zeros.

    Parameters
    ----------
    net
        A NetParameter of the phase.
    weight
        The input with which the net multiplies each example's loss, if it has one.
    axes
        Input -> batch axis, for those whose batch axis is not the first.
    reported
        The blobs whose numbers the test phase reports; None for the training phase, where losses count.

    Raises
    ------
    NetError
        A loss counts every row, or a layer mixes rows.
    """
    inputs, sources = inputs_of(net), sources_of(net)
    if weight is not None and weight not in inputs:
        msg = f"padding(): the net has no input {weight!r} for weights; its inputs are {', '.join(inputs)}"
        raise NetError(msg)
    padding: dict[str, float] = {} if weight is None else {weight: 0.0}
    mixing = _MIXING if reported is None else _MIXING_IN_TEST
    for layer in net.layer:
        if layer.type in mixing and not _in_time(layer, sources, axes):
            raise NetError(_refusal(layer, "mixes the rows of a batch, so padded ones would change the others"))
    for layer in _losses(net.layer) if reported is None else _reporting(net.layer, reported):
        if ignores(layer) and layer.bottom[1] in inputs:
            ignored = float((layer.accuracy_param if layer.type == "Accuracy" else layer.loss_param).ignore_label)
            if padding.setdefault(layer.bottom[1], ignored) != ignored:
                raise NetError(_refusal(layer, f"ignores {ignored:g} and another layer {padding[layer.bottom[1]]:g}"))
        elif weight is None or weight not in frozenset[str]().union(*(sources[name] for name in layer.bottom)):
            raise NetError(_refusal(layer, "counts every row, padded ones too"))
    return padding


def _losses(layers: Iterable[Any]) -> list[Any]:
    """Return the layers that the solver minimises: by type, unless ``loss_weight`` says otherwise."""
    return [layer for layer in layers if (any(layer.loss_weight) if layer.loss_weight else layer.type.endswith("Loss"))]


def _reporting(layers: Sequence[Any], reported: Collection[str]) -> list[Any]:
    """Return the last layer that writes each blob whose numbers are reported."""
    last = {top: i for i, layer in enumerate(layers) for top in layer.top}
    return [layer for i, layer in enumerate(layers) if any(last[top] == i for top in layer.top if top in reported)]


def _in_time(layer: Any, sources: Mapping[str, frozenset[str]], axes: Mapping[str, int]) -> bool:
    """Say whether a recurrent layer mixes steps but no rows: its sequence and its marks have time before the batch."""
    return layer.type in _RECURRENT and all(
        axes.get(name, 0) == 1 for bottom in layer.bottom[:2] for name in sources[bottom]
    )


def _refusal(layer: Any, fault: str) -> str:
    return (
        f"padding(): layer {layer.name!r} ({layer.type}) {fault}. Give a SoftmaxWithLoss, InfogainLoss or "
        "SigmoidCrossEntropyLoss an input as its labels and loss_param { ignore_label: -1 normalization: VALID } (an "
        "Accuracy: accuracy_param { ignore_label: -1 }); or multiply the loss by an input and name it (weight=); or use "
        "ragged='drop' or 'reshape'"
    )
