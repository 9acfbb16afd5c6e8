"""What becomes the payload of each tensor: an array whose memory is the payload already, or what has to be brought into that form.

Most arrays are numpy's, in C order and little-endian: they stand for themselves, so that thousands of small ones cost one question.
Each other one is :class:`NotReady`, made once, when the object is taken apart. It knows how many bytes its payload has and how to
write them. Nothing is converted, encoded or copied from a GPU before its bytes are asked for.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from sparknet.ndarray import NDArray
from sparknet.serialization.memory.buffers import Array, Bytes, are_ready, as_bytes, is_ready, little_endian
from sparknet.serialization.memory.checksum import CACHED
from sparknet.serialization.message.header import Header
from sparknet.serialization.objects import ready
from sparknet.serialization.payload.coding import encode_elements, encoded_chunks
from sparknet.serialization.payload.form import Form
from sparknet.serialization.payload.joining import encode_small, is_small


class NotReady(Protocol):
    """A tensor whose memory is not its payload."""

    @property
    def nbytes(self) -> int:
        """Size of the payload in bytes."""

    def on_host(self) -> Array:
        """Return the elements as an array of numpy, of any memory and byte order and not encoded; a copy from a GPU."""

    def payload(self) -> Array:
        """Return an array whose memory is the payload."""

    def blocks(self, size: int) -> Iterator[Bytes]:
        """Yield the payload in blocks, each until the next is asked for; converts some ``size`` bytes at a time."""

    def write(self, out: Bytes) -> None:
        """Write the payload to memory of its size."""


class Converted:
    """Of another memory order or byte order, or on a GPU."""

    __slots__ = ("_array",)

    def __init__(self, array: Any) -> None:
        self._array = array

    @property
    def nbytes(self) -> int:
        """Size of the elements in bytes."""
        return self._array.nbytes  # type: ignore[no-any-return]

    def on_host(self) -> Array:
        """Return the array of numpy, or its copy from a GPU."""
        return _on_host(self._array)

    def payload(self) -> Array:
        """Return the elements as a new array, little-endian and in C order."""
        return ready(self._array)

    def blocks(self, size: int) -> Iterator[Bytes]:
        """Yield rows, each as many as ``size`` bytes hold; what one row takes more is parted in the same way."""
        if self.nbytes <= size:
            yield as_bytes(self.payload())
            return
        host = self.on_host()
        rows = max(1, size * len(host) // host.nbytes)
        for start in range(0, len(host), rows):
            yield from blocks(as_elements(host[start] if rows == 1 else host[start : start + rows]), size)

    def write(self, out: Bytes) -> None:
        """Convert the elements on the way."""
        host = self.on_host()
        np.copyto(out.view(little_endian(host.dtype)).reshape(host.shape), host)


class Encoded:
    """To be encoded."""

    __slots__ = ("_array", "form")

    def __init__(self, form: Form, array: Any) -> None:
        self.form, self._array = form, array

    @property
    def source(self) -> Any:
        """What has the elements before they are encoded."""
        return as_elements(self._array)

    @property
    def nbytes(self) -> int:
        """Size of the encoded elements in bytes."""
        return self.form.size(self.form.count)

    def on_host(self) -> Array:
        """Return the elements before they are encoded."""
        return _on_host(self._array)

    def payload(self) -> Array:
        """Return the encoded elements, in memory of their own."""
        out = np.empty(self.nbytes, np.uint8)
        self.write(out)
        return out

    def blocks(self, size: int) -> Iterator[Bytes]:
        """Yield encoded chunks."""
        return encoded_chunks(self.form, blocks(self.source, size))

    def write(self, out: Bytes) -> None:
        """Encode on several cores what lies in one piece, else a chunk at a time."""
        if is_ready(self._array):
            encode_elements(self.form, as_bytes(self._array), out)
            return
        end = 0
        for chunk in self.blocks(CACHED):
            out[end : end + len(chunk)] = chunk
            end += len(chunk)


def _on_host(array: Any) -> Array:
    host: Array = array.to_host() if type(array) is NDArray else array
    return host


def as_elements(array: Any) -> Any:
    """Return an array whose memory is its payload as it is, else as :class:`NotReady`."""
    return array if is_ready(array) else Converted(array)


def elements_of(header: Header, arrays: list[Any]) -> list[Any]:
    """Return what becomes the payloads of arrays, as the header says that they are encoded."""
    if not header.encodings:
        return arrays if are_ready(arrays) else list(map(as_elements, arrays))
    pairs = zip(header.forms(), arrays, strict=True)
    return [Encoded(form, array) if form.encoding else as_elements(array) for form, array in pairs]


def is_plain(elements: Any) -> bool:
    """Say whether this is an array whose memory is its payload."""
    return type(elements) is np.ndarray


def are_plain(elements: Sequence[Any]) -> bool:
    """Say whether all are arrays whose memory is their payload."""
    return set(map(type, elements)) <= {np.ndarray}


def blocks(elements: Any, size: int) -> Iterator[Bytes]:
    """Yield a payload in blocks of some ``size`` bytes, each until the next is asked for."""
    if not is_plain(elements):
        return elements.blocks(size)  # type: ignore[no-any-return]
    flat = as_bytes(elements)
    return (flat[start : start + size] for start in range(0, len(flat), size))


def payloads(elements: Sequence[Any]) -> Sequence[Array]:
    """Return arrays whose memory is the payloads; small tensors that are to be encoded are so together."""
    if are_plain(elements):
        return elements
    small = [n for n, each in enumerate(elements) if type(each) is Encoded and is_small(each.form)]
    encoded = encode_small([elements[n].form for n in small], [elements[n].on_host() for n in small])
    found = dict(zip(small, encoded, strict=True))
    return [
        found[n] if n in found else each if type(each) is np.ndarray else each.payload()
        for n, each in enumerate(elements)
    ]
