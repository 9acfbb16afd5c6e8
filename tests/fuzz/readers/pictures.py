"""Images: chunks and segments that are taken out, repeated and filled with extremes; the checksums of PNG stay right."""

import functools
import io
import struct
import zlib
from typing import Any

import numpy as np
from fuzz.damage import BOUNDARIES, change_bytes
from fuzz.readers.inputs import often

_SIZES = (0, 1, 2, 7, 24, 255, 1000, 1024, 4096, 16384, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_PNG = b"\x89PNG\r\n\x1a\n"
_KINDS = (
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"gAMA",
    b"iCCP",
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"eXIf",
    b"pHYs",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"cHRM",
    b"sRGB",
)
_NO_SEGMENT = {0x01, *range(0xD0, 0xDA)}


@functools.cache
def seeds(kind: str) -> list[bytes]:
    """Return small images of a kind, in the modes and ways that it has."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (20, 24, 4)).astype(np.uint8)
    modes = {
        "RGB": Image.fromarray(noise[..., :3]),
        "L": Image.fromarray(noise[..., 0]),
        "RGBA": Image.fromarray(noise),
    }
    modes |= {
        "CMYK": Image.fromarray(noise, "CMYK"),
        "P": modes["RGB"].quantize(16),
        "1": modes["L"].convert("1"),
        "LA": modes["RGBA"].convert("LA"),
    }
    wide = Image.fromarray(noise[..., :2].copy().view("<u2")[..., 0])
    more = {"save_all": True, "append_images": [modes["L"].convert("RGB"), modes["RGB"].rotate(90)], "duration": 20}
    profile = {"icc_profile": b"\0" * 128 + b"acsp" * 20}
    ways: dict[str, list[tuple[Any, dict[str, Any]]]] = {
        "JPEG": [
            (modes["RGB"], {}),
            (modes["RGB"], {"progressive": True}),
            (modes["L"], {}),
            (modes["CMYK"], {}),
            (modes["RGB"], {"subsampling": 2, "restart_marker_blocks": 1}),
            (modes["RGB"], {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0", "comment": b"hello", **profile}),
        ],
        "PNG": [(modes[mode], {}) for mode in ("RGB", "L", "RGBA", "P", "1", "LA")]
        + [
            (wide, {}),
            (modes["RGB"], {**profile, "optimize": True}),
            (modes["P"], {"transparency": b"\0\1\2"}),
            (modes["RGB"], more),
        ],
        "GIF": [
            (modes["P"], {}),
            (modes["L"], {}),
            (modes["RGB"], more),
            (modes["P"], {"transparency": 3, "interlace": 1}),
        ],
        "BMP": [(modes[mode], {}) for mode in ("RGB", "L", "RGBA", "P", "1")],
        "PPM": [(modes["RGB"], {}), (modes["L"], {}), (modes["1"], {}), (wide, {})],
        "WEBP": [
            (modes["RGB"], {}),
            (modes["RGBA"], {"lossless": True}),
            (modes["RGB"], more),
            (modes["RGB"], profile),
        ],
    }
    found = []
    for image, options in ways[kind]:
        file = io.BytesIO()
        image.save(file, kind, **options)
        found.append(file.getvalue())
    if kind == "PPM":
        found += [
            b"P3 2 2 255 " + b"1 2 3 " * 4,
            b"P2\n# a\n3 1\n15\n1 2 3\n",
            b"P1 2 2 1 0 0 1",
            b"P6 2 2 65535\n" + bytes(24),
            b"Pf 2 2 -1.0\n" + bytes(16),
        ]
    return found


# ---- PNG
def change_png(chance: Any, data: bytes, other: bytes) -> bytes:
    """Change a chunk, or which there are."""
    chunks, rest = _chunks(data), _chunks(other)
    at, way = chance.randrange(len(chunks)), chance.randrange(8)
    kind, body = chunks[at]
    if way == 0:
        del chunks[at]
    elif way == 1:
        chunks[at:at] = [chance.choice(rest)]
    elif way == 2:
        chunks[at:at] = [chunks[at]] * often(chance, (1, 3, 200, 3000), len(body) + 12)
    elif way == 3:
        chunks[at] = chance.choice(_KINDS), body
    elif way == 4:
        chunks[0] = b"IHDR", _header(chance, chunks[0][1])
    elif way == 5:
        chunks.insert(chance.randint(1, len(chunks)), _built_chunk(chance))
    elif kind == b"IDAT" and way == 6:
        inflated = zlib.decompress(b"".join(part for name, part in chunks if name == b"IDAT"))
        chunks[at] = kind, zlib.compress(change_bytes(chance, inflated, inflated)[0])
    else:
        chunks[at] = kind, change_bytes(chance, body, other)[0]
    return _PNG + b"".join(_chunk(chance, *each) for each in chunks)


def _header(chance: Any, header: bytes) -> bytes:
    values = list(struct.unpack(">IIBBBBB", header))
    at = chance.randrange(7)
    values[at] = chance.choice(_SIZES) if at < 2 else chance.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return struct.pack(">IIBBBBB", *values)


@functools.cache
def _zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def _built_chunk(chance: Any) -> tuple[bytes, bytes]:
    bomb = _zeros(chance.choice((10, 1 << 21, 1 << 24)))
    return chance.choice(
        (
            (b"zTXt", b"a\0\0" + bomb),
            (b"iCCP", b"a\0\0" + bomb),
            (b"iTXt", b"a\0\1\0\0\0" + bomb),
            (b"acTL", struct.pack(">II", chance.choice(BOUNDARIES) % 2**32, 0)),
            (b"tRNS", bytes(300)),
            (b"eXIf", b"MM\0*\0\0\0\x08" + b"\xff" * 200),
        )
    )


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], len(_PNG)
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def _chunk(chance: Any, kind: bytes, body: bytes) -> bytes:
    size = chance.choice(BOUNDARIES) % 2**32 if chance.random() < 0.01 else len(body)
    crc = zlib.crc32(kind + body) ^ (chance.random() < 0.01)
    return struct.pack(">I", size) + kind + body + struct.pack(">I", crc)


# ---- JPEG
def change_jpeg(chance: Any, data: bytes, other: bytes) -> bytes:
    """Change a segment, or which there are."""
    parts, rest = _segments(data), _segments(other)
    at, way = chance.randrange(len(parts)), chance.randrange(7)
    marker, body = parts[at]
    if way == 0:
        del parts[at]
    elif way == 1:
        parts[at:at] = [chance.choice(rest)]
    elif way == 2:
        parts[at:at] = [parts[at]] * often(chance, (1, 3, 60, 1200), len(body) + 4)
    elif way == 3:
        parts[at] = (
            chance.choice((0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE)),
            body,
        )
    elif way == 4:
        place = next(i for i, (name, _) in enumerate(parts) if name in (0xC0, 0xC1, 0xC2))
        parts[place] = parts[place][0], _frame(chance, bytearray(parts[place][1]))
    else:
        parts[at] = marker, change_bytes(chance, body, other)[0]
    return b"\xff\xd8" + b"".join(_segment(*each) for each in parts)


def _frame(chance: Any, frame: bytearray) -> bytes:
    """Another size, depth, number of components or sampling."""
    if chance.random() < 0.5:
        at = chance.choice((1, 3))
        frame[at : at + 2] = struct.pack(">H", chance.choice(_SIZES) % 65536)
    else:
        frame[chance.choice((0, 5, *range(6, len(frame))))] = chance.choice(
            (0, 1, 2, 3, 4, 8, 12, 16, 0x11, 0x22, 0x41, 0xFF)
        )
    return bytes(frame)


def _segments(data: bytes) -> list[tuple[int, bytes]]:
    """Return marker and contents of each segment; those of a scan go on to the next marker."""
    found, at = [], 2
    while at + 1 < len(data):
        marker = data[at + 1]
        if marker in (0xD8, 0xD9):
            found.append((marker, b""))
            at += 2
            continue
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + size
        if marker == 0xDA:
            while end + 1 < len(data) and not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
        found.append((marker, data[at + 4 : end]))
        at = end
    return found


def _segment(marker: int, body: bytes) -> bytes:
    if marker in (0xD8, 0xD9):
        return bytes([0xFF, marker])
    size = 4 + 2 * body[0] if marker == 0xDA and body else len(body)  # what follows its header is the scan
    return bytes([0xFF, marker]) + struct.pack(">H", min(size + 2, 65535)) + body


# ---- the others
def change_riff(chance: Any, data: bytes, other: bytes) -> bytes:
    """Change a chunk of WebP."""
    chunks, rest = _riff(data), _riff(other)
    at, way = chance.randrange(len(chunks)), chance.randrange(6)
    kind, body = chunks[at]
    if way == 0:
        del chunks[at]
    elif way == 1:
        chunks.insert(at, chance.choice(rest))
    elif way == 2:
        chunks[at:at] = [chunks[at]] * often(chance, (1, 3, 300), len(body) + 8)
    elif way == 3:
        chunks[at] = (
            chance.choice((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")),
            body,
        )
    else:
        chunks[at] = kind, change_bytes(chance, body, other)[0]
    body = b"".join(kind + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for kind, part in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _riff(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        found.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found


def change_numbers(begin: int, end: int, width: int = 4) -> Any:
    """Return the change that puts an extreme in the place of a little-endian number between two places."""

    def way(chance: Any, data: bytes, _: bytes) -> bytes:
        at = chance.randrange(begin, end)
        number = chance.choice((*_SIZES, *BOUNDARIES)) % 256**width
        return data[:at] + number.to_bytes(width, "little") + data[at + width :]

    return way
