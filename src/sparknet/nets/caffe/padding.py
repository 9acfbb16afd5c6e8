"""What a short batch can be padded with so that the net learns from its own rows alone.

A loss that ignores a label leaves rows with it out of its sum and out of its count. A net that multiplies each
example's loss by an input can be given weight 0. Any other loss counts every row.
"""

from collections.abc import Iterable
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.caffe.inputs import inputs_of
from sparknet.nets.caffe.layers import sources_of
from sparknet.nets.caffe.metrics import ignores

__all__ = ["padding_of"]

# Layers whose output for one row depends on the others, in the training phase.
_MIXING = {"BatchNorm", "BatchNormKyle", "BatchReindex", "LSTM", "RNN"}
_SEPARATE_IN_TEST = {"BatchNorm", "BatchNormKyle"}  # they take the statistics of training there


def padding_of(net: Any, weight: str | None, *, train: bool = True) -> dict[str, float]:
    """Return input -> value for the rows that are added to a batch of the phase net ``net``; other inputs get zeros.

    Parameters
    ----------
    net
        A NetParameter of the phase.
    train
        Whether it is the training phase, where losses count; in the test phase every number that is reported does.
    weight
        The input that the net multiplies each example's loss by, if it has one.

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
    for layer in net.layer:
        if layer.type in _MIXING - (set() if train else _SEPARATE_IN_TEST):
            raise NetError(_refusal(layer, "mixes the rows of a batch, so padded ones would change the others"))
    for layer in _losses(net.layer) if train else _numbers(net.layer):
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


def _numbers(layers: Iterable[Any]) -> list[Any]:
    """Return the layers that report a number for a batch: losses, accuracies, and sums that nothing reads."""
    read = {bottom for layer in layers for bottom in layer.bottom}
    kinds = [layer for layer in layers if layer.type.endswith("Loss") or layer.type in ("Accuracy", "Reduction")]
    return [layer for layer in kinds if not set(layer.top) <= read]


def _refusal(layer: Any, fault: str) -> str:
    return (
        f"padding(): layer {layer.name!r} ({layer.type}) {fault}. Give a SoftmaxWithLoss, InfogainLoss or "
        "SigmoidCrossEntropyLoss an input as its labels and "
        "loss_param { ignore_label: -1 normalization: VALID } (an Accuracy: accuracy_param { ignore_label: -1 }); or multiply the loss by an input and name it "
        "(weight=); or use ragged='drop' or 'reshape'"
    )
