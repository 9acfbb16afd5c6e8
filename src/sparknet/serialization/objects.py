"""What an object is made of: its kind, its names and its arrays. Writers read these arrays, ``load_into`` writes to them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sparknet.backends import backend_of
from sparknet.errors import shown
from sparknet.ndarray.array import NDArray, wrap
from sparknet.serialization.memory.buffers import Array, little_endian
from sparknet.serialization.message.header import Header
from sparknet.serialization.no_arrays import no_array
from sparknet.serialization.payload.dtypes import code_of
from sparknet.serialization.payload.form import choose
from sparknet.weights import WeightCollection


class ObjectParts(NamedTuple):
    """An object as a message sees it. ``names`` are those of the tensors (mapping) or layers (weights)."""

    kind: str
    names: list[str]
    counts: list[int]  # arrays in each layer; weights only
    arrays: list[Any]  # numpy.ndarray, or NDArray of another backend


def take_apart(obj: Any, *, live: bool = False) -> ObjectParts:
    """Return the parts of an NDArray, a numpy array, a mapping of them or a WeightCollection; shares memory.

    ``live``: the arrays are to be written to. Then those of other backends are NDArrays, also on the host, because their library says
    how they are written to. Otherwise all that are on the host are numpy's.
    """
    unwrap = _live if live else _read
    if isinstance(obj, WeightCollection):
        arrays = [unwrap(array, layer, i) for layer, found in obj.items() for i, array in enumerate(found)]
        return ObjectParts("weights", list(obj), [len(layer) for layer in obj.values()], arrays)
    if not isinstance(obj, Mapping):
        return ObjectParts("array", [], [], [unwrap(obj, "")])
    names = list(obj)
    if not set(map(type, names)) <= {str}:
        wrong = next((name for name in names if not isinstance(name, str)), None)
        if wrong is not None:
            msg = (
                f"the names in a mapping are str; got {shown(wrong)}: write {{str(name): array for name, array in ...}}"
            )
            raise TypeError(msg)
        names = list(map(str.__str__, names))  # np.str_ and other kinds of str as what they say
    pairs = zip(names, obj.values(), strict=True)
    arrays = [array if type(array) is np.ndarray else unwrap(array, name) for name, array in pairs]
    return ObjectParts("mapping", names, [], arrays)


def _read(array: Any, name: str, index: int | None = None) -> Any:
    """Return an array to be read: numpy's on the host, an NDArray elsewhere."""
    own, backend = (array._array, array._backend) if type(array) is NDArray else (array, backend_of(array))
    if backend is None or not backend.host or backend.name == "numpy":
        return _live(array, name, index)
    try:
        return backend.to_host(own)
    except TypeError:
        _live(array, name, index)  # says which, why, and what to do
        raise


def _live(array: Any, name: str, index: int | None = None) -> Any:
    """Return numpy arrays as they are, also out of an NDArray; what is on other backends as an NDArray.

    A scalar of numpy becomes a read-only array without axes.
    """
    if type(array) is np.ndarray:
        return array
    if isinstance(array, np.generic):
        array = np.asarray(array)
        array.flags.writeable = False  # nobody else would see what is written to it
        return array
    if type(array) is not NDArray:
        found = backend_of(array)
        if found is None or isinstance(array, np.ma.MaskedArray):
            raise TypeError(no_array(array, name))
        array = wrap(array, found)
    backend = array._backend
    problem = backend.refusal(array._array) if backend.refusal is not None else ""
    if problem:
        where = name if index is None else f"{name}[{index}]"
        msg = f"tensor {where!r} {problem}" if where else f"the tensor {problem}"
        raise TypeError(msg)
    return array._array if backend.name == "numpy" else array


def ready(array: Any) -> Array:
    """Return an array on the host, little-endian and in C order: itself where it is so already."""
    host: Array = array.to_host() if type(array) is NDArray else array
    return host.astype(little_endian(host.dtype), order="C", copy=False)


def describe(
    obj: Any, *, checksum: bool, metadata: dict[str, Any] | None = None, encoding: str = "raw", live: bool = False
) -> tuple[Header, list[Any]]:
    """Return the header of an object, without the values of checksums, and its arrays.

    ``live``: arrays to be written to, as of :func:`take_apart`.
    """
    kind, names, counts, arrays = take_apart(obj, live=live)
    codes = _codes(kind, names, counts, arrays)
    shapes = [array.shape for array in arrays]
    encodings = choose(encoding, codes, shapes)
    header = Header(
        kind,
        names,
        counts,
        codes,
        shapes,
        [] if checksum else None,
        {} if metadata is None else metadata,
        encodings=encodings,
    )
    return header, arrays


def _codes(kind: str, names: list[str], counts: list[int], arrays: list[Any]) -> bytes:
    """Return the code of each array's dtype; of many arrays there are few."""
    dtypes, known = [array.dtype for array in arrays], {}
    for dtype in set(dtypes):
        try:
            known[dtype] = code_of(dtype)
        except TypeError as error:
            name = Header(kind, names, counts, b"", [], None).tensor_names()[dtypes.index(dtype)]
            msg = f"tensor {name!r}: {error}" if name else str(error)
            raise TypeError(msg) from None
    return bytes(map(known.__getitem__, dtypes))
