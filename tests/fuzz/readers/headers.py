"""Files that begin with a header: ``.npy``, ``.safetensors``, IDX and gzip. Their lengths stay right where that is not the change."""

import gzip
import json
import re
import struct
import zlib
from typing import Any

from fuzz.damage import BOUNDARIES, change_bytes
from fuzz.readers.words import change_json

_DTYPES = (
    "<f4",
    ">f8",
    "|O",
    "<U4",
    "|S9",
    "|V3",
    "|b1",
    "<c16",
    "|u1",
    "<M8[s]",
    "<i8",
    "|V0",
    "<f2",
    "<g",
    "O8",
    "<f4,<i4",
    "[('a', '<f4')]",
    "",
    "a" * 500,
)
_SHAPES = (
    "()",
    "(0,)",
    "(-1,)",
    "(3, -2)",
    "(2,)",
    "(1,) * 9",
    "(1" + ",1" * 70 + ")",
    "(" * 90 + ")" * 90,
    "(9999999999999,)",
    "(0, 9999999999999999999)",
    "(18446744073709551616, 0)",
    "(True,)",
    "[2]",
    "(2.0,)",
    "(2L,)",
)


def change_npy(chance: Any, data: bytes, other: bytes) -> bytes:
    """Change the header's text, its version, or the elements."""
    width = 2 if data[6] == 1 else 4
    size = int.from_bytes(data[8 : 8 + width], "little")
    text, elements = data[8 + width : 8 + width + size], data[8 + width + size :]
    way = chance.randrange(7)
    if way == 0:
        text = re.sub(
            rb"'descr': [^,]*", b"'descr': " + repr(chance.choice(_DTYPES)).encode().replace(b"\\", b""), text, count=1
        )
    elif way == 1:
        text = re.sub(rb"'shape': \([^)]*\)", b"'shape': " + chance.choice(_SHAPES).encode(), text, count=1)
    elif way == 2:
        text = text.replace(b"False", chance.choice((b"True", b"1", b"None", b"__import__('stranger')", b"9**9**9")))
    elif way == 3:
        text = chance.choice(
            (
                text + b" " * 9000,
                b"(" * 3000,
                b"{'a':" * 300,
                b"-" * 5000 + b"1",
                b"[" * 150 + b"]" * 150,
                b"\0" * 30,
                b"1" * 5000,
            )
        )
    elif way == 4:
        text, _ = change_bytes(chance, text, other[:100])
    elif way == 5:
        elements = chance.choice((elements[:-1], elements + b"\0", b"", b"\x02" * len(elements)))
    version = chance.choice((1, 1, 1, 2, 3, 0, 255))
    width = 2 if version == 1 else 4
    return data[:6] + bytes([version, 0]) + (len(text) % 256**width).to_bytes(width, "little") + text + elements


def change_safetensors(chance: Any, data: bytes, other: bytes) -> bytes:
    """Change the header's JSON; its length follows."""
    size = int.from_bytes(data[:8], "little")
    header, elements = data[8 : 8 + size], data[8 + size :]
    if chance.random() < 0.1:
        elements = chance.choice((elements[:-1], elements + b"\0", b""))
    if chance.random() < 0.2:
        header = chance.choice(
            (
                header + b" " * 900,
                b"[" * 9000,
                b'{"a":' * 9000,
                b"{}",
                b"null",
                b'{"__metadata__":{"sparknet.names":"%s"}}' % (b"[" * 9000),
            )
        )
    else:
        header = change_json(chance, header, other)
    return len(header).to_bytes(8, "little") + header + elements


def change_idx(chance: Any, data: bytes, _: bytes) -> bytes:
    """Change the dtype, the number of axes or a length."""
    lengths = list(struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]]))
    values, code = data[4 + 4 * data[3] :], data[2]
    way = chance.randrange(4)
    if way == 0:
        code = chance.choice((8, 9, 11, 12, 13, 14, 0, 10, 255))
    elif way == 1:
        lengths[chance.randrange(len(lengths))] = chance.choice(BOUNDARIES) % 2**32
    elif way == 2:
        lengths[0:0] = [chance.choice((0, 1, 2, 2**16, 2**32 - 1))] * chance.choice((1, 2, 60, 65, 255))
    else:
        values = chance.choice((values[:-1], values + b"\0", b"", values * 2))
    return bytes([0, 0, code, len(lengths) % 256]) + struct.pack(f">{len(lengths)}I", *lengths) + values


def change_gzip(change: Any) -> Any:
    """Return the change of a gzip file, or of a plain one, that changes what it inflates to, its header, or how many it is."""

    def way(chance: Any, data: bytes, other: bytes) -> bytes:
        is_gzip = data[:2] == b"\x1f\x8b"
        contents = zlib.decompressobj(31).decompress(data, 1 << 20) if is_gzip else data
        if chance.random() < 0.6 or not is_gzip:
            contents = change(chance, contents, other)
            return gzip.compress(contents, mtime=0) if is_gzip or chance.random() < 0.2 else contents
        packed = gzip.compress(contents, mtime=0)
        flags = chance.choice((0, 1, 2, 4, 8, 16, 31, 255))
        return chance.choice(
            (
                packed * 2,
                packed + b"junk",
                packed[:-4],
                packed + gzip.compress(bytes(1 << 22)),
                packed[:3] + bytes([flags]) + packed[4:],
                packed[:-8] + b"abcd" + packed[-4:],
            )
        )

    return way


def change_plain_json(chance: Any, data: bytes, other: bytes) -> bytes:
    """Change a file that is JSON and nothing else."""
    if chance.random() < 0.05:
        return chance.choice(
            (b"[" * 30_000, b'{"a":' * 9000, b"1" * 9000, b"NaN", b'"\\ud800"', json.dumps({"a": "b" * 9000}).encode())
        )
    return change_json(chance, data, other)
