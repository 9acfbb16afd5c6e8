"""Plans: all that is the same for every message of one schema, so that rounds of a training plan once.

The writer recognizes a plan by names, dtypes and shapes, the reader by the bytes of the header. Of 2,000 small tensors that
saves half the time of writing, and more of that of reading.
"""

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from operator import add
from typing import Any, NamedTuple

import numpy as np

from sparknet.serialization.memory.buffers import ALIGNMENT
from sparknet.serialization.message.header import MAX_NDIM, Header
from sparknet.serialization.message.layout import MessageLayout, are_equal, head, runs_of_equals
from sparknet.serialization.payload.dtypes import dtype_of
from sparknet.serialization.payload.form import Form

JOIN = 1 << 18  # bytes of small tensors that are written or read at a time
_KEPT = 1 << 12  # payloads; a plan of more is not kept, because each takes about 500 bytes
_KEPT_HEADER = 1 << 20  # bytes of a header whose plan is kept


class EqualGaps(NamedTuple):
    """Equal gaps in equal steps."""

    shape: tuple[int, int]  # how many, and the bytes of each
    start: int  # offset of the first in bytes
    step: int  # bytes from one to the next
    contents: bytes  # of all together


class Gaps(NamedTuple):
    """All gaps of a message: the equal ones, and of the others where each lies and the contents of all together."""

    equal: list[EqualGaps]
    places: list[slice]
    contents: bytes


@dataclass(frozen=True)
class Plan:
    """The header and the layout of messages that differ in their elements and checksums alone."""

    prefix: bytes  # the header's bytes before the checksums, which come last
    header: Header  # its checksums are None or empty: each message has its own
    layout: MessageLayout

    @property
    def summed(self) -> bool:
        """Whether the messages carry checksums."""
        return self.header.checksums is not None

    @cached_property
    def dtypes(self) -> list[np.dtype[Any]]:
        """Dtype of each tensor."""
        codes = self.header.codes
        return [dtype_of(codes[0])] * len(codes) if codes and are_equal(codes) else list(map(dtype_of, codes))

    @cached_property
    def forms(self) -> list[Form]:
        """How the elements of each tensor lie in its payload."""
        return self.header.forms()

    @cached_property
    def gaps(self) -> Gaps:
        """Where the gaps lie, and what is in them."""
        starts, lengths, gaps, _, head, _ = self.layout
        places = list(map(slice, [head, *map(add, starts, lengths)], starts))
        if not self._equal_lengths:
            return Gaps([], places, b"".join(gaps))
        equal: list[EqualGaps] = []
        others: list[int] = []
        end = 0
        for run in self._equal_lengths:
            second, count = run.start + 1, len(run) - 1
            others += range(end, second)  # the gap before the first payload of a run depends on what lies before it
            end = run.stop
            width, step = len(gaps[second]), starts[second] - starts[run.start]
            equal.append(EqualGaps((count, width), starts[second] - width, step, gaps[second] * count))
        others += range(end, len(starts))
        return Gaps(equal, [places[payload] for payload in others], b"".join([gaps[payload] for payload in others]))

    @cached_property
    def alike(self) -> list[range]:
        """Runs of many tensors of one dtype and one shape, which has axes and elements, in a raw message without splits."""
        codes, shapes = self.header.codes, self.header.shapes
        runs = []
        for run in self._equal_lengths:
            forms = list(zip(codes[run.start : run.stop], shapes[run.start : run.stop], strict=True))
            runs += [run[part.start : part.stop] for part in runs_of_equals(forms)]
        return [run for run in runs if 0 < len(shapes[run.start]) < MAX_NDIM and 0 not in shapes[run.start]]

    @cached_property
    def _equal_lengths(self) -> list[range]:
        """Runs of payloads of one length, so that they lie in equal steps."""
        return runs_of_equals(self.layout.lengths)

    @cached_property
    def runs(self) -> list[range]:
        """Runs of tensors: neighbours that take ``JOIN`` bytes or less and are not split, or one alone."""
        runs, start, total = [], 0, 0
        for tensor, size in enumerate(self.header.payload_sizes):
            total += size + ALIGNMENT
            if tensor > start and (total > JOIN or self.is_split(tensor) or self.is_split(start)):
                runs.append(range(start, tensor))
                start, total = tensor, size + ALIGNMENT
        return [*runs, range(start, len(self.header.codes))] if self.header.codes else []

    @property
    def has_splits(self) -> bool:
        """Whether any tensor lies in more than one payload."""
        return len(self.layout.starts) > len(self.header.codes)

    def is_split(self, tensor: int) -> bool:
        """Say whether a tensor lies in more than one payload."""
        return self.layout.first[tensor + 1] - self.layout.first[tensor] > 1

    def is_small(self, run: range) -> bool:
        """Say whether a run is written and read as one block."""
        return self.header.payload_sizes[run.start] <= JOIN and not self.is_split(run.start)

    def is_raw(self, tensor: int) -> bool:
        """Say whether a tensor's payload is its elements."""
        return self.header.is_raw or not (self.forms[tensor].encoding or self.header.compression_of(tensor))

    def payloads(self, tensor: int) -> range:
        """Return the indices of a tensor's payloads."""
        return range(self.layout.first[tensor], self.layout.first[tensor + 1])

    def head(self, sums: list[int]) -> bytes:
        """Return the bytes of a message before its first gap; ``sums`` are ignored where messages carry no checksums."""
        column = np.array(sums, "<u4").tobytes() if self.summed else b""
        return head(self.prefix + column, len(self.layout.lengths))


_written: deque[Plan] = deque(maxlen=8)
_read: deque[Plan] = deque(maxlen=8)


def recurs(header: Header) -> bool:
    """Say whether another message may have this header: metadata and compressed sizes are seldom the same twice.

    Headers with metadata could not be compared either: 1 and True are equal, and are written differently.
    """
    return not header.metadata and not header.compression


def keep(plan: Plan, plans: deque[Plan]) -> None:
    """Keep a plan that is small and may be used again. Its payloads are counted, because a header of few bytes can promise many."""
    if recurs(plan.header) and len(plan.layout.lengths) <= _KEPT and len(plan.prefix) <= _KEPT_HEADER:
        plans.appendleft(plan)
