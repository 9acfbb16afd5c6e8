"""Opening a message: its structure is checked against the canonical one, none of its elements is read.

Nothing of the size of the message is allocated before its structure is known to be right, and every
byte outside the payloads is compared with the one that the writer writes there.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sparknet.errors import FormatError
from sparknet.serialization.memory.buffers import Bytes
from sparknet.serialization.memory.streams import read_up_to
from sparknet.serialization.message import plans
from sparknet.serialization.message.header import Header
from sparknet.serialization.message.layout import (
    HEAD,
    START,
    check_count,
    check_header,
    header_size,
    lay_out,
    truncated,
)
from sparknet.serialization.message.plans import Gaps, Plan, keep
from sparknet.serialization.reader.header_reading import decode_header


class OpenMessage(NamedTuple):
    """A message that was opened: its bytes, its plan, and its checksums, 4 bytes each."""

    data: memoryview
    plan: Plan
    sums: bytes

    @property
    def checksums(self) -> list[int]:
        """The checksum of each tensor, or none at all."""
        return np.frombuffer(self.sums, "<u4").tolist()  # type: ignore[no-any-return]

    def header(self) -> Header:
        """Return the header with the checksums of this message."""
        sums = self.checksums if self.plan.summed else None
        return replace(self.plan.header, checksums=sums)

    def payload(self, tensor: int) -> memoryview:
        """Return the bytes of a tensor that is not split; they share memory with the message."""
        layout = self.plan.layout
        first = layout.first[tensor]
        return self.data[layout.starts[first] : layout.starts[first] + layout.lengths[first]]

    def payloads(self, tensor: int) -> list[Bytes]:
        """Return the bytes of a tensor's payloads; they share memory with the message."""
        starts, lengths = self.plan.layout.starts, self.plan.layout.lengths
        return [np.frombuffer(self.data, np.uint8, lengths[n], starts[n]) for n in self.plan.payloads(tensor)]


def read_head(data: memoryview) -> tuple[Plan, bytes]:
    """Return the plan of the message that begins with ``data``, and the bytes of its checksums."""
    size = header_size(bytes(data[:START]))
    raw, after = bytes(data[START : START + size]), bytes(data[START + size : START + size + 10])
    check_header(raw, after[:5])
    plan, sums = _plan_of(raw)
    check_count(size, after[5:], len(plan.layout.lengths))
    return plan, sums


def _plan_of(raw: bytes) -> tuple[Plan, bytes]:
    """Return the plan of messages with this header but for its checksums, and the bytes of these.

    Raises
    ------
    FormatError
        It is not a header that this version reads.
    """
    for known in tuple(plans._read):
        if raw.startswith(known.prefix) and len(raw) + HEAD == known.layout.head_size:
            return known, raw[len(known.prefix) :]
    header = decode_header(raw)
    sums = np.array(header.checksums or [], "<u4").tobytes()
    bare = header if header.checksums is None else replace(header, checksums=[])
    plan = Plan(raw[: len(raw) - len(sums)], bare, lay_out(len(raw), header.payload_sizes))
    if header.sums_last:
        keep(plan, plans._read)
    return plan, sums


def head_of_stream(stream: Any) -> OpenMessage | None:
    """Read a message up to its first gap, and not a byte more; None at the end of the stream."""
    begin = read_up_to(stream, START).tobytes()
    if not begin:
        return None
    head = memoryview(begin + read_up_to(stream, header_size(begin) + 10).tobytes())
    return OpenMessage(head, *read_head(head))


def rest_of_stream(stream: Any, head: OpenMessage) -> OpenMessage:
    """Read on to the end of the message that begins so; memory grows with what has come."""
    total = head.plan.layout.total
    buffer = read_up_to(stream, total, bytes(head.data))
    if len(buffer) < total:
        raise truncated(len(buffer), f"its {total} bytes")
    return head._replace(data=buffer.data)


def open_message(data: memoryview, *, of_file: bool = False) -> OpenMessage:
    """Return the message that is exactly ``data``, a buffer's or a file's; the gaps between payloads are not looked at yet."""
    plan, sums = read_head(data)
    total = plan.layout.total
    if len(data) < total:
        raise truncated(len(data), f"its {total} bytes")
    if len(data) > total:
        more = len(data) - total
        msg = f"the message ends at byte {total}, {more} more bytes follow; {next_call(total, of_file=of_file)}"
        raise FormatError(msg, tensor=None, offset=total)
    return OpenMessage(data, plan, sums)


def next_call(total: int, *, of_file: bool) -> str:
    """Say how to read the first message alone, of ``total`` bytes, and all of several that follow one another."""
    if of_file:
        return "of several messages, use iter_load(open(path, 'rb'))"
    return f"pass buffer[:{total}], or of several messages, use iter_load(io.BytesIO(buffer))"


def check_gaps(message: OpenMessage, tensors: Sequence[int] | None = None) -> None:
    """Compare the pad and prefix before every payload, or those of these tensors, with the canonical bytes."""
    plan, layout = message.plan, message.plan.layout
    if tensors is None and _are_canonical(message.data, plan.gaps):
        return
    for tensor in range(len(plan.header.codes)) if tensors is None else tensors:
        for payload in plan.payloads(tensor):
            start, gap = layout.starts[payload], layout.gaps[payload]
            check_gap(plan, tensor, payload, bytes(message.data[start - len(gap) : start]))


def _are_canonical(data: memoryview, gaps: Gaps) -> bool:
    """Say whether all gaps hold what they should."""
    if b"".join(map(data.__getitem__, gaps.places)) != gaps.contents:
        return False
    if not gaps.equal:
        return True
    rows = (np.ndarray(run.shape, np.uint8, data, run.start, (run.step, 1)) for run in gaps.equal)
    return all(there.tobytes() == run.contents for there, run in zip(rows, gaps.equal, strict=True))


def check_gap(plan: Plan, tensor: int, payload: int, got: bytes) -> None:
    """Compare what lies before one payload with the canonical bytes."""
    gap = plan.layout.gaps[payload]
    if got == gap:
        return
    name, offset = plan.header.tensor_names()[tensor], plan.layout.starts[payload] - len(gap)
    at = next(i for i, (a, b) in enumerate(zip(got, gap, strict=True)) if a != b)
    msg = f"byte {offset + at}, before tensor {name!r}: got 0x{got[at]:02x}, expected 0x{gap[at]:02x} (pad and prefix of the payload)"
    raise FormatError(msg, tensor=name, offset=offset + at)
