"""A mean image in a ``.binaryproto`` file, as Caffe's ``compute_image_mean`` writes it, without Caffe."""

from pathlib import Path
from typing import Any

from sparknet.errors import SchemaError
from sparknet.files.replacing import replacing
from sparknet.formats.blobs import array_of, fill, parse, schema
from sparknet.formats.contents import Contents, check_dtypes, flatten, only
from sparknet.ndarray import NDArray

__all__ = ["read", "write"]

_SUFFIX = ".binaryproto"


def read(path: Path, max_bytes: int | None) -> Contents:  # noqa: ARG001 - nothing in it is compressed
    """Return the array, read-only, of the shape that ``caffe.io.blobproto_to_array`` gives it: (1, c, h, w)."""
    return Contents(NDArray(array_of(parse("BlobProto", path), "")), {})


def write(path: Path, obj: Any, metadata: dict[str, Any]) -> None:  # noqa: ARG001 - the format has none
    """Write a mean image of shape (c, h, w) or (1, c, h, w), float32.

    The shape is written to the old fields (num, channels, height, width), where every Caffe looks for the channels.
    float64 is refused, because ``caffe.io.blobproto_to_array`` does not read it.
    """
    arrays = flatten(obj)
    image = only(arrays, _SUFFIX)
    check_dtypes(arrays, ("float32",), _SUFFIX)
    if image.ndim not in (3, 4) or (image.ndim == 4 and image.shape[0] != 1):
        msg = f"a {_SUFFIX} file holds a mean image of shape (c, h, w) or (1, c, h, w); got {image.shape}"
        raise SchemaError(msg, got=image.shape)
    blob = schema()["BlobProto"]()
    fill(blob, image.reshape(1, *image.shape[-3:]), old_shape=True)
    with replacing(path) as file:
        file.write(blob.SerializeToString())
