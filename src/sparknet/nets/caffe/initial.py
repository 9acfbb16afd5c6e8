"""The ``weights:`` of a solver: files of trained layers that its nets start from. They are read where the prototxt is.

Caffe has the field since 2018. It is taken out of the text here, so it works with every Caffe.
"""

from collections.abc import Container, Iterable, Sequence
from typing import Any

from sparknet.errors import NetError
from sparknet.formats.layers import Layers
from sparknet.formats.outline import cut
from sparknet.nets.caffe import model_file
from sparknet.nets.caffe.files import Places
from sparknet.nets.caffe.notes import note
from sparknet.nets.caffe.runtime import messages, text_format

__all__ = ["Initial", "initial_of", "start_from", "without_weights"]

_FIELD = "weights"
Initial = tuple[tuple[str, Layers], ...]


def without_weights(text: str, where: str) -> tuple[str, list[str]]:
    """Return a solver's text without its ``weights:``, and their values: comma lists, as in Caffe."""
    rest, raw = cut(text, _FIELD)
    said = messages().SolverParameter()
    try:
        for value in raw:
            text_format().Parse(f"test_net: {value}", said)  # any repeated field of text will do
    except text_format().ParseError as error:
        msg = f"{where}: {_FIELD} is {value}; expected the name of a file, or several with commas between: {error}"
        raise NetError(msg) from None
    return rest, list(said.test_net)


def initial_of(weights: str | Sequence[str], layers: Iterable[str], places: Places, where: str) -> Initial:
    """Return name and layers of each file, in order; only layers of the nets are kept.

    Parameters
    ----------
    weights
        Comma lists of files.
    layers
        Names of the nets' layers.
    places
        The folders in which the files are searched.
    where
        The solver's name in errors.

    Raises
    ------
    NetError
        A file is missing (then a FileNotFoundError too), damaged, or has no layer of the nets.
    """
    wanted = set(layers)
    out = []
    for said in [weights] if isinstance(weights, str) else weights:
        for name in said.split(","):
            path = places.find(name.strip(), f"weights file ({_FIELD}: {said[:100]!r})")
            found = model_file.read(path)
            kept = {layer: arrays for layer, arrays in found.items() if layer in wanted}
            if not any(kept.values()):
                msg = (
                    f"{where}: {str(path)!r} has weights for the layers {', '.join(found)}; the nets have none of them"
                )
                raise NetError(msg, path=str(path))
            skipped = [layer for layer, arrays in found.items() if arrays and layer not in wanted]
            also = f"; skipped, not in this net: {', '.join(skipped)}" if skipped else ""
            nbytes = sum(array.nbytes for arrays in kept.values() for array in arrays.values())
            note(f"{where}: starts from {path}, {nbytes:,} bytes{also}")
            out.append((str(path), kept))
    return tuple(out)


def start_from(initial: Initial, net: Any, but: Container[str] = ()) -> None:
    """Copy layers into a ``caffe.Net``: those that it has, without those in ``but``.

    Raises
    ------
    NetError
        A layer has another shape.
    """
    weights = model_file.by_layer(net)
    for path, layers in initial:
        mine = {name: arrays for name, arrays in layers.items() if name in weights and name not in but}
        if any(mine.values()):
            model_file.put(weights, mine, repr(path))
