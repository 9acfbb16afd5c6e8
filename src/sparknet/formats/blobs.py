"""Caffe's BlobProto as arrays, through the package protobuf (extra ``convert``): no Caffe, and no protoc.

The schema has the fields of ``caffe.proto`` that hold weights; protobuf ignores all others. The elements are declared as
``bytes``. A packed list of floats and a string of bytes are the same on the wire, but protobuf takes a list as Python numbers,
one by one, and before version 7 returns it so too. For the 61 million elements of AlexNet that takes ten to twenty times as
long as bytes.
"""

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.errors import FormatError, MissingDependency
from sparknet.files.regular import read_regular
from sparknet.formats.contents import Array, refused
from sparknet.formats.fields import check_fields

__all__ = ["LIMIT", "array_of", "check_count", "fill", "parse", "parse_bytes", "read_message", "schema"]

LIMIT = (1 << 31) - 1  # bytes; protobuf counts in int32
_MAX_ARRAYS = 1 << 17  # in a file
_MAX_AXES = 32  # Caffe's kMaxBlobAxes
_OLD_SHAPE = ("num", "channels", "height", "width")
_SHAPE = "num=1:int32 channels=2:int32 height=3:int32 width=4:int32 shape=7:BlobShape"
# "*": repeated, "+": repeated and packed
_MESSAGES = {
    "BlobShape": "dim=1:int64+",
    "BlobProto": f"{_SHAPE} data=5:bytes* double_data=8:bytes*",
    "UnpackedBlobProto": f"{_SHAPE} data=5:float* double_data=8:double*",
    "V0LayerParameter": "name=1:bytes blobs=50:BlobProto*",
    "V1LayerParameter": "layer=1:V0LayerParameter name=4:bytes blobs=6:BlobProto*",
    "LayerParameter": "name=1:bytes blobs=7:BlobProto*",
    "SolverState": "iter=1:int32 learned_net=2:bytes history=3:BlobProto* current_step=4:int32",
    "NetParameter": "name=1:bytes layers=2:V1LayerParameter* layer=100:LayerParameter*",
}


# kind of message -> number of a field -> the kind of the message in it
_INNER = {
    message: {
        int(number): kind
        for number, kind in (field.partition("=")[2].rstrip("*+").split(":") for field in fields.split())
        if kind in _MESSAGES
    }
    for message, fields in _MESSAGES.items()
}


@functools.cache
def schema() -> dict[str, Any]:
    """Return the message classes by name.

    Raises
    ------
    MissingDependency
        The package protobuf is not installed.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        msg = ".caffemodel, .solverstate and .binaryproto files need the package protobuf: pip install 'sparknet[convert]'"
        raise MissingDependency(msg, name="protobuf") from error
    file = descriptor_pb2.FileDescriptorProto(name="sparknet/weights.proto", package="sparknet", syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field in fields.split():
            _describe(field, described.field.add())
    pool = descriptor_pool.DescriptorPool()  # our own: the default one has Caffe's where Caffe is loaded
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"sparknet.{name}")) for name in _MESSAGES}


def _describe(field: str, described: Any) -> None:
    """Fill a FieldDescriptorProto from ``name=number:type``."""
    described.name, _, rest = field.partition("=")
    number, _, kind = rest.partition(":")
    described.number = int(number)
    described.label = described.LABEL_REPEATED if kind[-1] in "*+" else described.LABEL_OPTIONAL
    if kind.endswith("+"):
        described.options.packed = True
    kind = kind.rstrip("*+")
    if kind in _MESSAGES:
        described.type, described.type_name = described.TYPE_MESSAGE, f".sparknet.{kind}"
    else:
        described.type = described.Type.Value(f"TYPE_{kind.upper()}")


def parse(message: str, path: Path) -> Any:
    """Return the message in a file. While it is parsed, it is in memory twice.

    Raises
    ------
    FormatError
        The file is over 2 GiB, or holds no such message.
    OSError
        It cannot be read, or is no regular file.
    """
    return parse_bytes(message, read_message(path), path.suffix)


def read_message(path: Path) -> bytes:
    """Return the bytes of a message in a file; a FormatError if they are over 2 GiB."""
    schema()  # a missing package is an error before 2 GiB are read
    return read_regular(path, LIMIT, "a message of protobuf")


def parse_bytes(message: str, data: bytes, suffix: str) -> Any:
    """Return a message; a FormatError that names the ``suffix`` if the bytes are none, or have more fields than any net."""
    check_fields(message, data, _INNER)
    with refused(suffix):
        return schema()[message].FromString(data)


def check_count(count: int) -> None:
    """Refuse more arrays than any net has: an empty one takes 2 bytes in a file, but some 150 in memory."""
    if count > _MAX_ARRAYS:
        msg = f"it has {count} arrays, expected at most {_MAX_ARRAYS}"
        raise FormatError(msg, tensor=None, offset=None)


def array_of(blob: Any, name: str) -> Array:
    """Return the array that Caffe makes of a BlobProto: float32, or float64 if it has ``double_data``.

    As in Caffe, a BlobProto with any of the old fields (num, channels, height, width) is 4-d, whatever ``shape`` says.

    Returns
    -------
    numpy.ndarray
        Read-only.

    Raises
    ------
    FormatError
        The shape needs fewer or more elements.
    """
    is_old = any(blob.HasField(field) for field in _OLD_SHAPE)
    shape = tuple(getattr(blob, field) for field in _OLD_SHAPE) if is_old else tuple(blob.shape.dim)
    dtype, data = _elements(blob)
    if min(shape, default=0) < 0 or len(shape) > _MAX_AXES or math.prod(shape) * dtype.itemsize != len(data):
        msg = f"tensor {name!r} has {len(data)} bytes of {dtype.name}; its shape is {shape[: _MAX_AXES + 1]}"
        raise FormatError(msg, tensor=name, offset=None)
    try:
        return np.ndarray(shape, dtype, data)
    except ValueError as error:  # an empty array with other lengths that are too large for any memory
        msg = f"tensor {name!r}: {error}"
        raise FormatError(msg, tensor=name, offset=None) from error


def _elements(blob: Any) -> tuple[np.dtype[Any], bytes]:
    single, double = np.dtype("<f4"), np.dtype("<f8")
    if blob.double_data:
        return double, b"".join(blob.double_data)  # usually one piece, which is not copied
    if blob.data:
        return single, b"".join(blob.data)
    # Elements that are not packed are unknown fields here. protobuf keeps them, and another schema reads them.
    unpacked = schema()["UnpackedBlobProto"].FromString(blob.SerializeToString())
    if unpacked.double_data:
        return double, np.array(unpacked.double_data, double).tobytes()
    return single, np.array(unpacked.data, single).tobytes()


def fill(blob: Any, array: Array, *, old_shape: bool) -> None:
    """Fill an empty BlobProto with an array, float32 or float64; copies the elements."""
    if old_shape:
        for field, length in zip(_OLD_SHAPE, array.shape, strict=True):
            setattr(blob, field, length)
    else:
        blob.shape.dim.extend(array.shape)
        blob.shape.SetInParent()  # a scalar has an empty shape
    (blob.double_data if array.dtype == np.float64 else blob.data).append(array.tobytes())
