"""Messages of protobuf: fields that are taken out, repeated, renumbered, nested and filled with extremes; lengths stay right."""

import struct

from fuzz.damage import BOUNDARIES
from fuzz.readers.inputs import often

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_NUMBERS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 50, 100, 2**29 - 1)  # of Caffe's messages, and the last that there is
_SMALL = 0.5  # of a chance


def varint(value, *, extra=0):
    """Return a number as it is written; ``extra``: bytes more than it needs."""
    value %= 1 << 64
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    for _ in range(extra):
        out[-1] |= 128
        out.append(0)
    return bytes(out)


def field(number, way, value):
    """Return a field as it is written."""
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    return varint(number << 3 | way) + (varint(len(value)) if way == LENGTH else b"") + value


def split(data):
    """Return number, way and value of each field; a ValueError or IndexError if it is no message."""
    found, at = [], 0
    while at < len(data):
        tag, at = _varint(data, at)
        way = tag & 7
        if way == VARINT:
            value, at = _varint(data, at)
        else:
            size, at = _varint(data, at) if way == LENGTH else ({FIXED64: 8, FIXED32: 4}[way], at)
            value, at = data[at : at + size], at + size
        if at > len(data):
            raise ValueError(at)
        found.append((tag >> 3, way, value))
    return found


def join(fields):
    return b"".join(field(*each) for each in fields)


def change_message(chance, data, other):
    """Change one field, of the message or of one within."""
    fields = split(data)
    at = chance.randrange(len(fields))
    number, way, value = fields[at]
    if way == LENGTH and len(value) > 1 and chance.random() < 0.7:
        try:
            fields[at] = number, way, change_message(chance, value, other)
            return join(fields)
        except (ValueError, LookupError):
            pass  # no message is within
    chance.choice(_EDITS)(chance, fields, at, other)
    return join(fields)


def _delete(_, fields, at, __):
    del fields[at]


def _repeat(chance, fields, at, _):
    fields[at:at] = [fields[at]] * often(chance, (1, 2, 50, 2000), len(field(*fields[at])))


def _renumber(chance, fields, at, _):
    fields[at] = chance.choice(_NUMBERS), *fields[at][1:]


def _set(chance, fields, at, _):
    """Another value of the same way."""
    number, way, value = fields[at]
    if way == VARINT:
        value = chance.choice((*BOUNDARIES, -1, value + 1))
    elif way == LENGTH:
        value = chance.choice((b"", value[:-1], value + b"\0", b"\xff" * 11, varint(2**63) * 40, b"0" * 70, value * 2))
    else:
        value = chance.choice((b"\0", b"\xff", b"\x7f")) * len(value)
    fields[at] = number, way, value


def _retype(chance, fields, at, _):
    number = fields[at][0]
    fields[at] = chance.choice(
        ((number, VARINT, 1), (number, FIXED32, b"abcd"), (number, FIXED64, b"abcdefgh"), (number, LENGTH, b"\1\2"))
    )


def _insert(chance, fields, at, other):
    fields.insert(at, chance.choice(split(other)))


def _nest(chance, fields, at, _):
    """Put a field into itself, again and again."""
    number, way, value = fields[at]
    for _ in range(often(chance, (1, 2, 99, 120, 1500), len(value) // 100 if way == LENGTH else 1)):
        value = field(number, way, value)
        way = LENGTH
    fields[at] = number, LENGTH, value


def _unpack(_, fields, at, __):
    """Write elements one by one."""
    number, way, value = fields[at]
    if way == LENGTH and len(value) % 4 == 0:
        fields[at : at + 1] = [(number, FIXED32, value[i : i + 4]) for i in range(0, len(value), 4)]


_EDITS = (_delete, _repeat, _renumber, _set, _set, _set, _retype, _insert, _nest, _unpack)


# ---- built
def blob(chance):
    """Return an array with axes and elements that may fit one another."""
    dims = [
        chance.choice((0, 1, 1, 2, 3, chance.choice(BOUNDARIES), -1))
        for _ in range(chance.choice((0, 1, 2, 4, 33, 70)))
    ]
    count = chance.choice((0, 1, 2, 6, 12))
    shape = field(7, LENGTH, field(1, LENGTH, b"".join(map(varint, dims))))
    old = b"".join(field(i, VARINT, dim) for i, dim in enumerate(dims[:4], 1))
    data = struct.pack(f"<{count}f", *range(count))
    elements = chance.choice(
        (field(5, LENGTH, data), field(8, LENGTH, data), b"".join(field(5, FIXED32, b"abcd") for _ in range(count)))
    )
    return chance.choice((shape, old, shape + old)) + elements


def net(chance):
    """Return a net of all three generations, or of two at once, with many arrays or none."""
    way = chance.choice((100, 2, 2))
    blobs = b"".join(field(7 if way == 100 else 6, LENGTH, blob(chance)) for _ in range(chance.choice((0, 1, 2, 3))))
    name = chance.choice((b"conv", b"", b"\xff", b"a/0", b"\0\x1b[2J", b"x" * 3000))
    layer = field(1 if way == 100 else 4, LENGTH, name) + blobs
    if chance.random() < 0.2:
        layer = field(1, LENGTH, field(1, LENGTH, name) + field(50, LENGTH, blob(chance))) + layer
    crowd = field(way, LENGTH, b"") * chance.choice((0, 0, 3000, 20_000)) + field(
        way, LENGTH, field(7, LENGTH, b"") * 6000
    ) * chance.choice((0, 0, 1))
    return field(1, LENGTH, name) + field(way, LENGTH, layer) * chance.choice((1, 1, 2)) + crowd


def state(chance):
    history = b"".join(field(3, LENGTH, blob(chance)) for _ in range(chance.choice((0, 1, 2, 20))))
    crowd = field(3, LENGTH, b"") * chance.choice((0, 0, 20_000))
    name = field(2, LENGTH, chance.choice((b"a.caffemodel", b"\xff\xfe", b"/etc/passwd", b"")))
    return (
        field(1, VARINT, chance.choice(BOUNDARIES))
        + name
        + history
        + crowd
        + field(4, VARINT, chance.choice((1, -1, 2**40)))
    )


def _varint(data, at):
    value = 0
    for place in range(10):
        byte = data[at]
        at += 1
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at
    raise ValueError(value)
