"""What a message holds, told from its header."""

import math
from dataclasses import dataclass, field
from typing import Any

from sparknet.serialization.message.header import Header
from sparknet.serialization.message.layout import HEAD, VERSION, MessageLayout
from sparknet.serialization.payload.codes import NAMES as ENCODINGS
from sparknet.serialization.payload.dtypes import NAMES
from sparknet.serialization.visible import visible

__all__ = ["MessageInfo", "TensorInfo"]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a message.

    Parameters
    ----------
    name
        Its name; ``layer[i]`` in a weight collection, empty for a single array.
    dtype, shape
        Name of the element type, and the lengths of the axes.
    nbytes
        Size of the elements in bytes, as they are handed out.
    offset
        Where the elements begin, in bytes from the start of the message; a multiple of 64.
    checksum
        The checksum that is written for it, or None.
    encoding, compression
        How its elements are stored: ``"raw"`` or a lossy encoding; None, or the name of a compression.
    stored_nbytes
        Size of the stored elements in bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    offset: int
    checksum: int | None
    encoding: str
    compression: str | None
    stored_nbytes: int


@dataclass(frozen=True, slots=True)
class MessageInfo:
    """What a message holds.

    Parameters
    ----------
    kind
        ``"array"``, ``"mapping"`` or ``"weights"``.
    version
        Version of the format.
    tensors
        One entry for each tensor, in order.
    nbytes, header_nbytes
        Size of the whole message and of its header, in bytes.
    verified
        Whether every payload was read and compared with its checksum.
    metadata
        What the writer said about it.
    """

    kind: str
    version: int
    tensors: tuple[TensorInfo, ...]
    nbytes: int
    header_nbytes: int
    verified: bool
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, header: Header, layout: MessageLayout, *, verified: bool) -> "MessageInfo":
        """Return the description of a message with this header and layout."""
        rows = zip(
            header.tensor_names(),
            (NAMES[code] for code in header.codes),
            header.shapes,
            header.sizes,
            (layout.starts[payload] for payload in layout.first[:-1]),
            header.checksums if header.checksums is not None else [None] * len(header.codes),
            (ENCODINGS[form.encoding] for form in header.forms()),
            map(header.compression_of, range(len(header.codes))),
            header.payload_sizes,
            strict=True,
        )
        header_nbytes = layout.head_size - HEAD
        return cls(
            header.kind,
            VERSION,
            tuple(TensorInfo(*row) for row in rows),
            layout.total,
            header_nbytes,
            verified,
            header.metadata,
        )

    def __str__(self) -> str:
        """Return a table: a line for the message, one for each tensor."""
        sums = "without checksums"
        if any(tensor.checksum is not None for tensor in self.tensors):
            sums = "checksums verified" if self.verified else "checksums not verified"
        parameters = sum(math.prod(tensor.shape) for tensor in self.tensors)
        size = f"{len(self.tensors)} tensors, {parameters:,} parameters, {self.nbytes:,} bytes"
        lines = [f"{self.kind}, {size}, format {self.version}, {sums}"]
        names = [visible(tensor.name) for tensor in self.tensors]
        width = max(map(len, names), default=0)
        lines += [
            f"  {name:<{width}}  {t.dtype:<10} {t.shape!s:<20} {t.nbytes:>15,} bytes{_how_stored(t)}"
            for name, t in zip(names, self.tensors, strict=True)
        ]
        lines += [f"  {visible(key)}: {value!r}" for key, value in self.metadata.items()]
        return "\n".join(lines)


def _how_stored(tensor: TensorInfo) -> str:
    """Say in how many bytes a tensor is stored and how, unless it is stored raw."""
    ways = [way for way in (tensor.encoding, tensor.compression) if way not in ("raw", None)]
    return f", {tensor.stored_nbytes:,} as {' + '.join(map(str, ways))}" if ways else ""
