"""The weights of a Caffe net in a ``.caffemodel`` file, read and written without Caffe.

Such a file also holds the definition of the net: layers without arrays, types, connections. They are ignored, as Caffe itself
reads only names and arrays when it copies trained layers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparknet.errors import FormatError, SchemaError
from sparknet.files.replacing import replacing
from sparknet.formats.blobs import LIMIT, array_of, check_count, fill, parse, schema
from sparknet.formats.contents import Array, Contents, assemble, check_dtypes, flatten
from sparknet.weights import WeightCollection

__all__ = ["read", "read_layers", "write"]

_SUFFIX = ".caffemodel"
_AROUND_ARRAY = 512  # bytes at most, around the elements: tags, lengths, and 32 axes of 10 bytes


def read(path: Path, max_bytes: int | None) -> Contents:  # noqa: ARG001 - nothing in it is compressed
    """Return the weights of all layers that have any, read-only, and the net's name as metadata.

    Layers of all three generations are read: ``layer``, ``layers`` of 2014, and those of 2013, which are inside of ``layers``.
    """
    net = parse("NetParameter", path)
    weights = {name: list(arrays.values()) for name, arrays in _arrays(net).items() if arrays}
    return Contents(WeightCollection(weights), {"name": _text(net.name)} if net.name else {})


def read_layers(path: Path, max_bytes: int | None) -> dict[str, dict[int, Array]]:  # noqa: ARG001 - nothing is compressed
    """Return layer -> number of an array -> array, layers without arrays included."""
    return _arrays(parse("NetParameter", path))


def _arrays(net: Any) -> dict[str, dict[int, Array]]:
    layers: dict[str, dict[int, Array]] = {}
    check_count(sum(len(blobs) for _, blobs in _layers(net)))
    for raw, blobs in _layers(net):
        name = _text(raw)
        if layers.get(name) and blobs:
            msg = f"the layer {name[:200]!r} occurs twice, each time with arrays"
            raise FormatError(msg, tensor=name, offset=None)
        if blobs or name not in layers:
            layers[name] = {i: array_of(blob, f"{name}/{i}") for i, blob in enumerate(blobs)}
    if not any(layers.values()):
        msg = f"no layer has arrays; expected a {_SUFFIX} file, as Caffe writes it"
        raise FormatError(msg, tensor=None, offset=None)
    return layers


def write(path: Path, obj: Any, metadata: dict[str, Any]) -> None:
    """Write weights, a layer at a time, so that protobuf copies one layer and not all.

    protobuf reads messages that follow one another as one message, and joins their lists.
    """
    arrays = flatten(obj)
    check_dtypes(arrays, ("float32", "float64"), _SUFFIX)
    weights = assemble(arrays)
    if not isinstance(weights, WeightCollection):
        msg = f"a {_SUFFIX} file holds layers of arrays; got {', '.join(arrays)[:200] or 'nothing'}, expected names such as 'conv1/0', 'conv1/1'"
        raise SchemaError(msg, got=list(arrays))
    _check_size(weights)
    net = schema()["NetParameter"]
    with replacing(path) as file:
        file.write(net(name=str(metadata.get("name", "")).encode()).SerializeToString())
        for name, layer in weights.items():
            part = net()
            described = part.layer.add(name=name.encode())
            for array in layer:
                _add(described.blobs, array.to_host())
            file.write(part.SerializeToString())


def _layers(net: Any) -> Iterator[tuple[bytes, Any]]:
    """Yield the name and the arrays of each layer."""
    if net.layers and net.layer:
        msg = "it has both layers of 2014 ('layers') and of today ('layer'), which Caffe refuses too"
        raise FormatError(msg, tensor=None, offset=None)
    for outer in net.layers or net.layer:
        layer = outer.layer if net.layers and outer.HasField("layer") else outer
        yield layer.name, layer.blobs


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        msg = f"the name {raw[:200]!r} is not UTF-8"
        raise FormatError(msg, tensor=None, offset=None) from error


def _check_size(weights: WeightCollection) -> None:
    names = sum(len(name.encode()) for name in weights)
    size = weights.nbytes + names + _AROUND_ARRAY * (len(weights.arrays()) + len(weights) + 1)
    if size > LIMIT:
        msg = f"{weights.nbytes} bytes of arrays; a {_SUFFIX} file is a message of protobuf, which has at most {LIMIT}"
        raise SchemaError(msg, got=weights.nbytes, expected=LIMIT)


def _add(blobs: Any, array: Array) -> None:
    """Add an array to a layer.

    Arrays of old files are 4-d: a bias of n elements has shape (1, 1, 1, n). Caffe takes such an array for a net's (n,) only if its
    shape is in the old fields.
    """
    fill(blobs.add(), array, old_shape=array.ndim == 4 and array.shape[:2] == (1, 1))
