"""Counts the fields of a message of protobuf before it is parsed: an empty field takes 2 bytes there, but far more in memory.

Each element that is not packed is a field too. Runs of them are skipped at once, because old files have millions.
"""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from sparknet.errors import FormatError

__all__ = ["MOST_FIELDS", "check_fields"]

MOST_FIELDS = 1 << 20  # in a file: an array has three, a layer of Caffe some ten
_AXES = 8  # an axis of a packed shape takes at least a byte there, and 8 in memory
_SHAPE = "BlobShape"
_VARINT, _LENGTH = 0, 2
_FIXED = {1: 8, 5: 4}  # wire type -> bytes
_GROUPS = (3, 4)
_LONGEST = 10  # bytes of a varint
_FIRST, _FACTOR = 64, 4  # fields of a run that are compared at once, and how that number grows


def check_fields(kind: str, data: bytes, inner: Mapping[str, Mapping[int, str]]) -> None:
    """Refuse a message with more fields than any net has.

    Parameters
    ----------
    kind
        Kind of the message.
    data
        Its bytes. If they are no message, the parser says so later.
    inner
        Kind of message -> number of a field -> the kind of the message in it.
    """
    count, rest = 0, [(0, len(data), kind)]
    with suppress(IndexError):  # the message ends early, or is none
        while rest:
            begin, end, kind = rest.pop()
            while begin < end:
                begin, inside = _field(data, begin, end)
                count += 1
                if inside is not None and (found := inner[kind].get(inside[0])) is not None:
                    rest.append((inside[1], min(end, begin), found))
                    count += (begin - inside[1]) // _AXES if found == _SHAPE else 0
                if count > MOST_FIELDS:
                    msg = f"it has more than {MOST_FIELDS} fields, which no net has; expected a file of weights"
                    raise FormatError(msg, tensor=None, offset=begin)


def _field(data: bytes, begin: int, end: int) -> tuple[int, tuple[int, int] | None]:
    """Return where a field or a run of fields ends; for a field that may be a message, also its number and begin."""
    tag, at = _varint(data, begin)
    wire = tag & 7
    if wire == _LENGTH:
        size, at = _varint(data, at)
        return at + size, (tag >> 3, at)
    if wire in _FIXED:
        return _end_of_run(data, begin, at, at + _FIXED[wire], end), None
    if wire == _VARINT:
        return _varint(data, at)[1], None
    if wire not in _GROUPS:
        raise IndexError
    return at, None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number, and where it ends."""
    number = 0
    for i in range(_LONGEST):
        byte = data[at + i]
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:  # the last one
            return number, at + i + 1
    raise IndexError


def _end_of_run(data: bytes, begin: int, after_tag: int, after: int, end: int) -> int:
    """Return the end of the run of fields at ``begin`` that have the same tag and size."""
    tag, step = data[begin:after_tag], after - begin
    count = _FIRST
    while data.startswith(tag, after):
        size = max(0, min(count, (end - after) // step)) * step
        if not size:
            return after
        same = np.frombuffer(data, np.uint8, size, after).reshape(-1, step)[:, : len(tag)] == np.frombuffer(
            tag, np.uint8
        )
        others = np.flatnonzero(~same.all(axis=1))
        if len(others):
            return after + int(others[0]) * step
        after += size
        count *= _FACTOR
    return after
