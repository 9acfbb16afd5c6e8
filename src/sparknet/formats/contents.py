"""What formats exchange: an object, and the names of its arrays in files that have flat names only.

Array *i* of layer ``conv1`` is called ``conv1/i``. Names are split at the last slash, so layers with slashes in their names
(``inception_3a/1x1``) keep their names. A single array is called ``arr_0``, as in ``numpy.savez``.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from sparknet.errors import FormatError, SchemaError, SparknetError
from sparknet.ndarray import NDArray
from sparknet.serialization.objects import ready, take_apart
from sparknet.serialization.payload.dtypes import code_of
from sparknet.weights import WeightCollection

__all__ = ["TENSOR_NAMES", "Contents"]

Array = np.ndarray[Any, Any]
ALONE = "arr_0"
TENSOR_NAMES = "tensor_names"
"""Key of metadata. The value is JSON, since a map of metadata has few entries: name in the arrays' own framework -> [layer, number]."""
_IN_LAYER = re.compile(r"(.*)/(0|[1-9][0-9]{0,5})", re.DOTALL)


class Contents(NamedTuple):
    """What a weight file holds.

    Parameters
    ----------
    obj
        An NDArray, a WeightCollection or a dict of str to NDArray. Arrays are on the host; they may be read-only
        views of the file or of its bytes.
    metadata
        Plain values that the writer added.
    """

    obj: Any
    metadata: dict[str, Any]


def flatten(obj: Any) -> dict[str, Array]:
    """Return name -> host array, little-endian and in C order; copies only arrays that are not so already.

    Raises
    ------
    TypeError
        ``obj`` is of another type than :func:`sparknet.dumps` takes, or a name in a mapping is not a str.
    """
    kind, names, counts, arrays = take_apart(obj)
    if kind == "weights":
        names = [f"{layer}/{i}" for layer, count in zip(names, counts, strict=True) for i in range(count)]
    elif kind == "array":
        names = [ALONE]
    return dict(zip(names, map(ready, arrays), strict=True))


def assemble(arrays: Mapping[str, Array]) -> Any:
    """Return the object that ``flatten`` makes these names of: weights or an array if all names are such, else a mapping."""
    if list(arrays) == [ALONE]:
        return NDArray(arrays[ALONE])
    layers: dict[str, dict[int, Array]] = {}
    for name, array in arrays.items():
        layer_name, index = split_name(name)
        if index is None:
            break
        layers.setdefault(layer_name, {})[index] = array
    else:
        if layers and all(sorted(layer) == list(range(len(layer))) for layer in layers.values()):
            return WeightCollection({name: [layer[i] for i in range(len(layer))] for name, layer in layers.items()})
    return {name: NDArray(array) for name, array in arrays.items()}


def under_own_names(obj: Any, metadata: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return weights as a mapping with the names of their own framework, and the other metadata.

    If the metadata has no such names, or not one for each array of ``obj``, both are returned as they are.
    """
    if not isinstance(obj, WeightCollection) or TENSOR_NAMES not in metadata:
        return obj, dict(metadata)
    arrays = {(layer, place): array for layer, row in obj.items() for place, array in enumerate(row)}
    try:  # the metadata comes from anywhere
        places = {name: (layer, place) for name, (layer, place) in json.loads(metadata[TENSOR_NAMES]).items()}
        fits = set(places.values()) == set(arrays)
    except (TypeError, ValueError, AttributeError, RecursionError):
        fits = False
    if not fits:
        return obj, dict(metadata)
    others = {key: value for key, value in metadata.items() if key != TENSOR_NAMES}
    return {name: arrays[place] for name, place in places.items()}, others


def split_name(name: str) -> tuple[str, int | None]:
    """Return the layer and the number of an array called ``layer/i``; the name and None for other names."""
    found = _IN_LAYER.fullmatch(name)
    return (name, None) if found is None else (found[1], int(found[2]))


def only(arrays: Mapping[str, Array], suffix: str) -> Array:
    """Return the only array; raise a SchemaError if there are more or none."""
    if len(arrays) != 1:
        msg = f"a {suffix} file holds one array; got {len(arrays)}: {', '.join(arrays) or 'nothing'}"
        raise SchemaError(msg, got=len(arrays), expected=1)
    return next(iter(arrays.values()))


def check_dtypes(arrays: Mapping[str, Array], held: Collection[str], suffix: str) -> None:
    """Raise a SchemaError that names the first array of a dtype outside ``held``."""
    for name, array in arrays.items():
        if array.dtype.name not in held:
            msg = (
                f"tensor {name!r} is {array.dtype.name}; a {suffix} file holds {', '.join(held)}. "
                "Convert it before, for example with astype('float32'), or by convert(..., dtype='float32')"
            )
            raise SchemaError(msg, tensor=name, got=array.dtype.name, expected=tuple(held))


def admitted(name: str, array: Array) -> Array:
    """Return an array that was read, in native byte order, after a check that sparknet has such arrays.

    Raises
    ------
    FormatError
        Its dtype is not in the table (objects, text, structures), or it holds a bool that is neither 0 nor 1.
    """
    try:
        code_of(array.dtype)
    except TypeError as error:
        msg = f"tensor {name!r}: {error}"
        raise FormatError(msg, tensor=name, offset=None) from error
    if array.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        msg = f"tensor {name!r} holds a bool that is neither 0 nor 1"
        raise FormatError(msg, tensor=name, offset=None)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


@contextmanager
def refused(suffix: str, name: str | None = None) -> Iterator[None]:
    """Turn exceptions of the block into a FormatError.

    The block calls other packages' parsers with bytes from anywhere. They have no exception in common: zipfile and numpy alone
    raise BadZipFile, zlib.error, struct.error, TokenError, MemoryError, and more.
    """
    try:
        yield
    except SparknetError:
        raise
    except Exception as error:
        where = "" if name is None else f"tensor {name!r}: "
        reason = " ".join(str(error).split())[:200]
        msg = f"{where}damaged, or no {suffix} file: {type(error).__name__}: {reason}"
        raise FormatError(msg, tensor=name, offset=None) from error
