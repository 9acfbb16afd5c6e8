"""The line of a layer's field in a prototxt; protobuf does not keep it."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from sparknet.formats.prototxt import Node, parsed

__all__ = ["line_of"]

_LAYERS = ("layer", "layers")


def line_of(text: str, layer: int, field: str, within: str = "") -> int | None:
    r"""Return the 1-based line on which a layer has ``field``.

    Parameters
    ----------
    text
        A valid prototxt.
    layer
        The layer's 0-based place in the net.
    field
        Name of the field, at any depth of the layer; of a repeated field, the first one counts.
    within
        The field of a solver that holds the net, such as ``net_param``; by default the text is that of a net.

    Examples
    --------
    >>> line_of('name: "net"\nlayer { name: "data"\n  transform_param { scale: 0.5 } }', 0, "scale")
    3
    """
    layers = _layers(text, within)
    fields = _all(layers[layer]) if layer < len(layers) else ()
    place = next((node.start for node in fields if node.name == field and node.words), None)
    return None if place is None else text.count("\n", 0, place) + 1


@lru_cache(maxsize=1)  # calls one after the other are about the same text
def _layers(text: str, within: str) -> list[tuple[Node, ...]]:
    """Return the fields of each layer of the net."""
    nodes = parsed(text)
    if within:
        nodes = tuple(_inside(node for node in nodes if node.name == within))
    return [message for node in nodes if node.name in _LAYERS for message in node.messages]


def _inside(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield the fields of the messages in ``nodes``."""
    return (node for outer in nodes for message in outer.messages for node in message)


def _all(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield the fields at all depths, in their order."""
    for node in nodes:
        yield node
        yield from _all(_inside([node]))
