"""Mutations: what a message may turn into, the same for the same random numbers.

Bytes are changed where they lie. So that mutants get past the checks of the frame, most are taken apart first, one part is
changed (the header's bytes, its columns, a payload), and the rest is made to fit again: offsets, the header's CRC, and in most of
them lengths and checksums.
"""

import zlib
from contextlib import suppress

import msgpack
import numpy as np
from fuzz.columns import COLUMNS
from fuzz.damage import BYTES, SAME_LENGTH, change_bytes

from sparknet.serialization.message import layout
from sparknet.serialization.reader.header_reading import decode_header

_MOST = 1 << 16  # bytes of a mutant
_FITTED = 1 << 14  # bytes of payloads that are made to fit


def change_head(chance, seed, other):
    """Change the header's bytes, in a frame that is right again."""
    header, used = change_bytes(chance, msgpack.packb(seed.columns), msgpack.packb(other.columns))
    return framed(header, seed.payloads), used


def change_columns(chance, seed, other):
    """Change columns of the header; payloads and checksums follow in most mutants."""
    columns, used = dict(seed.columns), chance.choices(COLUMNS, k=chance.choice((1, 1, 1, 2, 3)))
    for way in used:
        # a way that is not for this header, or for what is left of it
        with suppress(LookupError, TypeError, ValueError, AttributeError, OverflowError):
            way(chance, columns)
    payloads = _fitted(chance, columns, list(seed.payloads), other)
    return _finished(chance, columns, payloads), [way.__name__ for way in used]


def change_payload(chance, seed, other):
    """Change a payload; its checksum follows in most mutants."""
    if not seed.payloads:
        return change_columns(chance, seed, other)
    columns, payloads = dict(seed.columns), list(seed.payloads)
    at = chance.randrange(len(payloads))
    rest = chance.choice(other.payloads or (b"",))
    payloads[at], used = change_bytes(chance, payloads[at], rest, chance.choice((SAME_LENGTH, SAME_LENGTH, BYTES)))
    if "stored" in columns and len(payloads) == len(columns["dtypes"]):
        columns["stored"] = np.array([len(payload) for payload in payloads], "<u8").tobytes()
    return _finished(chance, columns, payloads), [f"payload {name}" for name in used]


def change_whole(chance, seed, other):
    """Change the message's bytes and nothing else."""
    return change_bytes(chance, seed.data, other.data)


def mutate(chance, seed, other):
    """Return a mutant, and the names of the mutations."""
    ways = (change_whole, change_head, change_columns, change_payload) if seed.columns else (change_whole,)
    way = chance.choices(ways, (3, 2, 5, 5)[: len(ways)])[0]
    data, used = way(chance, seed, other)
    return data[:_MOST], [way.__name__, *used]


def framed(header, payloads):
    """Return a message of these parts whose frame is right."""
    plan = layout.lay_out(len(header), [len(payload) for payload in payloads])
    body = b"".join(payloads)
    pieces = [layout.head(header, len(plan.lengths))]
    for gap, length in zip(plan.gaps, plan.lengths, strict=True):
        pieces += gap, body[:length]
        body = body[length:]
    return b"".join(pieces)


def _fitted(chance, columns, payloads, other):
    """Give each payload the length that the header asks for, in most mutants and where it is small."""
    if chance.random() < 0.2:
        return payloads
    sizes = [len(payload) for payload in payloads]
    with suppress(Exception):  # a reader's fault shows when the message is read
        sizes = decode_header(msgpack.packb(columns)).payload_sizes
    if sum(sizes) > _FITTED:
        return payloads
    payloads += other.payloads
    payloads += [b""] * (len(sizes) - len(payloads))
    return [payload[:size].ljust(size, b"\0") for payload, size in zip(payloads, sizes, strict=False)]


def _finished(chance, columns, payloads):
    if type(columns.get("checksums")) is bytes and chance.random() < 0.8:
        columns["checksums"] = np.array([checksum(payload) for payload in payloads], "<u4").tobytes()
    return framed(msgpack.packb(columns), payloads)


def checksum(payload):
    """Return the checksum of bytes as the page of the format defines it."""
    full = len(payload) // 4096 * 4096
    sums = np.frombuffer(payload[:full], "<u8").reshape(-1, 512).sum(axis=1, dtype="<u8")
    return zlib.crc32(payload[full:], zlib.crc32(sums.tobytes()))
