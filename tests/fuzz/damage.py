"""Bytes that are damaged: flipped, cut, moved, or changed where a length or a scale may be."""

import re

import numpy as np

BOUNDARIES = [0, 1, 2, 3, 63, 64, 127, 128, 255, 256, 511, 512, 513, 1024, 4096, 65535, 65536]
BOUNDARIES += [2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
SCALES = [np.float32(x) for x in (np.nan, np.inf, -np.inf, -1, -0.0, 0, 2**-126, 2**-149, 2.0**122, 3e38, 1)]
# what a length follows: MessagePack's types, and some tags of protobuf
_LENGTHS = re.compile(rb"[\xc4-\xc9\xcc-\xdf\x12\x22\x0a]")


def flip_bit(chance, data, _):
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def replace_byte(chance, data, _):
    if data:
        data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xC0, 0xC1, 0xFF, chance.randrange(256)))


def insert(chance, data, _):
    at = chance.randint(0, len(data))
    data[at:at] = chance.randbytes(chance.choice((1, 2, 4, 8, 64)))


def delete(chance, data, _):
    start, end = _span(chance, data)
    del data[start:end]


def duplicate(chance, data, _):
    start, end = _span(chance, data)
    data[end:end] = data[start:end]


def swap(chance, data, _):
    start, end = _span(chance, data)
    other = chance.randint(0, len(data) - (end - start))
    size = min(end - start, abs(other - start))  # so that they do not overlap
    data[start : start + size], data[other : other + size] = data[other : other + size], data[start : start + size]


def fill(chance, data, _):
    start, end = _span(chance, data)
    data[start:end] = bytes([chance.choice((0, 0xFF, 0x80))]) * (end - start)


def truncate(chance, data, _):
    del data[chance.randint(0, len(data)) :]


def append(chance, data, other):
    data += chance.choice((b"\0", b"\xc0", other))


def splice(chance, data, other):
    data[chance.randint(0, len(data)) :] = other[chance.randint(0, len(other)) :]


def tweak_length(chance, data, _):
    """Put a boundary in the place of what may be a length, behind a byte that may be a type."""
    places = [found.start() + 1 for found in _LENGTHS.finditer(data)]
    if places:
        at, width = chance.choice(places), chance.choice((1, 2, 4, 8))
        order = chance.choice(("big", "little"))
        number = int.from_bytes(data[at : at + width], order) + chance.choice((-1, 1))
        number = chance.choice((number, chance.choice(BOUNDARIES))) % 256**width
        data[at : at + width] = number.to_bytes(width, order)


def set_float(chance, data, _):
    """Put an odd float in the place of an aligned one: a scale, where int8 is."""
    if len(data) >= 4:
        at = 4 * chance.randrange(min(len(data) // 4, 8))
        data[at : at + 4] = chance.choice(SCALES).tobytes()


SAME_LENGTH = (flip_bit, replace_byte, swap, fill, tweak_length, set_float)
BYTES = (*SAME_LENGTH, insert, delete, duplicate, truncate, append, splice)


def _span(chance, data):
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.choice((1, 2, 4, 8, 64, 300)))


def change_bytes(chance, data, other, ways=BYTES):
    """Return bytes that were changed in one to four ways, and the names of the ways."""
    changed, used = bytearray(data), chance.choices(ways, k=chance.choice((1, 1, 1, 2, 4)))
    for way in used:
        way(chance, changed, other)
    return bytes(changed), [way.__name__ for way in used]
