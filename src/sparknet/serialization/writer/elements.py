"""The bytes of a tensor's elements, as a message holds them: converted, copied from a GPU or encoded when they are asked for."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sparknet.serialization.memory.buffers import Array, Bytes, as_bytes, is_ready
from sparknet.serialization.memory.checksum import NEAR
from sparknet.serialization.objects import on_host, ready
from sparknet.serialization.payload.form import Form
from sparknet.serialization.payload.joining import encode_small, is_small
from sparknet.serialization.payload.stored import store, store_chunks


class Encoded(NamedTuple):
    """A tensor that is encoded when its bytes are asked for; ``array`` is on any device and in any memory order."""

    form: Form
    array: Any

    @property
    def nbytes(self) -> int:
        """Size of the encoded elements in bytes."""
        return self.form.size(self.form.count)


def all_ready(arrays: list[Any]) -> list[Array]:
    """Return :func:`payload` of each; small ones that are to be encoded are so together."""
    small = [n for n, array in enumerate(arrays) if type(array) is Encoded and is_small(array.form)]
    payloads = encode_small([arrays[n].form for n in small], [on_host(arrays[n].array) for n in small])
    found = dict(zip(small, payloads, strict=True))
    return [found[n] if n in found else payload(array) for n, array in enumerate(arrays)]


def payload(array: Any) -> Array:
    """Return what a message holds of an array: itself where its memory is that, else a copy."""
    return encoded(array, np.empty(array.nbytes, np.uint8)) if type(array) is Encoded else ready(array)


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
