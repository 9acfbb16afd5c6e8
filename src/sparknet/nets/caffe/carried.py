"""Files that Caffe's layers open while a net is made. They travel with the definition, as bytes.

A worker on another machine does not have the driver's files. So a file is read and checked where the prototxt is, and a mark takes
the place of its name in the net. Where a net is made, the file is written to a temporary folder. The files of data layers are not
needed, because these layers become inputs. Layers that write files are left out, because every worker would write its own.
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

__all__ = ["Carried", "carry", "with_files", "without_writers"]

_MARK = "sparknet-carried-"
_MATRIX_BOTTOM = 3  # an InfogainLoss with three bottoms takes its matrix from the last


class Bytes(bytes):
    """The bytes of a file; their repr is their number."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the size alone, because error messages show a factory."""
        return f"<{len(self):,} bytes>"


Carried = dict[str, Bytes]  # mark in the net -> the file


_WRITERS = ("HDF5Output",)


def without_writers(layers: Sequence[Any], where: str) -> list[Any]:
    """Return the layers without those that write files; a note names each of them."""
    for layer in layers:
        if layer.type in _WRITERS:
            note(
                f"{where}: left out layer {layer.name!r} ({layer.type}), which writes a file: each worker would "
                "write its own",
                logging.WARNING,
            )
    return [layer for layer in layers if layer.type not in _WRITERS]


def carry(net: Any, places: Places) -> Carried:
    """Return the files that layers of ``net`` open, and replace their names by marks.

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


def with_files(text: str, files: Mapping[str, bytes], folder: Path) -> str:
    """Write the files to a folder, and return the text of a net with their paths for the marks."""
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
    """Return the layers that open a file to read it; besides data layers, BVLC's Caffe has one such type."""
    return [layer for layer in net.layer if layer.type == "InfogainLoss"]


def _checked(path: Path) -> Bytes:
    """Return the bytes of an infogain matrix; refuse one that Caffe would take for empty, or that holds NaN."""
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
