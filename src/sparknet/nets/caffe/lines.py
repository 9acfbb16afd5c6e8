"""Where a prototxt says something: the line of a field of a layer, which protobuf does not keep."""

import re
from collections.abc import Iterator

__all__ = ["line_of"]

# Comments and texts are matched as wholes, so that what stands in them is not taken for fields.
_TOKEN = re.compile(r"#[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|[A-Za-z_]\w*|[{}<>\n]")
_OPEN, _CLOSE, _LAYERS = ("{", "<"), ("}", ">"), ("layer", "layers")


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
    above = [within] if within else []
    count = -1
    for name, line, blocks in _names(text):
        if blocks == above and name in _LAYERS:
            count += 1
        elif count == layer and name == field and len(blocks) > len(above):
            return line
        if count > layer:
            break
    return None


def _names(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """Yield each name in ``text`` with its line and the names of the blocks that it stands in."""
    line, last, blocks = 1, "", list[str]()
    for found in _TOKEN.findall(text):
        if found == "\n":
            line += 1
        elif found in _OPEN:
            blocks.append(last)
        elif found in _CLOSE:
            del blocks[-1:]
        elif found[0].isalpha() or found[0] == "_":
            last = found
            yield found, line, blocks
