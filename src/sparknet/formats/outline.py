"""Tells from its text, without Caffe, whether a prototxt is a net or a solver, and which layers it has.

Caffe's parser knows every field by name. This one does not, so it also tells what a text is that Caffe would refuse: a net in
the place of a solver, or a net with the fields of a fork.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sparknet.formats.prototxt import Node, blanked, parsed

__all__ = ["Outline", "cut", "outline"]

# Fields of one kind that the other does not have.
_NET = {"layer", "layers", "input", "input_dim", "input_shape", "state", "force_backward", "name"}
_SOLVER = {
    *("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param", "base_lr", "lr_policy"),
    *("max_iter", "solver_mode", "solver_type", "momentum", "weight_decay", "test_iter", "test_interval", "snapshot"),
    *("snapshot_prefix", "gamma", "power", "stepsize", "stepvalue", "random_seed", "display", "type", "weights"),
}


class Outline(NamedTuple):
    """What a prototxt is.

    Parameters
    ----------
    kind
        ``"net"`` or ``"solver"``.
    fields
        Name of each plain field at the top -> its last value as written, without quotes.
    layers
        Name and type of each layer.
    """

    kind: str
    fields: dict[str, str]
    layers: tuple[tuple[str, str], ...]


def outline(text: str) -> Outline | None:
    """Return what a text is; None if it is no prototxt of Caffe.

    Examples
    --------
    >>> outline('net: "lenet.prototxt" base_lr: 0.01').fields["net"]
    'lenet.prototxt'
    >>> outline('layer { name: "data" type: "Input" top: "x" }').layers
    (('data', 'Input'),)
    >>> outline("Dear reader,") is None
    True
    """
    try:
        nodes = parsed(text)
    except ValueError:
        return None
    names = {node.name for node in nodes}
    kind = "solver" if names & _SOLVER else "net" if names & _NET else None
    if kind is None:
        return None
    layers = [message for node in nodes if node.name in ("layer", "layers") for message in node.messages]
    fields = {node.name: _plain(text, node) for node in nodes if node.words}
    return Outline(
        kind, fields, tuple((_of_layer(text, each, "name"), _of_layer(text, each, "type")) for each in layers)
    )


def _of_layer(text: str, layer: Sequence[Node], name: str) -> str:
    """Return the value of a field of a layer. In files of 2013, it is in an inner message."""
    inner = [node for field in layer if field.name == "layer" for message in field.messages for node in message]
    return next((_plain(text, node) for node in (*layer, *inner) if node.name == name and node.words), "")


def _plain(text: str, node: Node) -> str:
    """Return the value of a field without quotes; a list as written."""
    return node.words[0].text.strip("\"'") if len(node.words) == 1 else text[node.value : node.value_end]


def cut(text: str, name: str) -> tuple[str, list[str]]:
    """Return a text without the plain fields ``name`` at its top, and the values of these fields as written.

    All other text keeps its line and column. A text that is no prototxt is returned as it is.

    Examples
    --------
    >>> cut('net: "a" weights: "b" type: "SGD"', "weights")
    ('net: "a"              type: "SGD"', ['"b"'])
    """
    try:
        found = [node for node in parsed(text) if node.name == name and node.words]
    except ValueError:
        return text, []
    rest = blanked(text, ((node.start, node.end) for node in found))
    return rest, [text[node.value : node.value_end] for node in found]
