"""The header of a message: what it holds, as a MessagePack map of columns, one entry a tensor.

Columns instead of one object a tensor keep a header of 2,000 tensors at a few large values. How one is read is in
:mod:`sparknet.serialization.reader.header_reading`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from sparknet.serialization.message.layout import MAX_DIMS, MAX_HEADER, MAX_PAYLOAD, MAX_TENSORS, are_equal
from sparknet.serialization.payload.form import Form

MAX_NDIM = 64


@dataclass(frozen=True)
class Header:
    """What a message holds. ``names`` are those of the tensors (mapping) or layers (weights)."""

    kind: str
    names: list[str]
    counts: list[int]  # arrays in each layer; weights only
    codes: bytes
    shapes: Sequence[tuple[int, ...]]
    checksums: Sequence[int] | None
    metadata: dict[str, Any] = field(default_factory=dict)
    sums_last: bool = field(default=True, compare=False)  # whether the checksums, if there are any, are the last column
    encodings: bytes = b""  # code of each tensor's encoding; empty if all are raw
    compression: str | None = None
    stored_sizes: Sequence[int] = ()  # bytes of each tensor's payload; only with compression

    @cached_property
    def sizes(self) -> list[int]:
        """Size in bytes of the elements of each tensor, as a reader gets them."""
        if self.codes and are_equal(self.codes) and are_equal(self.shapes):  # as most of many tensors are
            return [_nbytes(self.codes[0], self.shapes[0])] * len(self.codes)
        return list(map(_nbytes, self.codes, self.shapes))

    @cached_property
    def encoded_sizes(self) -> list[int]:
        """Size of each tensor's payload in bytes, if it is not compressed."""
        return [form.size(form.count) for form in self.forms()] if self.encodings else self.sizes

    @cached_property
    def payload_sizes(self) -> list[int]:
        """Size of each tensor's payload in bytes."""
        return list(self.stored_sizes) if self.compression else self.encoded_sizes

    @cached_property
    def is_raw(self) -> bool:
        """Whether every payload is the elements of its tensor."""
        return not self.compression and not any(self.encodings)

    def compression_of(self, tensor: int) -> str | None:
        """Return the compression of a tensor; None if its payload is as large as without compression, because it is stored without then."""
        smaller = self.payload_sizes[tensor] < self.encoded_sizes[tensor]
        return self.compression if smaller else None

    def forms(self) -> list[Form]:
        """Return how the elements of each tensor lie in its payload."""
        encodings = self.encodings or bytes(len(self.codes))
        return list(map(Form, self.tensor_names(), self.codes, self.shapes, encodings))

    def tensor_names(self) -> list[str]:
        """Return one name for each tensor; the arrays of a layer are called ``layer[0]``, ``layer[1]``..."""
        if self.kind == "weights":
            return [f"{n}[{i}]" for n, count in zip(self.names, self.counts, strict=True) for i in range(count)]
        return list(self.names) if self.kind == "mapping" else [""]


@lru_cache(maxsize=4096)
def _nbytes(code: int, shape: tuple[int, ...]) -> int:
    """Return the size in bytes of a tensor."""
    return math.prod(shape) << (code & 15)


def over_limit(header: Header, size: int) -> str:
    """Say which limit of the format is exceeded, or nothing."""
    counts = {"tensors": len(header.codes), "names": len(header.names), "axes": sum(map(len, header.shapes))}
    for what, count in counts.items():
        limit = MAX_DIMS if what == "axes" else MAX_TENSORS
        if count > limit:
            return f"{count} {what}; a message holds at most {limit}"
    if size > MAX_HEADER:
        return f"a header of {size} bytes (names and metadata); the limit is {MAX_HEADER}"
    total = sum(header.sizes)
    return f"{total} bytes of tensors; a message holds at most {MAX_PAYLOAD}" if total > MAX_PAYLOAD else ""
