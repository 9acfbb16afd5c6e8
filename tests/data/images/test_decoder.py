"""Decoding and resizing images: real photographs, every kind of bad image."""

import io
import pickle
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from fuzz.readers.pictures import png_chunk
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sparknet import DataError, Field, NDArray
from sparknet.data.images.decoder import FORMATS, ImageDecoder, resize_images
from sparknet.data.preprocess import Compose, Crop, Decode, Mirror

# found without importing the package: scipy must not be loaded before tests/ecosystem sets its switch
PHOTOS = Path(find_spec("sklearn").origin).parent / "datasets" / "images"
CHINA = (PHOTOS / "china.jpg").read_bytes()  # 640 x 427
NOISE = np.random.default_rng(7).integers(0, 256, (7, 9, 3), dtype=np.uint8)


def encoded(pixels, kind="PNG", mode=None, **options):
    """An image file of pixels (h, w, c), or (h, w)."""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(file, kind, **options)
    return file.getvalue()


def planes(pixels):
    return np.moveaxis(pixels, -1, 0)


# ---- decoding
def test_png_pixels_come_out_as_they_are_with_bytes_over_127_unsigned():
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    pixels = ImageDecoder(16, 16)(encoded(ramp))
    assert (pixels.dtype, pixels.shape, pixels.flags.c_contiguous) == (np.uint8, (3, 16, 16), True)
    assert pixels[0].ravel().tolist() == list(range(256))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_decoded_as_pillow_does(kind):
    data = encoded(NOISE, kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(ImageDecoder(7, 9)(data), planes(expected))


def test_a_photograph_is_warped_to_size_or_fitted_by_its_shorter_side():
    photo = Image.open(io.BytesIO(CHINA))
    warped = photo.resize((64, 48), Image.Resampling.BILINEAR)
    assert np.array_equal(ImageDecoder(48, 64)(CHINA), planes(np.asarray(warped)))
    side = (640 - 427) / 2
    fitted = photo.resize((64, 64), Image.Resampling.BILINEAR, (side, 0, 640 - side, 427))
    assert np.array_equal(ImageDecoder(64, 64, fit="crop")(CHINA), planes(np.asarray(fitted)))


@given(height=st.integers(1, 40), width=st.integers(1, 40), fit=st.sampled_from(["warp", "crop"]))
def test_any_size_can_be_asked_for(height, width, fit):
    assert ImageDecoder(height, width, fit=fit)(encoded(NOISE)).shape == (3, height, width)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_images_of_all_modes_become_color_or_gray(mode):
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    data = encoded(NOISE, kind, mode)
    opened = Image.open(io.BytesIO(data))
    for channels, name in ((3, "RGB"), (1, "L")):
        pixels = ImageDecoder(7, 9, channels)(data)
        assert np.array_equal(pixels, planes(np.asarray(opened.convert(name)).reshape(7, 9, channels)))


def test_transparency_is_left_out_also_that_of_palettes():
    palette = Image.fromarray(NOISE).quantize(8)
    file = io.BytesIO()
    palette.save(file, "PNG", transparency=b"\x00\x80\xff")
    assert np.array_equal(ImageDecoder(7, 9)(file.getvalue()), planes(np.asarray(palette.convert("RGB"))))


def test_more_transparent_colors_than_a_palette_has_are_a_bad_image():
    file = io.BytesIO()
    Image.fromarray(NOISE).quantize(8).save(file, "PNG")
    more = png_chunk(b"tRNS", bytes(300))
    at = file.getvalue().index(b"IDAT") - 4
    with pytest.raises(DataError, match="cannot be decoded: palette index out of range"):
        ImageDecoder(7, 9)(file.getvalue()[:at] + more + file.getvalue()[at:])


def test_strict_refuses_other_channels_by_number():
    strict = ImageDecoder(7, 9, strict=True)
    assert strict(encoded(NOISE)).shape == (3, 7, 9)
    with pytest.raises(DataError, match=r"it has 1 channels \(mode L\), expected 3 \(mode RGB\), or strict=False"):
        strict(encoded(NOISE[..., 0]))
    with pytest.raises(DataError, match=r"it has 4 channels \(mode CMYK\), expected 3"):
        strict(encoded(NOISE, "JPEG", "CMYK"))


def bomb(side):
    """A PNG that says it has side x side pixels, in 90 bytes."""
    header = side.to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b""))
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "got no bytes, expected the bytes of an image file"),
        (None, "got a NoneType, expected the bytes of an image file"),
        ("x.png", "got a str, expected the bytes"),
        (b"GIF", "no image of the formats JPEG, PNG, .*: its 3 bytes begin with 47 49 46"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of the formats"),
        (CHINA[:50_000], "cannot be decoded: image file is truncated"),
        (encoded(NOISE)[:-30], "cannot be decoded: "),
        (encoded(NOISE)[:60] + b"????" + encoded(NOISE)[64:], "cannot be decoded: "),
        (b"P6\n0 7\n255\n", "no image of the formats .*, or a damaged one: its 11 bytes begin with 50 36"),
        (bomb(0), "no image of the formats"),
        (bomb(9000), r"it has 9000x9000 pixels, expected 1 to 67108864 \(max_pixels\)"),
        (bomb(60_000), r"cannot be decoded: Image size \(3600000000 pixels\) exceeds limit"),
        (encoded(NOISE[..., 0].astype(np.uint16)), r"more than 8 bits a channel \(mode 'I;16'\), expected 8"),
    ],
    ids=[
        "empty",
        "null",
        "text",
        "unknown",
        "postscript",
        "half",
        "cut",
        "damaged",
        "no width",
        "0x0",
        "large",
        "bomb",
        "16 bits",
    ],
)
def test_a_bad_image_is_refused_with_a_reason(data, reason):
    with pytest.raises(DataError, match=reason):
        ImageDecoder(4, 4)(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "PPM"])
