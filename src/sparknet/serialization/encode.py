"""Objects to bytes: plan the message, then hand out its pieces or copy them where they belong.

There are two ways out. *Parts* are the arrays' own memory in the order of the message, for those who
can send several buffers. *Pieces* are (offset, block) pairs: small tensors joined, large ones a block
at a time, which is summed while it is in the cache. The head of the message, which holds the checksums, comes
last. Whoever owns the destination (a buffer, a file) puts each piece where it belongs.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from sparknet.backends import backend_of
from sparknet.ndarray import NDArray
from sparknet.serialization.checksum import Bytes, Checksum, checksum
from sparknet.serialization.dtypes import code_of
from sparknet.serialization.header import MAX_NDIM, Header, encode_header
from sparknet.serialization.layout import ALIGNMENT, Layout, head, plan
from sparknet.weights import WeightCollection

Array = np.ndarray[Any, Any]
JOIN = 1 << 18  # bytes of small tensors joined at a time
PIECE = 1 << 20  # bytes of a large tensor copied or converted at a time: in the cache when they are summed
_LITTLE = "<|=" if sys.byteorder == "little" else "<|"


class Message(NamedTuple):
    """A message that is planned, not written."""

    header: Header
    raw_header: bytes  # with checksums of zero, if there are any
    arrays: list[Any]  # NDArray or numpy.ndarray
    sizes: list[int]  # of each, in bytes
    layout: Layout

    def head(self, checksums: list[int]) -> bytes:
        """Return the bytes before the first gap, with these checksums."""
        raw = self.raw_header
        if checksums and self.header.checksums is not None:
            column = np.array(checksums, "<u4").tobytes()
            raw = raw[: -len(column)] + column
        return head(raw, len(self.layout.lengths))


def prepare(
    obj: Any, *, encoding: str, compression: str | None, checksum: bool, metadata: dict[str, Any] | None
) -> Message:
    """Return the planned message of ``obj``; reads no element."""
    if encoding != "raw":
        msg = f"encoding {encoding!r} is not known; this version writes 'raw'"
        raise ValueError(msg)
    if compression is not None:
        msg = f"compression {compression!r} is not known; this version writes without (None)"
        raise ValueError(msg)
    kind, names, counts, arrays = _collect(obj)
    codes = bytes([code_of(array.dtype) for array in arrays])
    shapes = [array.shape for array in arrays]
    if max(map(len, shapes), default=0) > MAX_NDIM:
        msg = f"an array has {max(map(len, shapes))} axes, the limit is {MAX_NDIM}; reshape it"
        raise ValueError(msg)
    sums = [0] * len(arrays) if checksum else None
    header = Header(kind, names, counts, codes, shapes, sums, metadata if metadata is not None else {})
    raw = encode_header(header)
    return Message(header, raw, arrays, header.sizes, plan(len(raw), header.sizes))


def buffers(message: Message) -> list[Any]:
    """Return the message as buffers in order; contiguous little-endian host arrays are not copied."""
    arrays = [_contiguous(array) for array in message.arrays]
    sums = list(map(checksum, arrays)) if message.header.checksums is not None else []
    found: list[Any] = [message.head(sums)]
    layout = message.layout
    if len(layout.lengths) == len(arrays):
        for pair in zip(layout.gaps, arrays, strict=True):
            found += pair
        return found
    for array, begin, end in zip(arrays, layout.first, layout.first[1:], strict=False):
        flat = as_bytes(array)
        for payload in range(begin, end):
            length = layout.lengths[payload]
            found += layout.gaps[payload], flat[:length]
            flat = flat[length:]
    return found


def pieces(message: Message) -> Iterator[tuple[int, Any]]:
    """Yield (offset in bytes, block) until every byte of the message has come once; the head comes last."""
    first = message.layout.first
    sums: list[int] = []
    for run in _runs(message.sizes):
        if sum(message.sizes[run.start : run.stop]) <= JOIN and first[run.stop] - first[run.start] == len(run):
            yield _joined(message, run, sums)
        else:
            for tensor in run:
                yield from _blockwise(message, tensor, sums)
    yield 0, message.head(sums)


def _runs(sizes: list[int]) -> Iterator[range]:
    """Yield runs of tensors: neighbours with JOIN bytes or less in all, or one that is larger."""
    start = total = 0
    for tensor, size in enumerate(sizes):
        if tensor > start and total + size > JOIN:
            yield range(start, tensor)
            start, total = tensor, 0
        total += size + ALIGNMENT
    if sizes:
        yield range(start, len(sizes))


def _joined(message: Message, run: range, sums: list[int]) -> tuple[int, bytes]:
    """Return the offset and the bytes of a run, gaps included: one copy of many small tensors."""
    arrays = [_contiguous(array) for array in message.arrays[run.start : run.stop]]
    if message.header.checksums is not None:
        sums += map(checksum, arrays)
    starts, _, gaps, first, *_ = message.layout
    block: list[Any] = []
    for pair in zip(gaps[first[run.start] : first[run.stop]], arrays, strict=True):
        block += pair
    return starts[first[run.start]] - len(block[0]), b"".join(block)


def _blockwise(message: Message, tensor: int, sums: list[int]) -> Iterator[tuple[int, Any]]:
    """Yield a tensor in blocks, and the gaps before its payloads."""
    starts, _, gaps, first, *_ = message.layout
    state = Checksum()
    filled = first[tensor], 0
    for block in _blocks(_host(message.arrays[tensor])):
        filled = yield from _placed(block, filled, message.layout)
        if message.header.checksums is not None:
            state.update(block)
    sums.append(state.value())
    for payload in range(first[tensor], first[tensor + 1]):
        yield starts[payload] - len(gaps[payload]), gaps[payload]


def _placed(block: Bytes, filled: tuple[int, int], layout: Layout) -> Any:
    """Yield the block, cut where payloads end; return the payload to go on with and how much of it is filled."""
    payload, done = filled
    while len(block):
        piece = block[: layout.lengths[payload] - done]
        yield layout.starts[payload] + done, piece
        block, done = block[len(piece) :], done + len(piece)
        if done == layout.lengths[payload]:
            payload, done = payload + 1, 0
    return payload, done


def _blocks(array: Array) -> Iterator[Bytes]:
    """Yield the bytes of an array, little-endian and in C order; converts no more than PIECE bytes at a time."""
    if array.flags.c_contiguous and array.dtype.byteorder in _LITTLE:
        flat = as_bytes(array)
        yield from (flat[start : start + PIECE] for start in range(0, len(flat), PIECE))
    elif array.nbytes <= PIECE:
        yield as_bytes(_contiguous(array))
    else:
        rows = max(1, PIECE * len(array) // array.nbytes)
        for start in range(0, len(array), rows):
            yield from _blocks(array[start] if rows == 1 else array[start : start + rows])


def as_bytes(array: Array) -> Bytes:
    """Return the bytes of a C-contiguous array; shares memory."""
    return np.frombuffer(array, np.uint8)


def _contiguous(array: Any) -> Array:
    """Return the array on the host, little-endian and in C order: itself where it is so already."""
    array = _host(array)
    if array.dtype.byteorder not in _LITTLE:
        return array.astype(array.dtype.newbyteorder("<"), order="C")  # type: ignore[no-any-return]
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _host(array: Any) -> Array:
    return array.to_host() if type(array) is NDArray else array


def _collect(obj: Any) -> tuple[str, list[str], list[int], list[Any]]:
    """Return kind, names, arrays in each layer, and the arrays."""
    if isinstance(obj, WeightCollection):
        return "weights", list(obj), [len(arrays) for arrays in obj.values()], obj.arrays()
    if not isinstance(obj, Mapping):
        return "array", [], [], [_checked(obj, "")]
    for name in obj:
        if type(name) is not str:
            msg = f"the names in a mapping are str; got {name!r}"
            raise TypeError(msg)
    return "mapping", list(obj), [], [_checked(array, name) for name, array in obj.items()]


def _checked(array: Any, name: str) -> Any:
    """Return an NDArray or numpy array as it is, another library's array as an NDArray."""
    if type(array) is NDArray or type(array) is np.ndarray:
        return array
    if backend_of(array) is None or isinstance(array, np.ma.MaskedArray):
        what = f"{name!r} is a" if name else "got a"
        msg = f"{what} {type(array).__name__}; expected an NDArray, a numpy array, a mapping of these or a WeightCollection"
        raise TypeError(msg)
    return NDArray(array)
