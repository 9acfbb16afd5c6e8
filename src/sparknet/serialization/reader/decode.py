"""Messages to objects: views of the message or copies of it, after the checks of the elements that are due."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sparknet.backends import get_backend
from sparknet.backends.devices import backend_for_device
from sparknet.files.regular import check_max_bytes
from sparknet.ndarray.array import NDArray, wrap_all
from sparknet.serialization.memory.buffers import Array
from sparknet.serialization.memory.checksum import CACHED, checksum, transfer
from sparknet.serialization.message.header import Header
from sparknet.serialization.payload.compression import check_limit
from sparknet.serialization.reader.opening import OpenMessage, check_gaps
from sparknet.serialization.reader.verifying import check_tensors, has_checksums, refuse_bools, refuse_damaged
from sparknet.serialization.reader.views import views
from sparknet.weights import WeightCollection

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
        refuse_damaged(message, tensors, (sums[n] for n in range(len(copies))))
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
