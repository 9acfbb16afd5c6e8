"""Weights of layers that only the test phase has: shared with a training layer by ``param { name: }``, or not trained at all.

Caffe gives a test net the weights of training layers with the same name. A layer that only the test phase has keeps its filler's
values in Caffe, even if it shares a training layer's weights by name. Here it gets these weights.
"""

import logging
from collections.abc import Container, Iterator
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.caffe.notes import note

__all__ = ["copy_shared", "shared_by_name"]

_CONSTANT = ("constant", "bilinear")  # fillers whose weights are the same in every net

Pairs = list[tuple[Any, Any]]


def shared_by_name(train_param: Any, train: Any, test_param: Any, test: Any, loaded: Container[str] = ()) -> Pairs:
    """Return pairs of blobs: one of a layer that only the test net has, and the blob of the training net that it shares.

    Parameters
    ----------
    train_param, test_param
        The NetParameters of the phases.
    train, test
        The nets made from them.
    loaded
        Layers whose weights come from a file.

    Raises
    ------
    NetError
        Shapes differ, or a layer has random weights that no step trains.
    """
    owned: dict[str, Any] = {}
    for layer in train_param.layer:
        for spec, blob in zip(layer.param, train.params.get(layer.name, ()), strict=False):
            owned.setdefault(spec.name, blob)
    owned.pop("", None)
    pairs: Pairs = []
    for layer in test_param.layer:
        if layer.name in test.params and layer.name not in train.params:
            pairs += _pairs(layer, list(test.params[layer.name]), owned, loaded)
    return pairs


def copy_shared(pairs: Pairs) -> None:
    """Copy weights of the training net to the layers of the test net that share them."""
    for target, source in pairs:
        target.data[...] = source.data.reshape(target.data.shape)


def _pairs(layer: Any, blobs: list[Any], owned: dict[str, Any], loaded: Container[str]) -> Pairs:
    found = [
        (spec, blob, owned[spec.name]) for spec, blob in zip(layer.param, blobs, strict=False) if spec.name in owned
    ]
    for spec, target, source in found:
        needed, got = target.data.shape, source.data.shape
        if needed != got and not (spec.share_mode == spec.PERMISSIVE and target.data.size == source.data.size):
            msg = (
                f"layer {layer.name!r}, of the TEST phase alone, shares the weights {spec.name!r}, of shape {got}; "
                f"it needs {needed}"
            )
            raise NetError(msg, layer=layer.name, got=got, expected=needed)
    if len(found) < len(blobs) and layer.name not in loaded:
        _untrained(layer)
    return [(target, source) for _, target, source in found]


def _untrained(layer: Any) -> None:
    """Note that a layer keeps the weights of its fillers; a NetError if these are random."""
    what = f"layer {layer.name!r} ({layer.type}) is in the TEST phase alone and has weights of its own, which no step trains"
    if any(filler.type not in _CONSTANT for filler in _fillers(layer)):
        msg = (
            f"{what}, so an evaluation would use random ones. Give it the name of the TRAIN phase's layer, or "
            "share that one's weights: param { name: } in both"
        )
        raise NetError(msg, layer=layer.name)
    note(f"{what}: they stay as its filler makes them", logging.WARNING)


def _fillers(layer: Any) -> Iterator[Any]:
    for field, param in layer.ListFields():
        if field.message_type and field.message_type.name.endswith("Parameter"):
            yield from (
                value
                for inner, value in param.ListFields()
                if inner.message_type and inner.message_type.name == "FillerParameter" and hasattr(value, "type")
            )
