"""The tensors of a message as arrays: views of the message where its bytes are the elements, else arrays of their own."""

from collections.abc import Sequence
from itertools import accumulate, repeat
from operator import mul
from typing import Any

import numpy as np

from sparknet.serialization.memory.buffers import Array, as_bytes
from sparknet.serialization.message.plans import Plan
from sparknet.serialization.payload.coding import decode_payload
from sparknet.serialization.payload.joining import decode_small, is_small
from sparknet.serialization.reader.opening import OpenMessage


def views(message: OpenMessage, tensors: Sequence[int]) -> list[Array]:
    """Return tensors as arrays that share memory with the message, but for those that are split or not stored raw."""
    plan, (starts, _, _, first, *_) = message.plan, message.plan.layout
    # Of a memoryview, np.ndarray keeps only the object that it is a view of: a bytearray could be resized then, a map be closed.
    # So it is given a view of an array, which prevents both.
    data = np.frombuffer(message.data, np.uint8).data
    if len(tensors) == len(starts) and plan.header.is_raw:  # all of them, and none is split
        make: Any = np.ndarray
        if plan.alike:
            return _in_rows(plan, data)
        return list(map(make, plan.header.shapes, plan.dtypes, repeat(data), starts))
    shapes, decoded = plan.header.shapes, _small(message, tensors)
    return [
        decoded[tensor]
        if tensor in decoded
        else _in_one_piece(message, tensor)
        if plan.is_split(tensor) or not plan.is_raw(tensor)
        else np.ndarray(shapes[tensor], plan.dtypes[tensor], data, starts[first[tensor]])
        for tensor in tensors
    ]


def _in_rows(plan: Plan, data: memoryview) -> list[Array]:
    """Return all tensors of a raw message; those of one dtype and shape as the rows of an array over them and their gaps."""
    make: Any = np.ndarray
    shapes, dtypes, starts = plan.header.shapes, plan.dtypes, plan.layout.starts
    arrays: list[Array] = []
    for run in plan.alike:
        before = slice(len(arrays), run.start)
        arrays += map(make, shapes[before], dtypes[before], repeat(data), starts[before])
        shape, dtype, start = shapes[run.start], dtypes[run.start], starts[run.start]
        inner = list(accumulate(shape[:0:-1], mul, initial=dtype.itemsize))[::-1]
        arrays.extend(make((len(run), *shape), dtype, data, start, (starts[run.start + 1] - start, *inner)))
    rest = slice(len(arrays), None)
    return [*arrays, *map(make, shapes[rest], dtypes[rest], repeat(data), starts[rest])]


def _small(message: OpenMessage, tensors: Sequence[int]) -> dict[int, Array]:
    """Return the small tensors that are encoded and not compressed, decoded together."""
    plan, data = message.plan, np.frombuffer(message.data, np.uint8)
    forms, header, (starts, lengths, _, first, *_) = plan.forms, plan.header, plan.layout
    small = [n for n in tensors if is_small(forms[n]) and not header.compression_of(n) and not plan.is_split(n)]
    payloads = [data[starts[first[n]] : starts[first[n]] + lengths[first[n]]] for n in small]
    arrays = decode_small([forms[n] for n in small], payloads, lambda place: _in_one_piece(message, small[place]))
    for array in arrays:
        array.flags.writeable = not message.data.readonly
    return dict(zip(small, arrays, strict=True))


def _in_one_piece(message: OpenMessage, tensor: int) -> Array:
    whole: Array = np.empty(message.plan.header.shapes[tensor], message.plan.dtypes[tensor])
    if message.plan.is_raw(tensor):
        flat, end = as_bytes(whole), 0
        for payload in message.payloads(tensor):
            flat[end : end + len(payload)] = payload
            end += len(payload)
    else:
        _restore(message, tensor, whole)
    whole.flags.writeable = not message.data.readonly
    return whole


def check_stored(message: OpenMessage) -> None:
    """Decode all tensors that are not stored raw, a chunk at a time, and refuse what this format does not write."""
    for tensor in range(len(message.plan.header.codes)):
        if not message.plan.is_raw(tensor):
            _restore(message, tensor, None)


def _restore(message: OpenMessage, tensor: int, whole: Array | None) -> None:
    plan = message.plan
    start = plan.layout.starts[plan.layout.first[tensor]]
    decode_payload(plan.forms[tensor], message.payloads(tensor), plan.header.compression_of(tensor), whole, start)