def test_every_truncation_is_refused_or_lacks_nothing_that_matters(kind):
    data = encoded(NOISE, kind)
    whole = ImageDecoder(7, 9)(data)
    for length in range(len(data)):
        try:
            pixels = ImageDecoder(7, 9)(data[:length])
        except DataError:
            continue
        assert len(data) - length <= 20  # checksums, and the mark of the end
        assert np.array_equal(pixels, whole)


@given(st.binary(max_size=60), st.sampled_from(["", *FORMATS]), st.integers(0, 200))
def test_any_bytes_are_an_image_or_a_data_error(noise, kind, place):
    data = encoded(NOISE, kind) if kind else b""
    damaged = data[:place] + noise + data[place + len(noise) :]
    try:
        pixels = ImageDecoder(3, 2)(damaged)
    except DataError:
        return
    assert (pixels.shape, pixels.dtype) == ((3, 3, 2), np.uint8)


def test_a_decoder_that_is_none_is_refused_at_once():
    for size in ((0, 3), (3, -1), (2.5, 3), ("a", 3), (None, 3)):
        with pytest.raises(DataError, match=r"got a size of .*x.*, expected whole numbers, at least 1x1"):
            ImageDecoder(*size)
    with pytest.raises(DataError, match=r"got a size of 1000000x1000000, expected at most 67108864 pixels"):
        ImageDecoder(10**6, 10**6)
    for limit in (None, 0, 1e6):  # refused image by image, all of them would be dropped as bad ones
        with pytest.raises(DataError, match=r"max_pixels: got .*, expected a whole number of at least 1"):
            ImageDecoder(3, 3, max_pixels=limit)
    with pytest.raises(DataError, match="fit: got 'pad', expected 'warp' or 'crop'"):
        ImageDecoder(3, 3, fit="pad")
    with pytest.raises(DataError, match=r"channels: got 4, expected 3 \(R, G, B\) or 1 \(gray\)"):
        ImageDecoder(3, 3, channels=4)


# ---- resizing
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(["warp", "crop"]))
def test_pixels_are_resized_as_images_are(height, width, fit):
    resized = resize_images(planes(NOISE)[None], height, width, fit)
    assert np.array_equal(resized[0], ImageDecoder(height, width, fit=fit)(encoded(NOISE)))


def test_floats_are_resized_without_rounding():
    x = np.array([[[[0.0, 1.0]]]], np.float32)
    assert resize_images(x, 1, 1).tolist() == [[[[0.5]]]]


# ---- a batch of encoded images
def batch_of(images, labels):
    longest = max(map(len, images))
    data = np.frombuffer(b"".join(image.ljust(longest, b"\0") for image in images), np.uint8)
    return {"data": NDArray(data.reshape(len(images), longest)), "label": NDArray(np.array(labels))}


def test_a_batch_of_padded_files_is_decoded_and_its_fields_say_so():
    decode = pickle.loads(pickle.dumps(Decode("data", ImageDecoder(7, 9))))
    out = decode(batch_of([encoded(NOISE), encoded(NOISE, "JPEG"), encoded(NOISE, "BMP")], [0, 1, 2]), None, train=True)
    assert np.array_equal(out["data"].to_host()[[0, 2]], [planes(NOISE)] * 2)
    assert decode.fields([Field("data", (900,), "uint8")]) == [Field("data", (3, 7, 9), "uint8")]
    with pytest.raises(DataError, match=r"Decode: 'data' has examples of shape \(3, 7, 9\), uint8; expected the bytes"):
        decode.fields([Field("data", (3, 7, 9), "uint8")])


def test_bad_images_of_a_batch_are_named_or_dropped_from_all_fields(caplog):
    batch = batch_of([encoded(NOISE), b"nothing", encoded(255 - NOISE)], [5, 6, 7])
    with pytest.raises(DataError, match="Decode: example 1 of the batch, 'data': no image of the formats"):
        Decode("data", ImageDecoder(7, 9))(batch, None, train=True)
    steps = Compose(Decode("data", ImageDecoder(7, 9), on_error="drop"), Crop("data", 7, 7), Mirror("data"))
    out = steps(batch, np.random.default_rng(0), train=False)
    assert out["label"].to_host().tolist() == [5, 7]
    assert np.array_equal(out["data"].to_host(), [planes(NOISE)[..., 1:8], planes(255 - NOISE)[..., 1:8]])
    assert "example 1 of the batch, 'data': no image" in caplog.text
    with pytest.raises(DataError, match=r"Decode: on_error: got 'skip', expected 'error' or 'drop' \(the row\)"):
        Decode("data", ImageDecoder(7, 9), on_error="skip")
    with pytest.raises(
        DataError, match=r"^Decode: decoder: got None, expected an ImageDecoder, such as ImageDecoder\("
    ):
        Decode("data", None)
    assert Decode("data", ImageDecoder(7, 9), on_error="raise") == Decode("data", ImageDecoder(7, 9), on_error="error")


def test_a_batch_with_no_good_image_has_no_rows():
    out = Decode("data", ImageDecoder(7, 9), on_error="drop")(batch_of([b"x", b"y"], [0, 1]), None, train=True)
    assert (out["data"].shape, out["label"].shape) == ((0, 3, 7, 9), (0,))
