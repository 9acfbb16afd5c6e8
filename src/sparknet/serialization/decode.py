"""Bytes to objects: check the structure against the canonical one, then make views or copies.

Nothing of the size of the message is allocated before its structure is known to be right, and every
byte outside the payloads is compared with the one that the writer writes there.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sparknet.backends import get_backend
from sparknet.errors import FormatError
from sparknet.ndarray import NDArray, wrap
from sparknet.serialization.checksum import Bytes, Checksum, checksum
from sparknet.serialization.dtypes import BOOL, dtype_of
from sparknet.serialization.encode import as_bytes
from sparknet.serialization.header import Header, decode_header
from sparknet.serialization.layout import START, Layout, check_count, check_header, header_size, plan, truncated
from sparknet.weights import WeightCollection

SMALL = 1 << 20  # bytes; verifying so much takes a tenth of a millisecond, so it is always done


class Found(NamedTuple):
    """A message that was opened: its bytes, what it holds, and where."""

    data: memoryview
    header: Header
    layout: Layout


def as_memory(buffer: Any, what: str) -> memoryview:
    """Return a bytes-like object as a flat memoryview of bytes; shares memory."""
    try:
        return memoryview(buffer).cast("B")
    except TypeError as error:
        msg = f"{what}: got {type(buffer).__name__} ({error}); expected a contiguous bytes-like object"
        raise TypeError(msg) from error


def read_header(data: memoryview) -> tuple[Header, Layout]:
    """Return the header at the start of ``data`` and the layout that follows from it."""
    size = header_size(bytes(data[:START]))
    raw = bytes(data[START : START + size])
    check_header(raw, bytes(data[START + size : START + size + 5]))
    header = decode_header(raw)
    layout = plan(size, header.sizes)
    check_count(size, bytes(data[START + size + 5 : START + size + 10]), len(layout.lengths))
    return header, layout


def open_message(data: memoryview) -> Found:
    """Return the message that is exactly ``data``; the gaps between payloads are not looked at yet."""
    header, layout = read_header(data)
    if len(data) < layout.total:
        raise truncated(len(data), f"its {layout.total} bytes")
    if len(data) > layout.total:
        msg = f"the message ends at byte {layout.total}, {len(data) - layout.total} more bytes follow"
        raise FormatError(msg, tensor=None, offset=layout.total)
    return Found(data, header, layout)


def check_gaps(found: Found, tensors: Sequence[int]) -> None:
    """Compare the pad and prefix before every payload of these tensors with the canonical bytes."""
    data, (starts, _, gaps, first, *_) = found.data, found.layout
    for tensor in tensors:
        for payload in range(first[tensor], first[tensor + 1]):
            start, gap = starts[payload], gaps[payload]
            if data[start - len(gap) : start] != gap:
                raise _wrong_gap(found, tensor, start, gap)


def check_tensor(found: Found, tensor: int) -> None:
    """Compare a tensor with its checksum, if there is one, and refuse a bool that is neither 0 nor 1."""
    expected = found.header.checksums
    if expected is not None and _checksum(found, tensor) != expected[tensor]:
        raise _wrong(found, tensor, "is damaged: its checksum does not match")
    if found.header.codes[tensor] == BOOL and any(part.size and part.max() > 1 for part in payloads(found, tensor)):
        raise _wrong(found, tensor, "holds a bool that is neither 0 nor 1")


def _checksum(found: Found, tensor: int) -> int:
    parts = payloads(found, tensor)
    if len(parts) == 1:
        return checksum(parts[0])
    state = Checksum()
    for part in parts:
        state.update(part)
    return state.value()


def payloads(found: Found, tensor: int) -> list[Bytes]:
    """Return the bytes of a tensor's payloads; they share memory with the message."""
    starts, lengths, _, first, *_ = found.layout
    parts = range(first[tensor], first[tensor + 1])
    return [np.frombuffer(found.data, np.uint8, lengths[part], starts[part]) for part in parts]


class Wishes(NamedTuple):
    """How the caller wants the object; ``owned``: the bytes were read into memory for it alone."""

    copy: bool = False
    owned: bool = False
    device: str | None = None
    verify: bool | None = None
    keys: Collection[str] | None = None

    @property
    def moves(self) -> bool:
        """Whether the elements go to another device."""
        return self.device not in (None, "cpu")


