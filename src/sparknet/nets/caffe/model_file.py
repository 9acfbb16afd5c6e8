"""Files of trained weights: into a net by the names of layers, and out of it. Read without Caffe, whole after writing."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.errors import FormatError, NetError, SchemaError
from sparknet.formats import format_of
from sparknet.formats import write as write_file
from sparknet.formats.layers import Layers, fitted, layers_of
from sparknet.formats.table import FORMATS, format_by_suffix
from sparknet.ndarray import NDArray
from sparknet.nets.caffe.files import Places
from sparknet.nets.caffe.runtime import MissingFileError, translated
from sparknet.weights import WeightCollection

__all__ = ["by_layer", "put", "read", "save"]


def read(path: Path) -> Layers:
    """Return the layers of a file of any format, told by its contents as Caffe does it, not by its name.

    Raises
    ------
    NetError
        The file is missing (then a FileNotFoundError too), damaged, or holds no layers.
    """
    path = Places().find(str(path), "weights file")
    try:
        found = format_of(path)
        if found not in FORMATS:
            what = f"a prototxt of a {found}" if found else "no .caffemodel, nor of another known format"
            msg = f"{str(path)!r} is {what}; expected trained weights"
            raise NetError(msg, path=str(path))
        return layers_of(path, file_format=found)
    except (FormatError, SchemaError) as error:
        raise NetError(_naming(path, error), path=str(path)) from error


def by_layer(net: Any) -> dict[str, Sequence[NDArray]]:
    """Return views of the arrays of a ``caffe.Net`` by layer, layers without any too; not to be kept."""
    weights = WeightCollection({name: [blob.data for blob in blobs] for name, blobs in net.params.items()})
    return dict.fromkeys(net._layer_names, ()) | dict(weights)


def put(weights: Mapping[str, Sequence[NDArray]], layers: Layers, where: str) -> None:
    """Copy the layers of a file that a net has too into the net's own memory; others stay.

    Parameters
    ----------
    weights
        Views of the net's arrays, by layer; a layer without arrays is known by its name.
    layers, where
        Of the file, and what errors call it.

    Raises
    ------
    NetError
        There is no such layer, or one of another shape; nothing is changed.
    """
    try:
        found = fitted(weights, layers, where)
    except SchemaError as error:
        raise NetError(str(error), **vars(error)) from None
    for name, arrays in found.items():
        for i, array in arrays.items():
            np.copyto(weights[name][i].to_host(), array)


def save(net: Any, path: Path, weights: WeightCollection) -> None:
    """Write the weights of ``net`` to ``path``, in the format of its suffix: all of them, or nothing."""
    if not path.parent.is_dir():
        msg = f"cannot save weights to {str(path)!r}: there is no folder {str(path.parent)!r}"
        raise MissingFileError(msg, path=str(path))
    try:
        file_format = format_by_suffix(path, None)
    except FormatError:
        file_format = "caffemodel"  # Caffe itself asks for no suffix
    if file_format != "caffemodel":
        write_file(path, weights, file_format=file_format)
        return
    with tempfile.TemporaryDirectory(prefix=".sparknet-", dir=path.parent) as folder:
        temporary = Path(folder) / "weights.caffemodel"
        with translated(f"weights {str(path)!r}"):
            net.save(str(temporary))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


def _naming(path: Path, error: Exception) -> str:
    return str(error) if str(path) in str(error) else f"{str(path)!r}: {error}"
