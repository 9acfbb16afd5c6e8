"""Images that ask for more work or memory than their pixels are worth are refused before they are decoded."""

import io
import struct
import zlib

import numpy as np
import pytest
from fuzz.readers.laws import Peak
from fuzz.readers.pictures import png_chunk
from fuzz.readers.webp_tables import webp_of_groups

from sparknet import DataError
from sparknet.data.images import limits
from sparknet.data.images.decoder import ImageDecoder, _pil

Image = _pil()
DECODER = ImageDecoder(4, 4)


def jpeg(side=16, mode="RGB", **options):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    Image.fromarray(noise).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def with_scans(data, more):
    """The progressive JPEG with its last scan again and again."""
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * more + data[-2:]


def segment(marker, contents=b""):
    return bytes([0xFF, marker]) + struct.pack(">H", len(contents) + 2) + contents


def png(*chunks, depth=8, color=2):
    """A black PNG of 8x8 pixels; of all chunks but the last, IHDR comes behind them."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, depth, color, 0, 0, 0))
    pixels = zlib.compress(bytes(1 + channels * depth) * 8)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def refused(data, text):
    with pytest.raises(DataError, match=text):
        DECODER(data)


PROGRESSIVE = jpeg(progressive=True)
SCANS = PROGRESSIVE.count(b"\xff\xda")


# ---- scans
def test_a_jpeg_with_a_thousand_scans_is_refused_before_it_is_decoded(monkeypatch):
    opened = []
    monkeypatch.setattr(Image.Image, "load", opened.append)
    refused(
        with_scans(PROGRESSIVE, 1000),
        r"it has more than 100 scans, expected at most 100 in an image of 256 pixels: save it anew",
    )
    assert not opened


def test_as_many_scans_as_the_limit_are_decoded():
    assert DECODER(with_scans(PROGRESSIVE, 100 - SCANS)).shape == (3, 4, 4)
    refused(with_scans(PROGRESSIVE, 101 - SCANS), "more than 100 scans")


def test_the_scans_of_a_large_image_are_counted_by_their_pixels():
    large = ImageDecoder(4, 4, max_pixels=256)
    assert large(with_scans(PROGRESSIVE, 20 - SCANS)).shape == (3, 4, 4)
    with pytest.raises(DataError, match=r"it has 21 scans, expected at most 20 in an image of 256 pixels"):
        large(with_scans(PROGRESSIVE, 21 - SCANS))


def test_bytes_that_look_like_scans_are_not_counted():
    looks = b"\xff\xda" * 500
    inside = PROGRESSIVE[:2] + segment(0xEF, looks) + PROGRESSIVE[2:]
    between = PROGRESSIVE.rindex(b"\xff\xda")
    for data in (
        inside,
        PROGRESSIVE[:between] + segment(0xFE, looks) + PROGRESSIVE[between:],
        PROGRESSIVE + looks,
        with_scans(PROGRESSIVE[:-2] + segment(0xFE, looks) + PROGRESSIVE[-2:], 0),
    ):
        assert np.array_equal(DECODER(data), DECODER(PROGRESSIVE))


@pytest.mark.parametrize(
    "hidden",
    [
        b"\xff" * 9,  # fill bytes before a marker
        segment(0xFE, b"\xff\xd9"),  # an end that is none
        segment(0xEF, b"\xff\xd8\xff\xd9" * 9),  # a thumbnail
        b"\xff\xd0",  # a restart where none is expected
    ],
)
def test_scans_cannot_hide(hidden):
    scan = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
    refused(PROGRESSIVE[:-2] + hidden + scan * 200 + b"\xff\xd9", "more than 100 scans")
    refused(PROGRESSIVE[:2] + segment(0xFE, b"x") + PROGRESSIVE[2:-2] + (hidden + scan) * 200, "more than 100 scans")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}, {"quality": 100, "optimize": True}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_what_encoders_write_is_decoded(mode, options):
    profile = bytes(600_000)
    data = jpeg(64, mode, icc_profile=profile, exif=Image.Exif(), comment=b"c" * 1000, **options)
    assert DECODER(data).shape == (3, 4, 4)
    assert 1 <= limits.check_jpeg(data) <= 18
    assert DECODER(bytearray(data)).shape == DECODER(memoryview(data)).shape


@pytest.mark.parametrize("cut", range(0, len(PROGRESSIVE), 7))
def test_a_truncated_jpeg_is_a_data_error_and_nothing_else(cut):
    with pytest.raises(DataError):
        DECODER(PROGRESSIVE[:cut])


# ---- metadata
BASE = jpeg()


@pytest.mark.parametrize(
    ("marker", "begin"), [(0xE1, b"Exif\0\0"), (0xE2, b"ICC_PROFILE\0\1\1"), (0xFE, b""), (0xED, b"")]
)
def test_metadata_is_limited(marker, begin):
    one = segment(marker, begin + bytes(65_000))
    assert DECODER(BASE[:2] + one * 20 + BASE[2:]).shape == (3, 4, 4)
    refused(
        BASE[:2] + one * 259 + BASE[2:], r"more than 16777216 bytes of metadata \(EXIF, ICC profile, XMP, comments\)"
    )


@pytest.mark.parametrize("piece", [segment(0xE1, b"Exif\0\0"), segment(0xE5), segment(0xDB, bytes(65))])
def test_so_is_the_number_of_its_pieces(piece):
    refused(BASE[:2] + piece * 1100 + BASE[2:], "more than 1000 segments")


@pytest.mark.parametrize("junk", [b"\xff", b"\0", b"\xff\0"])
def test_so_is_what_belongs_to_nothing(junk):
    text = "4096 bytes of nothing before its first scan"
    first = BASE.index(b"\xff\xda")
    refused(BASE[:2] + b"\xff" + junk * 5000 + BASE[2:], text)
    refused(BASE[:2] + segment(0xFE) + junk * 5000 + BASE[2:], text)
    refused(BASE[:first] + junk * 5000 + BASE[first:], text)
    refused(BASE[:2] + b"\xff" + junk * 5000, "a JPEG without a scan")
    assert DECODER(BASE[:first] + b"\xff" * 4000 + BASE[first:]).shape == (3, 4, 4)


@pytest.mark.parametrize(("kind", "begin"), [(b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")])
def test_what_inflates_in_a_png_is_limited(kind, begin):
    assert DECODER(png(png_chunk(kind, begin + zlib.compress(bytes(1 << 19))))).shape == (3, 4, 4)
    refused(
        png(png_chunk(kind, begin + zlib.compress(bytes(1 << 25)))), "cannot be decoded: Decompressed data too large"
    )


def test_the_chunks_of_a_png_are_limited():
    one = png_chunk(b"tEXt", b"a\0b")
    assert DECODER(png(one * 1000) + one * 200_000).shape == (3, 4, 4)  # what follows the end does not count
    refused(png(one * (1 << 17)), "a PNG with more than 131072 chunks")


@pytest.mark.parametrize("kind", [b"P1", b"P2", b"P3"])
def test_the_comments_of_a_ppm_in_text_are_limited(kind):
    head, pixels = kind + b" 2 2 " + b"255 " * (kind != b"P1"), b"1 " * 12
    assert DECODER(head + b"#\n" * 1000 + pixels).shape == (3, 4, 4)
    refused(head + b"#\n" * 1001 + pixels, "a PPM or PGM with more than 1000 comments")


def test_a_hash_among_the_bytes_of_a_ppm_is_no_comment():
    assert DECODER(b"P6 40 40 255 " + b"#" * 4800).shape == (3, 4, 4)


# ---- WebP
def webp(width, height, **options):
    file = io.BytesIO()
    image = Image.new("RGB", (width, height), (200, 10, 30))
    image.save(file, "WEBP", **options)
    return file.getvalue()


KINDS_OF_WEBP = {
    "VP8 ": {},
    "VP8L": {"lossless": True},
    "VP8X": {"save_all": True, "append_images": [Image.new("RGB", (37, 5))]},
}


@pytest.mark.parametrize("kind", KINDS_OF_WEBP)
@pytest.mark.parametrize("size", [(1, 1), (37, 5), (300, 2), (2, 4099)])
def test_the_size_of_a_webp_is_read_from_its_first_chunk(kind, size):
    options = dict(KINDS_OF_WEBP[kind])
    if options.get("save_all"):
        options["append_images"] = [Image.new("RGB", size)]
    data = webp(*size, **options)
    assert data[12:16] == kind.encode()
    assert limits.webp_size(data) == size
    for end in range(30):
        assert limits.webp_size(data[:end]) in (None, size)


@pytest.mark.parametrize("kind", KINDS_OF_WEBP)
def test_a_webp_of_too_many_pixels_is_refused_before_libwebp_makes_its_canvases(kind, monkeypatch):
    data = webp(37, 5, **KINDS_OF_WEBP[kind])
    assert DECODER(data).shape == (3, 4, 4)
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(DataError, match="it has 37x5 pixels, expected 1 to 184"):
        ImageDecoder(4, 4, max_pixels=184)(data)


def test_a_group_of_code_tables_of_a_webp_takes_less_than_8_kb_so_that_all_take_less_than_512_mib():
    groups = 128 * 128
    data = webp_of_groups(512)  # 74 KB
    peak = Peak()
    peak.begin()
    assert not DECODER(data).any()
    canvases = 4 * 4 * 512 * 512
    assert peak.grown() < canvases + groups * 8192


# ---- depth
@pytest.mark.parametrize("color", [0, 2, 4, 6])
def test_a_png_of_16_bits_is_refused_also_in_color(color):
    assert DECODER(png(color=color)).shape == (3, 4, 4)
    refused(png(depth=16, color=color), "it has more than 8 bits a channel .* convert the file")


@pytest.mark.parametrize(("kind", "samples"), [(b"P5", 4), (b"P6", 12), (b"P2", 4), (b"P3", 12)])
def test_a_ppm_or_pgm_of_16_bits_is_refused_also_in_color(kind, samples):
    text = kind in (b"P2", b"P3")
    for largest, fits in ((65535, False), (256, False), (255, True), (100, True)):
        data = kind + b" 2 #\n2 %d\n" % largest + (b"1 " * samples if text else bytes(2 * samples))
        if fits:
            assert DECODER(data).shape == (3, 4, 4)
        else:
            refused(data, "it has more than 8 bits a channel")
