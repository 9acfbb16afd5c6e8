"""Where a prototxt says something: the line of a field of a layer, which protobuf does not keep."""

from sparknet.formats.prototxt import walk

__all__ = ["line_of"]

_LAYERS = ("layer", "layers")


def line_of(text: str, layer: int, field: str, within: str = "") -> int | None:
    r"""Return the line, from 1 on, on which the layer of this number (from 0 on) has ``field``.

    Parameters
    ----------
    text
        A prototxt, known to be one.
    layer
        Its place among the layers of the net.
    field
        Name of the field, at any depth of the layer; where it is repeated, the first counts.
    within
        The field of a solver that has the net in it, such as ``net_param``; by default the text is the net's.

    Examples
    --------
    >>> line_of('name: "net"\nlayer { name: "data"\n  transform_param { scale: 0.5 } }', 0, "scale")
    3
    """
    above = (within,) if within else ()
    count = -1
    for path, value, found in walk(text):
        if path[:-1] == above and value is None and path[-1] in _LAYERS:
            count += 1
        elif count == layer and value is not None and path[-1] == field and len(path) > len(above) + 1:
            return text.count("\n", 0, found.start()) + 1
    return None
