"""Files of trained weights in Caffe's own format, ``.caffemodel``: checked before reading, whole after writing."""

import os
import tempfile
from pathlib import Path
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.caffe.runtime import MissingFileError, decode_error, messages, translated
from sparknet.weights import WeightCollection

__all__ = ["copy_from", "save"]


def copy_from(net: Any, path: Path, weights: WeightCollection) -> None:
    """Copy the layers of the file that ``net``, whose weights are ``weights``, has too; by name.

    Raises
    ------
    NetError
        The file is missing, no ``.caffemodel``, or does not fit; nothing is changed.
    """
    if not path.is_file():
        msg = f"no weights file at {str(path)!r} (working folder {str(Path.cwd())!r})"
        raise MissingFileError(msg, path=str(path))
    model = messages().NetParameter()
    try:
        model.ParseFromString(path.read_bytes())
    except decode_error() as error:
        msg = f"{str(path)!r} is no .caffemodel: {error}"
        raise NetError(msg, path=str(path)) from None
    found = {layer.name: layer.blobs for layer in model.layer or model.layers if layer.blobs}
    if not found.keys() & weights.keys():
        got, needed = ", ".join(found) or "none", ", ".join(weights)
        msg = f"{str(path)!r} has weights for the layers {got}; this net has {needed}"
        raise NetError(msg, path=str(path))
    for name in found.keys() & weights.keys():
        _check_layer(path, name, [_shape(blob) for blob in found[name]], [array.shape for array in weights[name]])
    with translated(f"weights {str(path)!r}"):
        net.copy_from(str(path))


def _shape(blob: Any) -> tuple[int, ...] | None:
    """Return the shape of a BlobProto, or None for the old way, which Caffe compares by its own rules."""
    return tuple(blob.shape.dim) if blob.HasField("shape") else None


def _check_layer(path: Path, name: str, got: list[Any], expected: list[Any]) -> None:
    if len(got) != len(expected) or any(g not in (e, None) for g, e in zip(got, expected, strict=True)):
        msg = (
            f"{str(path)!r}: layer {name!r} has arrays of the shapes {got}; this net needs {expected}. "
            "A layer of another shape needs another name"
        )
        raise NetError(msg, layer=name, got=got, expected=expected)


def save(net: Any, path: Path) -> None:
    """Write the weights of ``net`` to ``path``: all of them, or nothing."""
    if not path.parent.is_dir():
        msg = f"cannot save weights to {str(path)!r}: there is no folder {str(path.parent)!r}"
        raise MissingFileError(msg, path=str(path))
    with tempfile.TemporaryDirectory(prefix=".sparknet-", dir=path.parent) as folder:
        temporary = Path(folder) / "weights.caffemodel"
        with translated(f"weights {str(path)!r}"):
            net.save(str(temporary))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
