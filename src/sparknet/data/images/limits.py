"""What an encoded image may ask of its decoder, told from its bytes before they are decoded.

A JPEG of 30 KB may have a thousand scans, each of which goes over all pixels; one of 8 MB may have metadata in so many pieces that
Pillow, which joins them one by one, takes minutes. The number of pixels is looked at by the decoder itself. PNG's compressed
texts and profiles are limited by Pillow, to 1 MB each.
"""

import re
from collections.abc import Iterator
from typing import Any

from sparknet.errors import DataError

__all__ = ["check_depth", "check_jpeg", "check_png", "check_ppm", "check_scans"]

# As LibreOffice has it, after "Two Issues with the JPEG Standard" of libjpeg-turbo; its own fuzzers take 500. Encoders write up to 18.
MAX_SCANS = 100
PASSES = 20  # over max_pixels pixels, in the scans of a large image
MAX_METADATA = 1 << 24  # bytes of EXIF, ICC, XMP and comments
MAX_SEGMENTS = 1000  # before the first scan; a profile has at most 255, everything else some ten
MAX_CHUNKS = 1 << 17  # of a PNG; the pixels of the largest one, in chunks of 4 KiB, take half as many
MAX_COMMENTS = 1000  # of a PPM in text
MAX_JUNK = 1 << 12  # bytes that belong to nothing, before the first scan
_BEGIN = b"\xff\xd8\xff"
_TEXTS = (b"P1", b"P2", b"P3")
_PNG = b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # not a byte of a scan, nor a restart in it
_START, _END, _SCAN, _ALONE = 0xD8, 0xD9, 0xDA, 0x01
_METADATA = {*range(0xE0, 0xF0), 0xFE}
_WIDE_MODES = ("I", "F")  # what modes of more than 8 bits a channel begin with
_LAST = 255  # of the values of a channel


def check_jpeg(data: bytes) -> int:
    """Return the number of scans of a JPEG, or a larger one of up to 100; 0 for other images.

    Raises
    ------
    DataError
        Before its first scan are more than 16 MiB of metadata, 1,000 segments, or 4 KiB that belong to none; or it has no scan.
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
    """Refuse a PNG of more chunks than its pixels take, which Pillow goes through one by one; other images have none."""
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
    """Refuse a PPM or PGM whose pixels are text with more comments than people write: Pillow copies the rest for each."""
    if data.startswith(_TEXTS) and data.count(b"#") > MAX_COMMENTS:
        msg = f"a PPM or PGM with more than {MAX_COMMENTS} comments, expected at most that: save it anew"
        raise DataError(msg)


def check_scans(scans: int, pixels: int, max_pixels: int) -> None:
    """Refuse a JPEG whose scans go over more pixels in all than 20 of the largest images have."""
    allowed = min(MAX_SCANS, PASSES * max_pixels // pixels)
    if scans > allowed:
        msg = (
            f"it has {'more than ' if scans > MAX_SCANS else ''}{min(scans, MAX_SCANS)} scans, expected at most {allowed} in an "
            f"image of {pixels} pixels: save it anew, as a JPEG that is not progressive"
        )
        raise DataError(msg)


def check_depth(image: Any) -> None:
    """Refuse an opened image, not loaded yet, of more than 8 bits a channel; Pillow makes 8 of 16 in color without a word."""
    how = image.tile[0][3] if image.tile else ""  # the decoder's arguments: "RGB;16B" for PNG, ("RGB", 65535) for PPM
    is_png = image.format == "PNG" and str(how).endswith("16B")
    is_ppm = image.format == "PPM" and isinstance(how, tuple) and how[-1] > _LAST
    if is_png or is_ppm or image.mode.startswith(_WIDE_MODES):
        msg = f"it has more than 8 bits a channel (mode {image.mode!r}), expected 8: convert the file"
        raise DataError(msg)


def _count_scans(data: bytes, first: int) -> int:
    """Return the number of scans, or of what looks like one, if that is at most 100."""
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
    """Yield marker, start and end of each segment up to the end of the image, as libjpeg goes through them."""
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.end() - 1], found.end()
        if marker == _END:
            return
        if marker in (_START, _ALONE):
            continue
        start, at = at, at + max(2, int.from_bytes(data[at : at + 2], "big"))
        yield marker, start, at
