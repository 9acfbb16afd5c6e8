"""Messages to objects: views of the message or copies of it, after the checks of the elements that are due."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, repeat
from operator import mul
from typing import Any, NamedTuple

import numpy as np

from sparknet.backends import get_backend
from sparknet.backends.devices import backend_for_device
from sparknet.errors import FormatError
from sparknet.files.regular import check_max_bytes
from sparknet.ndarray.array import NDArray, wrap_all
from sparknet.serialization.memory.buffers import Array, as_bytes
from sparknet.serialization.memory.checksum import CACHED, Checksum, checksum, transfer
from sparknet.serialization.message.header import Header
from sparknet.serialization.message.layout import START
from sparknet.serialization.message.plans import Plan
from sparknet.serialization.payload.coding import decode_payload
from sparknet.serialization.payload.compression import check_limit
from sparknet.serialization.payload.dtypes import BOOL
from sparknet.serialization.payload.joining import decode_small, is_small
from sparknet.serialization.reader.opening import OpenMessage, check_gaps
from sparknet.weights import WeightCollection

DAMAGED = "is damaged: its checksum does not match"
NO_BOOL = "holds a bool that is neither 0 nor 1"
_SHOWN = 8  # names in an error
SMALL = 1 << 20  # bytes; verifying so much takes a tenth of a millisecond, so it is always done


class ReadOptions(NamedTuple):
    """What the caller asked for. ``owned``: the bytes lie in memory that was made for this object alone."""

    copy: bool = False
    owned: bool = False
    device: str | None = None
    verify: bool | None = None
    keys: Iterable[str] | None = None
    max_bytes: int | None = None  # that compressed tensors may inflate to

    @property
    def moves(self) -> bool:
        """Whether the elements go to another device."""
        return self.device not in (None, "cpu")

    def is_due(self, size: int) -> bool:
        """Say whether the elements of a message of ``size`` bytes are verified; by default they are where that costs little."""
        reads = self.copy or self.owned or self.moves or size <= SMALL
        return reads if self.verify is None else self.verify


def decode(message: OpenMessage, options: ReadOptions) -> Any:
    """Return the object in a message, after the checks that are due."""
    check_max_bytes(options.max_bytes)
    header = message.plan.header
    names = None if options.keys is None else _wanted(header, options.keys)
    chosen = None if names is None else _choose(header, names)
    check_gaps(message, chosen)
    tensors = range(len(header.codes)) if chosen is None else chosen
    due, required = options.is_due(len(message.data)), bool(options.verify)
    if header.compression:
        inflated = sum(header.sizes[tensor] for tensor in tensors if header.compression_of(tensor))
        check_limit(inflated, len(message.data), options.max_bytes)
    sums_copies = options.copy and header.is_raw
    if due and not sums_copies:
        check_tensors(message, tensors, required=required)
    hosts = views(message, tensors)
    if options.copy:
        hosts = _copies(message, tensors, hosts, due=due and sums_copies, required=required and sums_copies)
    backend = get_backend("numpy")
    if options.moves:
        backend = backend_for_device(str(options.device))
        hosts = [backend.asarray(host, copy=True) for host in hosts]
    arrays = wrap_all(hosts, backend)
    return _assemble(header, arrays, names)


def check_tensors(message: OpenMessage, tensors: Sequence[int], *, required: bool) -> None:
    """Read these tensors and refuse what is damaged; ``required``: a message without checksums is refused too."""
    if has_checksums(message, required=required):
        split = [tensor for tensor in tensors if message.plan.is_split(tensor)] if message.plan.has_splits else []
        whole = [tensor for tensor in tensors if not message.plan.is_split(tensor)] if split else tensors
        _refuse_damaged(message, whole, transfer(list(map(message.payload, whole))))
        _refuse_damaged(message, split, (_checksum_of_split(message, tensor) for tensor in split))
    refuse_bools(message, tensors)


def _checksum_of_split(message: OpenMessage, tensor: int) -> int:
    state = Checksum()
    for payload in message.payloads(tensor):
        state.update(payload)
    return state.value()


def has_checksums(message: OpenMessage, *, required: bool) -> bool:
    """Say whether the message carries checksums; refuse one that does not if they are ``required``."""
    if required and not message.plan.summed:
        msg = "verify=True, but the message carries no checksums: it was written with checksum=False"
        raise FormatError(msg, tensor=None, offset=START)
    return message.plan.summed


def _refuse_damaged(message: OpenMessage, tensors: Iterable[int], sums: Iterable[int]) -> None:
    expected = message.checksums
    for tensor, value in zip(tensors, sums, strict=True):
        if expected[tensor] != value:
            raise wrong(message.plan, tensor, DAMAGED)


def refuse_bools(message: OpenMessage, tensors: Sequence[int]) -> None:
    """Refuse bools that are neither 0 nor 1."""
    codes = message.plan.header.codes
    if BOOL in codes:
        for tensor in tensors:
            is_plain = codes[tensor] == BOOL and message.plan.is_raw(tensor)
            if is_plain and any(part.size and part.max() > 1 for part in message.payloads(tensor)):
                raise wrong(message.plan, tensor, NO_BOOL)


def wrong(plan: Plan, tensor: int, what: str) -> FormatError:
    """Return the error of a tensor whose bytes are not as they should be."""
    name, layout = plan.header.tensor_names()[tensor], plan.layout
    start = layout.starts[layout.first[tensor]]
    return FormatError(f"tensor {name!r} (from byte {start}) {what}", tensor=name, offset=start)


def views(message: OpenMessage, tensors: Sequence[int]) -> list[Array]:
    """Return tensors as arrays that share memory with the message, but for those that are split or not stored raw."""
    plan, (starts, _, _, first, *_) = message.plan, message.plan.layout
    # Of a memoryview, np.ndarray keeps only the object that it is a view of: a bytearray could be resized then, a map be closed.
    # So it is given a view of an array, which prevents both.
    data = np.frombuffer(message.data, np.uint8).data
    if len(tensors) == len(starts) and plan.header.is_raw:  # all of them, and none is split
        make: Any = np.ndarray
        return (
            _in_rows(plan, data)
            if plan.rows
            else list(map(make, plan.header.shapes, plan.dtypes, repeat(data), starts))
        )
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
    for run in plan.rows:
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


def _copies(
    message: OpenMessage, tensors: Sequence[int], views: list[Array], *, due: bool, required: bool
) -> list[Array]:
    """Return arrays that own their memory; checksums that are ``due`` are computed while the elements are copied."""
    summed = due and has_checksums(message, required=required)
    copies = [_owned(view) for view in views]
    large = [n for n, view in enumerate(views) if view.nbytes > CACHED and copies[n] is not view]
    sums = dict(zip(large, transfer([views[n] for n in large], [copies[n] for n in large], sums=summed), strict=True))
    if summed:
        sums |= {n: checksum(copy) for n, copy in enumerate(copies) if n not in sums}
        _refuse_damaged(message, tensors, (sums[n] for n in range(len(copies))))
    if due:
        refuse_bools(message, tensors)
    return copies


def _owned(view: Array) -> Array:
    """Return the copy of a small view, memory for the copy of a large one, and as it is an array that owns its memory."""
    if not view.flags.owndata:
        return view.copy() if view.nbytes <= CACHED else np.empty_like(view)
    view.flags.writeable = True
    return view


def _wanted(header: Header, keys: Iterable[str]) -> set[str]:
    """Return the names that were asked for, all of them in the message."""
    if isinstance(keys, str):
        msg = f"keys: got the str {keys!r}, expected a collection of names; write keys=[{keys!r}]"
        raise TypeError(msg)
    if header.kind == "array":
        msg = "keys: the message is one array, which has no name; leave keys out"
        raise KeyError(msg)
    names = set(keys)
    unknown = sorted(map(repr, names - set(header.names)))
    if unknown:
        there = ", ".join(header.names[:_SHOWN]) + (", ..." if len(header.names) > _SHOWN else "")
        msg = f"no {', '.join(unknown[:_SHOWN])} in the message; it holds {len(header.names)} names: {there}"
        raise KeyError(msg)
    return names


def _choose(header: Header, names: set[str]) -> list[int]:
    """Return the indices of the tensors under these names, in the order of the message."""
    counts = header.counts if header.kind == "weights" else [1] * len(header.names)
    owners = [name for name, count in zip(header.names, counts, strict=True) for _ in range(count)]
    return [tensor for tensor, name in enumerate(owners) if name in names]


def _assemble(header: Header, arrays: list[NDArray], wanted: set[str] | None) -> Any:
    """Return the object of the header's kind."""
    if header.kind == "array":
        return arrays[0]
    names = header.names if wanted is None else [name for name in header.names if name in wanted]
    if header.kind == "mapping":
        return dict(zip(names, arrays, strict=True))
    remaining = iter(arrays)
    counts = dict(zip(header.names, header.counts, strict=True))
    return WeightCollection({name: [next(remaining) for _ in range(counts[name])] for name in names})
