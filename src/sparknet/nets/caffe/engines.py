"""Layers that ask for cuDNN, an engine that this Caffe is built without. It computes the same, so the field can be left out."""

import logging
from collections.abc import Iterator
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.caffe.notes import note

__all__ = ["check_engines", "drop_engines"]

_ABSENT = "CUDNN"


def check_engines(layers: Any) -> None:
    """Raise a NetError that names the layers which ask for a missing engine."""
    asking = [f"{layer.name!r} ({layer.type})" for layer in layers for _ in _asking(layer)]
    if asking:
        msg = (
            f"engine {_ABSENT} is asked for by {', '.join(asking)}; this Caffe is built without it, for the CPU. Take the field "
            "out, or have it dropped (the CPU computes the same): unknown_fields='drop', in the command --drop-unknown-fields"
        )
        raise NetError(msg)


def drop_engines(net: Any, where: str) -> None:
    """Clear the field in the layers of the NetParameter ``net`` that ask for a missing engine, and log which these are."""
    names = []
    for layer in (*net.layer, *net.layers):
        for param in _asking(layer):
            param.ClearField("engine")
            names.append(repr(layer.name))
    if names:
        note(f"{where}: dropped engine {_ABSENT}, which is not here, of {', '.join(names)}", logging.WARNING)


def _asking(layer: Any) -> Iterator[Any]:
    """Yield the parameters of a layer that ask for the engine."""
    for field, param in layer.ListFields():
        inner = field.message_type and field.message_type.fields_by_name.get("engine")
        if inner and param.engine == inner.enum_type.values_by_name[_ABSENT].number:
            yield param
