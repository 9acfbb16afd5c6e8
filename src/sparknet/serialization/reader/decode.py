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
from sparknet.serialization.memory.checksum import NEAR, Checksum, checksum, transfer
from sparknet.serialization.message.header import Header
from sparknet.serialization.message.layout import START
from sparknet.serialization.message.plans import Plan
from sparknet.serialization.payload.compression import check_limit
from sparknet.serialization.payload.dtypes import BOOL
from sparknet.serialization.payload.joining import decode_small, is_small
from sparknet.serialization.payload.stored import restore
from sparknet.serialization.reader.opening import Found, check_gaps
from sparknet.weights import WeightCollection

DAMAGED = "is damaged: its checksum does not match"
NO_BOOL = "holds a bool that is neither 0 nor 1"
_SHOWN = 8  # names in an error
SMALL = 1 << 20  # bytes; verifying so much takes a tenth of a millisecond, so it is always done


class Wishes(NamedTuple):
    """How the caller wants the object; ``owned``: the bytes were read into memory for it alone."""

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
        """Say whether the elements of a message of ``size`` bytes are verified: if not told, where that costs little."""
        reads = self.copy or self.owned or self.moves or size <= SMALL
        return reads if self.verify is None else self.verify


def decode(found: Found, wishes: Wishes) -> Any:
    """Return the object in a message, after the checks that are due."""
    check_max_bytes(wishes.max_bytes)
    header = found.plan.header
    names = None if wishes.keys is None else _wanted(header, wishes.keys)
    chosen = None if names is None else _choose(header, names)
    check_gaps(found, chosen)
    tensors = range(len(header.codes)) if chosen is None else chosen
    due, required = wishes.is_due(len(found.data)), bool(wishes.verify)
    if header.compression:
        inflated = sum(header.sizes[tensor] for tensor in tensors if header.compression_of(tensor))
        check_limit(inflated, len(found.data), wishes.max_bytes)
    sums_copies = wishes.copy and header.is_raw
    if due and not sums_copies:
        check_tensors(found, tensors, required=required)
    hosts = views(found, tensors)
    if wishes.copy:
        hosts = _copies(found, tensors, hosts, due=due and sums_copies, required=required and sums_copies)
    backend = get_backend("numpy")
    if wishes.moves:
        backend = backend_for_device(str(wishes.device))
        hosts = [backend.asarray(host, copy=True) for host in hosts]
    arrays = wrap_all(hosts, backend)
    return _assemble(header, arrays, names)


def check_tensors(found: Found, tensors: Sequence[int], *, required: bool) -> None:
    """Read these tensors and refuse what is damaged; ``required``: a message without checksums is refused too."""
    if has_checksums(found, required=required):
        split = [tensor for tensor in tensors if found.plan.is_split(tensor)] if found.plan.has_splits else []
        whole = [tensor for tensor in tensors if not found.plan.is_split(tensor)] if split else tensors
        _refuse_damaged(found, whole, transfer(list(map(found.payload, whole))))
        _refuse_damaged(found, split, (_checksum_of_split(found, tensor) for tensor in split))
    refuse_bools(found, tensors)


def _checksum_of_split(found: Found, tensor: int) -> int:
    state = Checksum()
    for payload in found.payloads(tensor):
        state.update(payload)
    return state.value()


def has_checksums(found: Found, *, required: bool) -> bool:
    """Say whether the message carries checksums; refuse one that does not if they are ``required``."""
    if required and not found.plan.summed:
        msg = "verify=True, but the message carries no checksums: it was written with checksum=False"
        raise FormatError(msg, tensor=None, offset=START)
    return found.plan.summed


def _refuse_damaged(found: Found, tensors: Iterable[int], sums: Iterable[int]) -> None:
    expected = found.checksums
    for tensor, value in zip(tensors, sums, strict=True):
        if expected[tensor] != value:
            raise wrong(found.plan, tensor, DAMAGED)


def refuse_bools(found: Found, tensors: Sequence[int]) -> None:
    """Refuse bools that are neither 0 nor 1."""
    codes = found.plan.header.codes
    if BOOL in codes:
        for tensor in tensors:
            is_plain = codes[tensor] == BOOL and found.plan.is_raw(tensor)
            if is_plain and any(part.size and part.max() > 1 for part in found.payloads(tensor)):
                raise wrong(found.plan, tensor, NO_BOOL)


