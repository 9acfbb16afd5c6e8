"""Objects to bytes: plan the message, then hand out its parts or copy them where they belong.

There are three ways out. *Buffers* are the arrays' own memory in the order of the message, for those who
can send several. Memory is written as a whole, large tensors on several cores. A file takes *pieces*, (offset, block)
pairs: small tensors joined, large ones a block at a time, which is summed while it is in the cache. The head of the message,
which holds the checksums, comes last.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from sparknet.serialization.memory.buffers import Bytes, are_ready, as_bytes, as_memory, is_ready, writable_bytes
from sparknet.serialization.memory.checksum import NEAR, Checksum, checksum, transfer
from sparknet.serialization.message.header import Header
from sparknet.serialization.message.plans import Plan
from sparknet.serialization.objects import describe
from sparknet.serialization.payload.compression import method_of
from sparknet.serialization.payload.stored import compress
from sparknet.serialization.writer.elements import Encoded, all_ready, blocks, encoded
from sparknet.serialization.writer.planning import plan_to_write

# bytes: malloc takes fresh memory from the system for each such block, and keeps smaller ones for later
_FRESH = 1 << 25


class Message(NamedTuple):
    """A message that is planned, not written."""

    plan: Plan
    arrays: list[Any]  # numpy.ndarray, NDArray of another backend, or Encoded

    @property
    def size(self) -> int:
        """Size of the whole message in bytes."""
        return self.plan.layout.total


def prepare(
    obj: Any, *, encoding: str, compression: str | None, checksum: bool, metadata: dict[str, Any] | None
) -> Message:
    """Return the planned message of ``obj``; reads no element but to compress it."""
    header, arrays = describe(obj, checksum=checksum, metadata=metadata, encoding=encoding)
    if compression is not None:
        header, arrays = _compressed(header, arrays, compression)
    elif header.encodings:
        arrays = to_encode(header, arrays)
    return Message(plan_to_write(header), arrays)


def to_encode(header: Header, arrays: list[Any]) -> list[Any]:
    """Return the arrays, those that the header says are encoded as :class:`Encoded`."""
    if not header.encodings:
        return arrays
    pairs = zip(header.forms(), arrays, strict=True)
    return [Encoded(form, array) if form.encoding else array for form, array in pairs]


def _compressed(header: Header, arrays: list[Any], compression: str) -> tuple[Header, list[Any]]:
    """Return the header and the payloads of compressed arrays; those that do not shrink stay what they are."""
    method_of(compression)  # it is refused before anything is read
    payloads, plain = [], to_encode(header, arrays)
    for form, array, without in zip(header.forms(), arrays, plain, strict=True):
        parts = compress(form, blocks(array, NEAR), compression)
        payloads.append(np.concatenate(parts) if parts else without)
    if all(payload is without for payload, without in zip(payloads, plain, strict=True)):
        return header, plain
    return replace(header, compression=compression, stored=[payload.nbytes for payload in payloads]), payloads


def buffers(message: Message) -> list[Any]:
    """Return the message as buffers in order; contiguous little-endian host arrays are not copied."""
    plan, arrays = message.plan, message.arrays
    if not are_ready(arrays):
        arrays = all_ready(arrays)
    head = plan.head(transfer(arrays) if plan.summed else [])
    payloads: list[Any] = arrays
    if len(plan.layout.lengths) > len(arrays):
        payloads = [part for tensor, array in enumerate(arrays) for part in _split(plan, tensor, array)]
    return [head, *chain.from_iterable(zip(plan.layout.gaps, payloads, strict=True))]


def _split(plan: Plan, tensor: int, array: Any) -> Iterator[Bytes]:
    flat = as_bytes(array)
    for payload in plan.payloads(tensor):
        length = plan.layout.lengths[payload]
        yield flat[:length]
        flat = flat[length:]


def to_bytes(message: Message) -> bytes:
    """Return the message as bytes."""
    if message.size < _FRESH:
        return b"".join(buffers(message))
    data, memory = writable_bytes(message.size)
    _fill(message, memory)
    return data


def to_parts(message: Message) -> list[memoryview]:
    """Return the message as memoryviews of bytes in order."""
    return [memoryview(part) if type(part) is bytes else _flat(part) for part in buffers(message)]


def to_buffer(message: Message, buffer: Any, who: str) -> int:
    """Write the message to the start of a writable buffer that is large enough; return its size in bytes."""
    view, size = as_memory(buffer, who), message.size
    if len(view) < size or view.readonly:
        got = "a read-only buffer" if view.readonly else f"a buffer of {len(view)} bytes"
        msg = f"{who}: got {got}; the message needs {size} writable bytes"
        raise ValueError(msg)
    _fill(message, np.frombuffer(view, np.uint8, size))
    return size


def _flat(array: Any) -> memoryview:
    try:
        return memoryview(array).cast("B")
    except (TypeError, ValueError):  # no elements, or of a type that memoryview does not know
        return as_bytes(array).data


def _fill(message: Message, out: Bytes) -> None:
    """Write the message to memory of its size: large tensors on several cores, then the rest."""
    plan, arrays = message.plan, message.arrays
    large = [run.start for run in plan.runs if not plan.is_small(run) and not plan.is_split(run.start)]
    starts = (plan.layout.starts[plan.layout.first[tensor]] for tensor in large)
    targets = {tensor: out[start : start + arrays[tensor].nbytes] for tensor, start in zip(large, starts, strict=True)}
    copied = [tensor for tensor in large if is_ready(arrays[tensor])]
    coded = [tensor for tensor in large if type(arrays[tensor]) is Encoded]
    sums = transfer([arrays[tensor] for tensor in copied], [targets[tensor] for tensor in copied], sums=plan.summed)
    sums += transfer([encoded(arrays[tensor], targets[tensor]) for tensor in coded], sums=plan.summed)
    for offset, block in pieces(message, dict(zip(copied + coded, sums, strict=True))):
        out[offset : offset + len(block)] = np.frombuffer(block, np.uint8)


def pieces(message: Message, written: Mapping[int, int] | None = None) -> Iterator[tuple[int, Any]]:
    """Yield (offset in bytes, block) until every byte of the message has come once; the head comes last.

    ``written`` are the tensors whose elements need not come, and their checksums.
    """
    plan, sums = message.plan, dict(written or {})
    is_plain = are_ready(message.arrays)
    for run in plan.runs:
        if plan.is_small(run):
            arrays = message.arrays[run.start : run.stop]
            yield _joined(plan, run, arrays if is_plain else all_ready(arrays), sums)
            continue
        for payload in plan.payloads(run.start):
            gap = plan.layout.gaps[payload]
            yield plan.layout.starts[payload] - len(gap), gap
        if run.start not in sums:
            yield from _blockwise(message, run.start, sums)
    yield 0, plan.head([sums[tensor] for tensor in range(len(message.arrays))] if plan.summed else [])


def _joined(plan: Plan, run: range, arrays: list[Any], sums: dict[int, int]) -> tuple[int, bytes]:
    """Return the offset and the bytes of a run, gaps included: one copy of many small tensors."""
    if plan.summed:
        sums.update(zip(run, map(checksum, arrays), strict=True))
    starts, _, gaps, first, *_ = plan.layout
    gaps = gaps[first[run.start] : first[run.stop]]
    parts: Iterator[Any] = chain.from_iterable(zip(gaps, arrays, strict=True))
    return starts[first[run.start]] - len(gaps[0]), b"".join(parts)


def _blockwise(message: Message, tensor: int, sums: dict[int, int]) -> Iterator[tuple[int, Any]]:
    """Yield a tensor in blocks, each within one payload."""
    starts, lengths = message.plan.layout.starts, message.plan.layout.lengths
    state, payload, filled = Checksum(), message.plan.layout.first[tensor], 0
    for block in blocks(message.arrays[tensor], NEAR):
        if message.plan.summed:
            state.update(block)
        rest = block
        while len(rest):
            piece = rest[: lengths[payload] - filled]
            yield starts[payload] + filled, piece
            rest, filled = rest[len(piece) :], filled + len(piece)
            if filled == lengths[payload]:
                payload, filled = payload + 1, 0
    sums[tensor] = state.value()