def decode(found: Found, wishes: Wishes) -> Any:
    """Return the object in a message, after the checks that are due."""
    chosen = _choose(found.header, wishes.keys)
    check_gaps(found, chosen)
    reads = wishes.copy or wishes.owned or wishes.moves or len(found.data) <= SMALL
    if wishes.verify or (wishes.verify is None and reads):
        check_tensors(found, chosen, required=bool(wishes.verify))
    numpy = get_backend("numpy")
    arrays = [wrap(array, numpy) for array in _arrays(found, chosen, copy=wishes.copy)]
    if wishes.moves:
        arrays = [array.to_device(str(wishes.device)) for array in arrays]
    return _assemble(found.header, arrays, wishes.keys)


def check_tensors(found: Found, tensors: Sequence[int], *, required: bool) -> None:
    """Check the elements of these tensors; ``required``: a message without checksums is refused."""
    if required and found.header.checksums is None:
        msg = "verify=True, but the message carries no checksums: it was written with checksum=False"
        raise FormatError(msg, tensor=None, offset=START)
    for tensor in tensors:
        check_tensor(found, tensor)


def _arrays(found: Found, tensors: Sequence[int], *, copy: bool) -> Iterator[np.ndarray[Any, Any]]:
    """Yield tensors as views, or as copies that own their memory; a split tensor is always copied."""
    starts, _, _, first, *_ = found.layout
    dtypes = {code: dtype_of(code) for code in set(found.header.codes)}
    for tensor in tensors:
        dtype, shape, part = dtypes[found.header.codes[tensor]], found.header.shapes[tensor], first[tensor]
        if first[tensor + 1] > part + 1:
            yield _unsplit(found, tensor, np.empty(shape, dtype), writeable=copy or not found.data.readonly)
        else:
            view: np.ndarray[Any, Any] = np.ndarray(shape, dtype, found.data, starts[part])
            yield view.copy() if copy else view


def _unsplit(found: Found, tensor: int, whole: np.ndarray[Any, Any], *, writeable: bool) -> np.ndarray[Any, Any]:
    """Copy the payloads of a split tensor one after the other into ``whole``."""
    flat, end = as_bytes(whole), 0
    for payload in payloads(found, tensor):
        flat[end : end + len(payload)] = payload
        end += len(payload)
    whole.flags.writeable = writeable
    return whole


def _choose(header: Header, keys: Collection[str] | None) -> Sequence[int]:
    """Return the indices of the tensors under these names, in the order of the message."""
    if keys is None:
        return range(len(header.codes))
    if isinstance(keys, str):
        msg = f"keys: got the str {keys!r}, expected a collection of names; write keys=[{keys!r}]"
        raise TypeError(msg)
    unknown = set(keys) - set(header.names)
    if unknown or header.kind == "array":
        msg = f"no {sorted(unknown)} in the message; it holds {', '.join(header.names) or 'one array without a name'}"
        raise KeyError(msg)
    wanted = set(keys)
    counts = header.counts if header.kind == "weights" else [1] * len(header.names)
    owners = [name for name, count in zip(header.names, counts, strict=True) for _ in range(count)]
    return [tensor for tensor, name in enumerate(owners) if name in wanted]


def _assemble(header: Header, arrays: list[NDArray], keys: Collection[str] | None) -> Any:
    """Return the object of the header's kind."""
    names = header.names if keys is None else [name for name in header.names if name in set(keys)]
    if header.kind == "array":
        return arrays[0]
    if header.kind == "mapping":
        return dict(zip(names, arrays, strict=True))
    remaining = iter(arrays)
    counts = dict(zip(header.names, header.counts, strict=True))
    return WeightCollection({name: [next(remaining) for _ in range(counts[name])] for name in names})


def _wrong_gap(found: Found, tensor: int, start: int, gap: bytes) -> FormatError:
    name, offset = found.header.tensor_names()[tensor], start - len(gap)
    got = bytes(found.data[offset:start])
    at = next(i for i, (a, b) in enumerate(zip(got, gap, strict=True)) if a != b)
    msg = f"byte {offset + at}, before tensor {name!r}: got 0x{got[at]:02x}, expected 0x{gap[at]:02x} (pad and prefix of the payload)"
    return FormatError(msg, tensor=name, offset=offset + at)


def _wrong(found: Found, tensor: int, what: str) -> FormatError:
    name, start = found.header.tensor_names()[tensor], found.layout.starts[found.layout.first[tensor]]
    return FormatError(f"tensor {name!r} (from byte {start}) {what}", tensor=name, offset=start)