def wrong(plan: Plan, tensor: int, what: str) -> FormatError:
    """Return the error of a tensor whose bytes are not as they should be."""
    name, layout = plan.header.tensor_names()[tensor], plan.layout
    start = layout.starts[layout.first[tensor]]
    return FormatError(f"tensor {name!r} (from byte {start}) {what}", tensor=name, offset=start)


def views(found: Found, tensors: Sequence[int]) -> list[Array]:
    """Return tensors as arrays that share memory with the message, but for those that are split or not stored raw."""
    plan, (starts, _, _, first, *_) = found.plan, found.plan.layout
    # Of a memoryview np.ndarray keeps only the object below, and does not hold a bytearray's size or a map open. What is
    # below this one is an array that does both.
    data = np.frombuffer(found.data, np.uint8).data
    if len(tensors) == len(starts) and plan.header.is_raw:  # all of them, and none is split
        make: Any = np.ndarray
        return (
            _in_rows(plan, data)
            if plan.rows
            else list(map(make, plan.header.shapes, plan.dtypes, repeat(data), starts))
        )
    shapes, decoded = plan.header.shapes, _small(found, tensors)
    return [
        decoded[tensor]
        if tensor in decoded
        else _in_one_piece(found, tensor)
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


def _small(found: Found, tensors: Sequence[int]) -> dict[int, Array]:
    """Return the small tensors that are encoded and not compressed, decoded together."""
    plan, data = found.plan, np.frombuffer(found.data, np.uint8)
    forms, header, (starts, lengths, _, first, *_) = plan.forms, plan.header, plan.layout
    small = [n for n in tensors if is_small(forms[n]) and not header.compression_of(n) and not plan.is_split(n)]
    payloads = [data[starts[first[n]] : starts[first[n]] + lengths[first[n]]] for n in small]
    arrays = decode_small([forms[n] for n in small], payloads, lambda place: _in_one_piece(found, small[place]))
    for array in arrays:
        array.flags.writeable = not found.data.readonly
    return dict(zip(small, arrays, strict=True))


def _in_one_piece(found: Found, tensor: int) -> Array:
    whole: Array = np.empty(found.plan.header.shapes[tensor], found.plan.dtypes[tensor])
    if found.plan.is_raw(tensor):
        flat, end = as_bytes(whole), 0
        for payload in found.payloads(tensor):
            flat[end : end + len(payload)] = payload
            end += len(payload)
    else:
        _restore(found, tensor, whole)
    whole.flags.writeable = not found.data.readonly
    return whole


def check_stored(found: Found) -> None:
    """Decode all tensors that are not stored raw, a chunk at a time, and refuse what this format does not write."""
    for tensor in range(len(found.plan.header.codes)):
        if not found.plan.is_raw(tensor):
            _restore(found, tensor, None)


def _restore(found: Found, tensor: int, whole: Array | None) -> None:
    plan = found.plan
    start = plan.layout.starts[plan.layout.first[tensor]]
    restore(plan.forms[tensor], found.payloads(tensor), plan.header.compression_of(tensor), whole, start)


def _copies(found: Found, tensors: Sequence[int], views: list[Array], *, due: bool, required: bool) -> list[Array]:
    """Return arrays that own their memory; what is ``due`` is summed while it is copied."""
    summed = due and has_checksums(found, required=required)
    copies = [_owned(view) for view in views]
    large = [n for n, view in enumerate(views) if view.nbytes > NEAR and copies[n] is not view]
    sums = dict(zip(large, transfer([views[n] for n in large], [copies[n] for n in large], sums=summed), strict=True))
    if summed:
        sums |= {n: checksum(copy) for n, copy in enumerate(copies) if n not in sums}
        _refuse_damaged(found, tensors, (sums[n] for n in range(len(copies))))
    if due:
        refuse_bools(found, tensors)
    return copies


def _owned(view: Array) -> Array:
    """Return memory for a copy of a large view, the copy of a small one, or what is one already."""
    if not view.flags.owndata:
        return view.copy() if view.nbytes <= NEAR else np.empty_like(view)
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
