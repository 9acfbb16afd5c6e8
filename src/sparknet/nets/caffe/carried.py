"""Files that Caffe's layers open for themselves while a net is made: they travel with the definition, as bytes.

A worker on another machine has none of the driver's files. So a file is read and checked where the prototxt is, its
name in the net becomes a mark, and where a net is made it is written to a folder that is gone afterwards. What data
layers open is not here: they become inputs. Layers that write files are left out: every worker would write its own.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparknet.errors import FormatError, NetError, located
from sparknet.formats.blobs import array_of, parse
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


def _check_matrix(path: Path, layer: Any) -> None:
    """Refuse what Caffe would take for an empty matrix, or learn NaN from."""
    matrix = array_of(parse("BlobProto", path), "")
    side = math.isqrt(matrix.size)
    if not matrix.size or side * side != matrix.size:
        msg = f"has shape {matrix.shape}; expected a matrix, a row and a column for each label"
        raise NetError(msg, layer=layer.name)
    if not np.isfinite(matrix).all():
        msg = "holds a value that is not finite"
        raise NetError(msg, layer=layer.name)


class _Opened(NamedTuple):
    """A field with the name of a file that a layer reads."""

    type: str
    message: tuple[str, ...]
    field: str
    what: str
    check: Callable[[Path, Any], None] | None = None


_OPENED = (
    _Opened("InfogainLoss", ("infogain_loss_param",), "source", "infogain matrix (source)", _check_matrix),
    # the layers of SSD
    _Opened("DetectionOutput", ("detection_output_param", "save_output_param"), "label_map_file", "label_map_file"),
    _Opened("DetectionOutput", ("detection_output_param", "save_output_param"), "name_size_file", "name_size_file"),
    _Opened("DetectionEvaluate", ("detection_evaluate_param",), "name_size_file", "name_size_file"),
)
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
    for layer, opened, message in _named(net.layer):
        with located(f"layer {layer.name!r} ({layer.type})"):
            if opened.type == "InfogainLoss" and len(layer.bottom) >= _MATRIX_BOTTOM:
                message.ClearField(opened.field)  # Caffe does not read it
                continue
            path = places.find(getattr(message, opened.field), opened.what)
            data = _checked(path, opened, layer)
            mark = _MARK + hashlib.sha256(data).hexdigest()
            out[mark] = data
            setattr(message, opened.field, mark)
            note(f"{path}: {len(data):,} bytes travel with the net, for layer {layer.name!r}")
    return out


def placed(text: str, files: Mapping[str, bytes], folder: Path) -> str:
    """Write the files to a folder, and return the text of a net with their paths in the place of the marks."""
    if not files:
        return text
    for mark, data in files.items():
        (folder / mark).write_bytes(data)
    net = text_format().Parse(text, messages().NetParameter())
    for _, opened, message in _named(net.layer):
        if getattr(message, opened.field) in files:
            setattr(message, opened.field, str(folder / getattr(message, opened.field)))
    return str(text_format().MessageToString(net))


def _named(layers: Iterable[Any]) -> Iterator[tuple[Any, _Opened, Any]]:
    """Yield each layer that opens a file, the field that names it, and the message that has the field."""
    for layer in layers:
        for opened in _OPENED:
            if layer.type == opened.type:
                message: Any = layer
                for name in opened.message:
                    message = getattr(message, name, None)
                if hasattr(message, opened.field) and (message.HasField(opened.field) or opened.check):
                    yield layer, opened, message


def _checked(path: Path, opened: _Opened, layer: Any) -> Bytes:
    if opened.check is not None:
        try:
            opened.check(path, layer)
        except (FormatError, NetError) as error:
            msg = f"the {opened.what} {str(path)!r} {error}"
            raise NetError(msg, layer=layer.name) from error
    return Bytes(path.read_bytes())
