"""The weights of a Caffe net in a ``.caffemodel.h5`` file, as a solver with ``snapshot_format: HDF5`` writes it.

Array *i* of a layer is the data set ``data/layer/i``. An array that a layer shares with an earlier one is left out, so the
numbers of a layer may have gaps.
"""

from pathlib import Path
from typing import Any

from sparknet.errors import FormatError, SchemaError
from sparknet.formats.contents import Array, Contents, assemble, check_dtypes, flatten, split_name
from sparknet.formats.hdf5 import Group, created, opened

__all__ = ["read", "read_layers", "write"]

_SUFFIX = ".caffemodel.h5"
_GROUP = "data"


def read(path: Path, max_bytes: int | None) -> Contents:
    """Return the weights of all layers that have any; a mapping of ``layer/i`` if a layer's numbers have gaps.

    Such a file does not keep the order of layers, so they are returned in the order of their names.
    """
    layers = read_layers(path, max_bytes)
    return Contents(
        assemble({f"{name}/{i}": array for name, layer in layers.items() for i, array in layer.items()}), {}
    )


def read_layers(path: Path, max_bytes: int | None) -> dict[str, dict[int, Array]]:
    """Return layer -> number of an array -> array, layers without arrays included."""
    with opened(path, max_bytes, _SUFFIX) as root:
        if _GROUP not in root:
            msg = f"there is no group {_GROUP!r}; expected a {_SUFFIX} file, as Caffe writes it"
            raise FormatError(msg, tensor=None, offset=None)
        groups = root.group(_GROUP)
        layers = {name: _arrays(name, groups.group(name)) for name in groups.names()}
    if not any(layers.values()):
        msg = f"no layer has arrays; expected a {_SUFFIX} file, as Caffe writes it"
        raise FormatError(msg, tensor=None, offset=None)
    return layers


def _arrays(name: str, layer: Group) -> dict[int, Array]:
    numbers = layer.names()
    for number in numbers:
        if split_name(f"{name}/{number}") != (name, _number(number)):
            msg = f"the layer {name!r} has the member {number[:200]!r}; expected arrays called 0, 1, ..."
            raise FormatError(msg, tensor=f"{name}/{number}", offset=None)
    return {int(number): layer.array(number) for number in sorted(numbers, key=int)}


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None


def write(path: Path, obj: Any, metadata: dict[str, Any]) -> None:  # noqa: ARG001 - the format has none
    """Write weights, or a mapping of ``layer/i`` with gaps. The file keeps the order of layers for readers that ask for it."""
    arrays = flatten(obj)
    check_dtypes(arrays, ("float32", "float64"), _SUFFIX)
    tree: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        layer, index = split_name(name)
        if index is None:
            msg = f"a {_SUFFIX} file holds layers of arrays; got {name[:200]!r}, expected names such as 'conv1/0', 'conv1/1'"
            raise SchemaError(msg, got=list(arrays))
        _check_name(layer)
        tree.setdefault(layer, {})[str(index)] = array
    with created(path) as fill:
        fill({_GROUP: tree})


def _check_name(name: str) -> None:
    """Refuse a name that HDF5 takes for a path."""
    if name in ("", ".") or "/" in name or "\0" in name:
        msg = (
            f"the layer {name!r} cannot be in a {_SUFFIX} file: HDF5 takes a slash for a group in a group, and Caffe finds "
            "no such layer; write a .caffemodel"
        )
        raise SchemaError(msg, layer=name)
