"""Limits on the work that an encoded image causes, checked on its bytes before they are decoded.

A JPEG of 30 KB may have a thousand scans, and each scan goes over all pixels. A JPEG of 8 MB may have metadata in so many pieces
that Pillow takes minutes, because it joins them one by one. The decoder itself checks the number of pixels. Pillow limits the
compressed texts and profiles of a PNG to 1 MB each.
"""

import re
from collections.abc import Iterator
from typing import Any

from sparknet.errors import DataError

__all__ = ["check_depth", "check_jpeg", "check_png", "check_ppm", "check_scans", "webp_size"]

# LibreOffice has this limit, after "Two Issues with the JPEG Standard" of libjpeg-turbo, whose fuzzers allow 500. Encoders write up to 18.
MAX_SCANS = 100
PASSES = 20  # all scans of an image go over at most so many times max_pixels pixels
MAX_METADATA = 1 << 24  # bytes of EXIF, ICC, XMP and comments
MAX_SEGMENTS = 1000  # before the first scan; a profile has at most 255, all else some ten
MAX_CHUNKS = 1 << 17  # of a PNG; the pixels of the largest one take half as many chunks of 4 KiB
MAX_COMMENTS = 1000  # of a PPM in text
MAX_JUNK = 1 << 12  # bytes before the first scan that belong to no segment
_BEGIN = b"\xff\xd8\xff"
_TEXTS = (b"P1", b"P2", b"P3")
_PNG = b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # neither data of a scan nor a restart marker in it
_START, _END, _SCAN, _ALONE = 0xD8, 0xD9, 0xDA, 0x01
_METADATA = {*range(0xE0, 0xF0), 0xFE}
_WIDE_MODES = ("I", "F")  # modes of more than 8 bits a channel begin so
_LAST = 255  # the largest value of a channel of 8 bits


def check_jpeg(data: bytes) -> int:
    """Return the number of scans of a JPEG, or a larger number up to 100; 0 for other images.

    Raises
    ------
    DataError
        Before the first scan are more than 16 MiB of metadata, 1,000 segments, or 4 KiB outside segments; or there is no scan.
    """
    if not data.startswith(_BEGIN):
        return 0
    metadata = junk = 0
    last = len(_BEGIN) - 1
    for segments, (marker, start, end) in enumerate(_segments(data)):
        junk += start - 2 - last
        metadata += end - start if marker in _METADATA else 0
        last = end
        if marker == _SCAN and junk <= MAX_JUNK:
            return _count_scans(data, start)
        if metadata > MAX_METADATA:
            msg = f"it has more than {MAX_METADATA} bytes of metadata (EXIF, ICC profile, XMP, comments), expected at most that"
            raise DataError(msg)
        if segments >= MAX_SEGMENTS or junk > MAX_JUNK:
            msg = f"a JPEG with more than {MAX_SEGMENTS} segments or {MAX_JUNK} bytes of nothing before its first scan: damaged"
            raise DataError(msg)
    msg = "a JPEG without a scan: damaged or truncated"
    raise DataError(msg)


def check_png(data: bytes) -> None:
    """Refuse a PNG of more than 131,072 chunks, because Pillow goes through them one by one; other images pass."""
    at = len(_PNG)
    if not data.startswith(_PNG):
        return
    for _ in range(MAX_CHUNKS):
        if data[at + 4 : at + 8] in (b"", b"IEND"):
            return
        at += 12 + int.from_bytes(data[at : at + 4], "big")  # with length, kind and checksum
    msg = f"a PNG with more than {MAX_CHUNKS} chunks, expected at most that: save it anew"
    raise DataError(msg)


def check_ppm(data: bytes) -> None:
    """Refuse a PPM or PGM in text with more than 1,000 comments: Pillow copies the rest of the file for each."""
    if data.startswith(_TEXTS) and data.count(b"#") > MAX_COMMENTS:
        msg = f"a PPM or PGM with more than {MAX_COMMENTS} comments, expected at most that: save it anew"
        raise DataError(msg)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a WebP as its first chunk has them; None for other images, and for damaged ones.

    libwebp makes two canvases of that size when Pillow opens the file, long before Pillow tells the size.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    kind, content = data[12:16], data[20:30]
    if kind == b"VP8X" and len(content) == 10:
        return 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")
    if kind == b"VP8L" and len(content) >= 5 and content[:1] == b"\x2f":
        bits = int.from_bytes(content[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(content) == 10 and content[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(content[6:8], "little") & 0x3FFF, int.from_bytes(content[8:10], "little") & 0x3FFF
    return None


def check_scans(scans: int, pixels: int, max_pixels: int) -> None:
    """Refuse a JPEG of more than 100 scans, or whose scans go over more than 20 times ``max_pixels`` pixels in all."""
    allowed = min(MAX_SCANS, PASSES * max_pixels // pixels)
    if scans > allowed:
        msg = (
            f"it has {'more than ' if scans > MAX_SCANS else ''}{min(scans, MAX_SCANS)} scans, expected at most {allowed} in an "
            f"image of {pixels} pixels: save it anew, as a JPEG that is not progressive"
        )
        raise DataError(msg)


def check_depth(image: Any) -> None:
    """Refuse an opened, not yet loaded image of more than 8 bits a channel: Pillow cuts 16 bits of color to 8 silently."""
    how = image.tile[0][3] if image.tile else ""  # the decoder's arguments: "RGB;16B" for PNG, ("RGB", 65535) for PPM
    is_png = image.format == "PNG" and str(how).endswith("16B")
    is_ppm = image.format == "PPM" and isinstance(how, tuple) and how[-1] > _LAST
    if is_png or is_ppm or image.mode.startswith(_WIDE_MODES):
        msg = f"it has more than 8 bits a channel (mode {image.mode!r}), expected 8: convert the file"
        raise DataError(msg)


def _count_scans(data: bytes, first: int) -> int:
    """Return the number of byte pairs that look like the start of a scan if that is at most 100, else the number of scans."""
    at_most = data.count(b"\xff\xda", first - 2)
    if at_most <= MAX_SCANS:
        return at_most
    scans = 0
    for marker, _, _ in _segments(data):
        scans += marker == _SCAN
        if scans > MAX_SCANS:
            break
    return scans


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment up to the end of the image, in the way libjpeg reads them."""
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.end() - 1], found.end()
        if marker == _END:
            return
        if marker in (_START, _ALONE):
            continue
        start, at = at, at + max(2, int.from_bytes(data[at : at + 2], "big"))
        yield marker, start, at
