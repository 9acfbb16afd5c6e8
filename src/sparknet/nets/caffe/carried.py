"""Files that Caffe's layers open for themselves while a net is made: they travel with the definition, as bytes.

A worker on another machine has none of the driver's files. So a file is read and checked where the prototxt is, its
name in the net becomes a mark, and where a net is made it is written to a folder that is gone afterwards. What data
layers open is not here: they become inputs. Layers that write files are left out: every worker would write its own.
"""

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.errors import FormatError, NetError, located
from sparknet.formats.blobs import array_of, parse_bytes, read_message
from sparknet.nets.caffe.files import Places
from sparknet.nets.caffe.notes import note
from sparknet.nets.caffe.runtime import messages, text_format

__all__ = ["Carried", "carry", "placed", "without_writers"]

_MARK = "sparknet-carried-"
_MATRIX_BOTTOM = 3  # an InfogainLoss with so many bottoms takes its matrix from the last


class Bytes(bytes):
    """The bytes of a file, told by their number."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the size alone: a factory is shown in error messages."""
        return f"<{len(self):,} bytes>"


Carried = dict[str, Bytes]  # by the mark that a net has in the place of the file's name


_WRITERS = ("HDF5Output",)


def without_writers(layers: Sequence[Any], where: str) -> list[Any]:
    """Return the layers but those that write files; a note names each."""
    for layer in layers:
        if layer.type in _WRITERS:
            note(
                f"{where}: left out layer {layer.name!r} ({layer.type}), which writes a file: each worker would "
                "write its own",
                logging.WARNING,
            )
    return [layer for layer in layers if layer.type not in _WRITERS]


def carry(net: Any, places: Places) -> Carried:
    """Return the files that layers of ``net`` open, and put marks in the place of their names.

    Raises
    ------
    NetError
        A file is not found (then a FileNotFoundError too), not what its layer expects, or not named.
    """
    out: Carried = {}
    for layer in _readers(net):
        with located(f"layer {layer.name!r} ({layer.type})"):
            if len(layer.bottom) >= _MATRIX_BOTTOM:
                layer.infogain_loss_param.ClearField("source")  # Caffe does not read it
                continue
            if not layer.infogain_loss_param.source:
                msg = "has no matrix; give it one by infogain_loss_param { source: } or as a third bottom"
                raise NetError(msg, layer=layer.name)
            path = places.find(layer.infogain_loss_param.source, "infogain matrix (source)")
            data = _checked(path)
            mark = _MARK + hashlib.sha256(data).hexdigest()
            out[mark] = data
            layer.infogain_loss_param.source = mark
            note(f"{path}: {len(data):,} bytes travel with the net, for layer {layer.name!r}", logging.INFO)
    return out


def placed(text: str, files: Mapping[str, bytes], folder: Path) -> str:
    """Write the files to a folder, and return the text of a net with their paths in the place of the marks."""
    if not files:
        return text
    for mark, data in files.items():
        (folder / mark).write_bytes(data)
    net = text_format().Parse(text, messages().NetParameter())
    for layer in _readers(net):
        if layer.infogain_loss_param.source in files:
            layer.infogain_loss_param.source = str(folder / layer.infogain_loss_param.source)
    return str(text_format().MessageToString(net))


def _readers(net: Any) -> list[Any]:
    """Return the layers that open a file to read it; of BVLC's, beside the data layers, there is one type."""
    return [layer for layer in net.layer if layer.type == "InfogainLoss"]


def _checked(path: Path) -> Bytes:
    """Return the bytes of an infogain matrix; refuse what Caffe would take for an empty one, or learn NaN from."""
    try:
        data = read_message(path)
        matrix = array_of(parse_bytes("BlobProto", data, path.suffix), "")
    except (OSError, FormatError) as error:
        raise _wrong(path, str(error)) from error
    side = math.isqrt(matrix.size)
    if not matrix.size or side * side != matrix.size:
        raise _wrong(path, f"has shape {matrix.shape}; expected a matrix, a row and a column for each label")
    if not np.isfinite(matrix).all():
        raise _wrong(path, "holds a value that is not finite")
    return Bytes(data)


def _wrong(path: Path, what: str) -> NetError:
    return NetError(f"the infogain matrix (source) {str(path)!r} {what}", path=str(path))
