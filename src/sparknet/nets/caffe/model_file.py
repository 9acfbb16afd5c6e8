"""Files of trained weights: read without Caffe, copied into a net by layer names, and written atomically."""

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sparknet.errors import FormatError, NetError, SchemaError
from sparknet.files.replacing import check_link, replacing
from sparknet.formats import format_of
from sparknet.formats import write as write_file
from sparknet.formats.layers import Layers, fitted, layers_of
from sparknet.formats.table import FORMATS, format_by_suffix
from sparknet.ndarray import NDArray
from sparknet.nets.caffe.files import Places
from sparknet.nets.caffe.runtime import MissingFileError
from sparknet.weights import WeightCollection

__all__ = ["by_layer", "put", "read", "save"]

_MORE = 1 << 20  # bytes


def read(path: Path) -> Layers:
    """Return the layers of a file of any format; the contents decide which, as in Caffe, not the name.

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
    """Return views of the arrays of a ``caffe.Net`` by layer, also of layers without arrays; do not keep them."""
    weights = WeightCollection({name: [blob.data for blob in blobs] for name, blobs in net.params.items()})
    return dict.fromkeys(net._layer_names, ()) | dict(weights)


def put(weights: Mapping[str, Sequence[NDArray]], layers: Layers, where: str) -> None:
    """Copy the layers of a file that a net has too into the net's memory; the net's other layers stay.

    Parameters
    ----------
    weights
        Views of the net's arrays, by layer; layers without arrays are in it too.
    layers, where
        The layers of the file, and its name in errors.

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


def save(net: Any, path: Path, weights: WeightCollection, *, follow_links: bool = True) -> None:
    """Write the weights of ``net`` to ``path`` atomically, in the format of its suffix."""
    if not path.parent.is_dir():
        msg = f"cannot save weights to {str(path)!r}: there is no folder {str(path.parent)!r}"
        raise MissingFileError(msg, path=str(path))
    try:
        file_format = format_by_suffix(path, None)
    except FormatError:
        file_format = "caffemodel"  # Caffe itself asks for no suffix
    if file_format != "caffemodel":
        check_link(path, follow_links=follow_links)
        write_file(path, weights, file_format=file_format)
        return
    with replacing(path, follow_links=follow_links) as file:
        try:
            net.save(file.name)  # into the file that is open
        except RuntimeError as error:
            raise _not_written(file) from error
        if not _is_whole(net, Path(file.name)):
            raise _not_written(file)


def _is_whole(net: Any, path: Path) -> bool:
    """Say whether a file holds all arrays of a net: Caffe does not notice a disk that is full at the last bytes."""
    mine = {name: arrays for name, arrays in by_layer(net).items() if arrays}
    try:
        found = layers_of(path, file_format="caffemodel") if mine else {}
    except FormatError:
        return False
    return all(
        len(found.get(name, ())) == len(arrays)
        and all(found[name][i].tobytes() == array.to_host().tobytes() for i, array in enumerate(arrays))
        for name, arrays in mine.items()
    )


def _not_written(file: BinaryIO) -> OSError:
    """Return why the disk does not take more bytes, found out by writing more; Caffe does not say it."""
    try:
        file.seek(0, os.SEEK_END)
        file.write(bytes(_MORE))
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        return error
    return OSError(errno.EIO, "Caffe could not write all of the weights")


def _naming(path: Path, error: Exception) -> str:
    return str(error) if str(path) in str(error) else f"{str(path)!r}: {error}"
