"""Objects to bytes: plan the message, then hand out its parts or copy them where they belong.

There are three ways out. *Buffers* are the arrays' own memory in the order of the message, for those who
can send several. Memory is written as a whole, large tensors on several cores. A file takes *pieces*, (offset, block)
pairs: small tensors joined, large ones a block at a time, which is summed while it is in the cache. The head of the message,
which holds the checksums, comes last.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from sparknet.serialization.memory.buffers import Bytes, as_bytes, as_memory, writable_bytes
from sparknet.serialization.memory.checksum import CACHED, Checksum, checksum, transfer
from sparknet.serialization.message.header import Header
from sparknet.serialization.message.plans import Plan
from sparknet.serialization.objects import describe
from sparknet.serialization.payload.coding import compress
from sparknet.serialization.payload.compression import method_of
from sparknet.serialization.writer.elements import Encoded, are_plain, blocks, elements_of, is_plain, payloads
from sparknet.serialization.writer.planning import plan_to_write

# bytes: malloc takes fresh memory from the system for each such block, and keeps smaller ones for later
_FRESH = 1 << 25


class Message(NamedTuple):
    """A message that is planned, not written."""

    plan: Plan
    elements: list[Any]  # what becomes the payload of each tensor, as of elements_of()

    @property
    def size(self) -> int:
        """Size of the whole message in bytes."""
        return self.plan.layout.total


def prepare(
    obj: Any, *, encoding: str, compression: str | None, checksum: bool, metadata: dict[str, Any] | None
) -> Message:
    """Return the planned message of ``obj``; reads no element but to compress it."""
    header, arrays = describe(obj, checksum=checksum, metadata=metadata, encoding=encoding)
    elements = elements_of(header, arrays)
    if compression is not None:
        header, elements = _compressed(header, elements, compression)
    return Message(plan_to_write(header), elements)


def _compressed(header: Header, elements: list[Any], compression: str) -> tuple[Header, list[Any]]:
    """Return the header and the payloads of compressed tensors; those that do not shrink stay what they are."""
    method_of(compression)  # it is refused before anything is read
    smaller = []
    for form, each in zip(header.forms(), elements, strict=True):
        source = each.source if type(each) is Encoded else each
        parts = compress(form, blocks(source, CACHED), compression)
        smaller.append(np.concatenate(parts) if parts else each)
    if all(payload is each for payload, each in zip(smaller, elements, strict=True)):
        return header, elements
    return replace(header, compression=compression, stored_sizes=[payload.nbytes for payload in smaller]), smaller


def buffers(message: Message) -> list[Any]:
    """Return the message as buffers in order; contiguous little-endian host arrays are not copied."""
    plan, parts = message.plan, payloads(message.elements)
    head = plan.head(transfer(parts) if plan.summed else [])
    if plan.has_splits:
        parts = [part for tensor, array in enumerate(parts) for part in _split(plan, tensor, array)]
    return [head, *chain.from_iterable(zip(plan.layout.gaps, parts, strict=True))]


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


def to_buffer(message: Message, buffer: Any, caller: str) -> int:
    """Write the message to the start of a writable buffer that is large enough; return its size in bytes."""
    view, size = as_memory(buffer, caller), message.size
    if len(view) < size or view.readonly:
        got = "a read-only buffer" if view.readonly else f"a buffer of {len(view)} bytes"
        msg = f"{caller}: got {got}; the message needs {size} writable bytes"
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
    plan, elements = message.plan, message.elements
    large = [run.start for run in plan.runs if not plan.is_small(run) and not plan.is_split(run.start)]
    starts = (plan.layout.starts[plan.layout.first[tensor]] for tensor in large)
    targets = {
        tensor: out[start : start + elements[tensor].nbytes] for tensor, start in zip(large, starts, strict=True)
    }
    to_write = [tensor for tensor in large if not is_plain(elements[tensor])]
    to_copy = [tensor for tensor in large if is_plain(elements[tensor])]
    for tensor in to_write:
        elements[tensor].write(targets[tensor])
    sums = transfer([targets[tensor] for tensor in to_write], sums=plan.summed)
    sums += transfer(
        [elements[tensor] for tensor in to_copy], [targets[tensor] for tensor in to_copy], sums=plan.summed
    )
    for offset, block in pieces(message, dict(zip(to_write + to_copy, sums, strict=True))):
        out[offset : offset + len(block)] = np.frombuffer(block, np.uint8)


def pieces(message: Message, written: Mapping[int, int] | None = None) -> Iterator[tuple[int, Any]]:
    """Yield (offset in bytes, block) until every byte of the message has come once; the head comes last.

    ``written`` are the tensors whose elements need not come, and their checksums.
    """
    plan, sums = message.plan, dict(written or {})
    plain = are_plain(message.elements)
    for run in plan.runs:
        if plan.is_small(run):
            elements = message.elements[run.start : run.stop]
            yield _joined(plan, run, elements if plain else payloads(elements), sums)
            continue
        for payload in plan.payloads(run.start):
            gap = plan.layout.gaps[payload]
            yield plan.layout.starts[payload] - len(gap), gap
        if run.start not in sums:
            yield from _blockwise(message, run.start, sums)
    yield 0, plan.head([sums[tensor] for tensor in range(len(message.elements))] if plan.summed else [])


def _joined(plan: Plan, run: range, parts: Sequence[Any], sums: dict[int, int]) -> tuple[int, bytes]:
    """Return the offset and the bytes of a run, gaps included: one copy of many small tensors."""
    if plan.summed:
        sums.update(zip(run, map(checksum, parts), strict=True))
    starts, _, gaps, first, *_ = plan.layout
    gaps = gaps[first[run.start] : first[run.stop]]
    together: Iterator[Any] = chain.from_iterable(zip(gaps, parts, strict=True))
    return starts[first[run.start]] - len(gaps[0]), b"".join(together)


def _blockwise(message: Message, tensor: int, sums: dict[int, int]) -> Iterator[tuple[int, Any]]:
    """Yield a tensor in blocks, each within one payload."""
    starts, lengths = message.plan.layout.starts, message.plan.layout.lengths
    state, payload, filled = Checksum(), message.plan.layout.first[tensor], 0
    for block in blocks(message.elements[tensor], CACHED):
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
