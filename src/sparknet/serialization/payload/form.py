"""What fixes the bytes of a tensor's payload: its element type, its shape and how it is encoded."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparknet.errors import shown
from sparknet.serialization.payload.codes import INT8, NAMES, RAW, encoded_size
from sparknet.serialization.payload.dtypes import FLOATS, itemsize

_BFLOAT16_MAX = float.fromhex("0x1.fep127")
# what other libraries call them; for errors
_ALIASES = {
    **dict.fromkeys(("bf16", "bfloat", "torch.bfloat16"), "bfloat16"),
    **dict.fromkeys(("fp16", "f16", "half", "torch.float16"), "float16"),
    **dict.fromkeys(("i8", "q8", "q8_0", "qint8", "torch.int8"), "int8"),
    **dict.fromkeys(("none", "float32", "fp32", "f32", "float64"), "raw"),
}


@dataclass(frozen=True, slots=True)
class Form:
    """What fixes the bytes of a tensor's payload, but for the length of a compressed one."""

    name: str  # of the tensor, for errors
    code: int  # of the element type
    shape: tuple[int, ...]
    encoding: int = RAW

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def size(self, count: int) -> int:
        """Return the bytes of ``count`` elements that are not compressed."""
        return count * itemsize(self.code) if self.encoding == RAW else encoded_size(self.encoding, count)

    @property
    def width(self) -> int:
        """Bytes of an encoded element; before compression the first bytes of all elements are put side by side, then the second ones."""
        return 1 if self.encoding == INT8 else self.size(1)


def choose(encoding: str, codes: bytes, shapes: Iterable[tuple[int, ...]]) -> bytes:
    """Return the header's column of encodings: the wanted one for floats that it makes smaller, else raw; empty if all are raw.

    Raises
    ------
    ValueError
        There is no such encoding.
    """
    wanted = next((code for code, name in NAMES.items() if name == encoding), None)
    if wanted is None:
        given = shown(encoding)
        meant = _ALIASES.get(given.strip("'").lower())
        fix = f"; {meant!r} is what is meant" if meant else ""
        msg = f"encoding {given} is not known; expected one of {', '.join(map(repr, NAMES.values()))}{fix}"
        raise ValueError(msg)
    if wanted == RAW:
        return b""
    counts = map(math.prod, shapes)
    encodings = bytes(
        wanted if code in FLOATS and encoded_size(wanted, count) < count * itemsize(code) else RAW
        for code, count in zip(codes, counts, strict=True)
    )
    return encodings if any(encodings) else b""


def not_encodable(form: Form, index: int, value: Any) -> ValueError:
    """Return the error of an element, by its index in row-major order, that an encoding has no place for."""
    where = tuple(map(int, np.unravel_index(index, form.shape)))
    name = f"tensor {form.name!r}" if form.name else "the array"
    fix = (
        "'raw'"
        if math.isfinite(value) and abs(value) > _BFLOAT16_MAX
        else "'bfloat16', which has the range of float32, or 'raw'"
    )
    return ValueError(
        f"{name} holds {value} at {where}, which the encoding {NAMES[form.encoding]!r} has no place for: use {fix}"
    )
