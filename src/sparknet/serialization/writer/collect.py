"""What an object is made of: its kind, its names, and arrays whose bytes can be written as they lie in memory."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from sparknet.backends import backend_of
from sparknet.errors import shown
from sparknet.ndarray.array import NDArray, wrap
from sparknet.serialization.memory.buffers import Array, Bytes
from sparknet.serialization.memory.checksum import NEAR
from sparknet.serialization.no_arrays import no_array
from sparknet.serialization.payload.form import Encoded
from sparknet.serialization.payload.joining import encode_small, is_small
from sparknet.serialization.payload.stored import store, store_chunks
from sparknet.weights import WeightCollection

_LITTLE = "<|=" if sys.byteorder == "little" else "<|"


class Collected(NamedTuple):
    """An object as a message sees it. ``names`` are those of the tensors (mapping) or layers (weights)."""

    kind: str
    names: list[str]
    counts: list[int]  # arrays in each layer; weights only
    arrays: list[Any]  # numpy.ndarray, or NDArray of another backend


def collect(obj: Any, *, live: bool = False) -> Collected:
    """Return the parts of an NDArray, a numpy array, a mapping of them or a WeightCollection; shares memory.

    ``live``: what is on other backends is an NDArray, on the host too, because its library is asked how it is written to. To be read,
    what is on the host is numpy's.
    """
    unwrap = _live if live else _read
    if isinstance(obj, WeightCollection):
        arrays = [unwrap(array, layer, i) for layer, found in obj.items() for i, array in enumerate(found)]
        return Collected("weights", list(obj), [len(layer) for layer in obj.values()], arrays)
    if not isinstance(obj, Mapping):
        return Collected("array", [], [], [unwrap(obj, "")])
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
    return Collected("mapping", names, [], arrays)


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


def is_ready(array: Any) -> bool:
    """Say whether the array's memory holds its elements as a message does: host, C order, little-endian."""
    return type(array) is np.ndarray and array.flags.c_contiguous and array.dtype.byteorder in _LITTLE


def ready(array: Any) -> Array:
    """Return the array on the host, little-endian and in C order: itself where it is so already; or its encoded bytes."""
    if is_ready(array):
        return array  # type: ignore[no-any-return]
    if type(array) is Encoded:
        return encoded(array, np.empty(array.nbytes, np.uint8))
    host = on_host(array)
    if is_ready(host):
        return host
    return np.ascontiguousarray(host, host.dtype.newbyteorder("<")).reshape(host.shape)


def all_ready(arrays: list[Any]) -> list[Array]:
    """Return :func:`ready` of each; small ones that are to be encoded are so together."""
    small = [n for n, array in enumerate(arrays) if type(array) is Encoded and is_small(array.form)]
    payloads = encode_small([arrays[n].form for n in small], [on_host(arrays[n].array) for n in small])
    found = dict(zip(small, payloads, strict=True))
    return [found[n] if n in found else ready(array) for n, array in enumerate(arrays)]


def encoded(array: Encoded, stored: Bytes) -> Bytes:
    """Write the encoded bytes of an array to ``stored`` and return it."""
    if is_ready(array.array):
        store(array.form, as_bytes(array.array), stored)
        return stored
    end = 0
    for part in blocks(array, NEAR):
        stored[end : end + len(part)] = part
        end += len(part)
    return stored


def are_ready(arrays: list[Any]) -> bool:
    """Return ``all(map(is_ready, arrays))``, in a third of the time."""
    return (
        set(map(type, arrays)) <= {np.ndarray}
        and {array.flags.c_contiguous for array in arrays} <= {True}
        and all(dtype.byteorder in _LITTLE for dtype in {array.dtype for array in arrays})
    )


def on_host(array: Any) -> Array:
    """Return a numpy array: itself, or a copy from a GPU."""
    return array.to_host() if type(array) is NDArray else array


def as_bytes(array: Array) -> Bytes:
    """Return the bytes of a C-contiguous array; shares memory."""
    return np.frombuffer(array, np.uint8)


def blocks(array: Any, size: int) -> Iterator[Bytes]:
    """Yield the bytes of an array as a message holds them, each until the next is asked for; converts ``size`` bytes at a time."""
    if is_ready(array):
        flat = as_bytes(array)
        yield from (flat[start : start + size] for start in range(0, len(flat), size))
    elif type(array) is Encoded:
        yield from store_chunks(array.form, blocks(array.array, size))
    elif array.nbytes <= size:
        yield as_bytes(ready(array))
    else:
        host = on_host(array)
        rows = max(1, size * len(host) // host.nbytes)
        for start in range(0, len(host), rows):
            yield from blocks(host[start] if rows == 1 else host[start : start + rows], size)
