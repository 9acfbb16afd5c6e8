"""Named arrays in a ``.safetensors`` file, through the package safetensors (extra ``convert``).

The format orders tensors by alignment and name. The order of a net's layers is kept in the file's metadata, under a key that
other programs ignore.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.dtypes import TABLE
from sparknet.errors import FormatError, MissingDependency, SchemaError
from sparknet.files.regular import open_regular
from sparknet.files.replacing import replacing
from sparknet.formats.contents import Array, Contents, admitted, assemble, check_dtypes, flatten, refused
from sparknet.serialization.payload.dtypes import dtype_of

__all__ = ["read", "write"]

_ROWS = {row.safetensors: row for row in TABLE if row.safetensors is not None}
_DTYPES = tuple(row.name for row in _ROWS.values())
_ORDER = "sparknet.names"
_METADATA = "__metadata__"


def read(path: Path, max_bytes: int | None) -> Contents:  # noqa: ARG001 - nothing in it is compressed
    """Return the tensors of a file, writable and independent of the file, and its metadata (str to str).

    The file is opened once, because another file may replace it at any time.
    """
    package = _package()
    with open_regular(path) as file, refused(".safetensors"):
        data = file.read()
        tensors = dict(package.deserialize(data))  # which checks the header
        metadata = _metadata(data)
        arrays = {name: _array(name, tensors[name]) for name in _in_order(tensors, metadata)}
    return Contents(assemble(arrays), metadata)


def _metadata(data: bytes) -> dict[str, str]:
    """Return the metadata of a checked file: ``deserialize`` leaves it out, and ``safe_open`` knows no float8."""
    start, end = 8, 8 + int.from_bytes(data[:8], "little")
    return dict(json.loads(data[start:end]).get(_METADATA) or {})


def write(path: Path, obj: Any, metadata: dict[str, Any]) -> None:
    """Write the arrays of ``obj``. Values of the metadata that are not str are written as JSON.

    The bytes are made in memory first: on a full disk, the package's own function raises an error of its own and leaves a file.
    """
    package = _package()
    arrays = flatten(obj)
    check_dtypes(arrays, _DTYPES, ".safetensors")
    if _ORDER in metadata:
        msg = f"the metadata has the key {_ORDER!r}, under which a .safetensors file holds the order of the names; rename it"
        raise SchemaError(msg, got=_ORDER)
    if _METADATA in arrays:
        msg = f"a tensor is called {_METADATA!r}, which is the name of a .safetensors file's metadata; rename it"
        raise SchemaError(msg, tensor=_METADATA)
    texts = {key: value if type(value) is str else _json(value) for key, value in metadata.items()}
    try:
        data = package.numpy.save(arrays, {**texts, _ORDER: _json(list(arrays))})
    except package.SafetensorError as error:
        msg = f"a .safetensors file has no place for these names and metadata: {error}"
        raise SchemaError(msg) from error
    with replacing(path) as file:
        file.write(data)


def _package() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        msg = ".safetensors files need the package safetensors: pip install 'sparknet[convert]'"
        raise MissingDependency(msg, name="safetensors") from error
    return safetensors


def _array(name: str, tensor: dict[str, Any]) -> Array:
    row = _ROWS.get(tensor["dtype"])
    if row is None:
        msg = f"tensor {name!r} is {tensor['dtype']}; expected one of {', '.join(_ROWS)}"
        raise FormatError(msg, tensor=name, offset=None)
    return admitted(name, np.ndarray(tensor["shape"], dtype_of(row.code), tensor["data"]))


def _in_order(tensors: dict[str, Any], metadata: dict[str, Any]) -> list[str]:
    """Return the names in the order in which they were written, or sorted; remove the order from the metadata.

    Other programs may have removed or added tensors, or written anything under that key.
    """
    try:
        order = json.loads(metadata.pop(_ORDER, "[]"))
        places = {name: place for place, name in enumerate(order)}
    except (ValueError, TypeError, RecursionError):
        places = {}
    return sorted(tensors, key=lambda name: (places.get(name, len(places)), name))


def _json(value: Any) -> str:
    return json.dumps(value, default=bytes.hex, ensure_ascii=False)
