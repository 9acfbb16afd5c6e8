"""Fields of encoded images: what decodes which, in rows and columns of every kind; what is refused, and by which words."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sparknet import DataError, Field
from sparknet.data import ImageDecoder, pack
from sparknet.data.images.encoded import EncodedField, decoded, with_decoders

DECODER = ImageDecoder(6, 8)
FIELDS = [Field("data", DECODER.shape, "uint8"), Field("label", (), "int64")]


def pixels_of(i):
    """Image i of the tests, (h, w, c): every channel's values go from 0 to 255."""
    return np.random.default_rng(i).permutation(256)[:144].reshape(6, 8, 3).astype(np.uint8)


def file_of(i, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels_of(i)).save(file, kind)
    return file.getvalue()


def chw(i):
    return np.moveaxis(pixels_of(i), -1, 0)


def sparks(i):
    """What Spark's image source gives for image i: rows of B, G, R."""
    return {
        "origin": f"file:/{i}.png",
        "height": 6,
        "width": 8,
        "nChannels": 3,
        "mode": 16,
        "data": pixels_of(i)[..., ::-1].tobytes(),
    }


FILES = [file_of(i) for i in range(5)]
PIXELS = np.array([chw(i) for i in range(5)])


# ---- rows and columns
ROWS = {
    "tuples": list(zip(FILES, range(5), strict=True)),
    "mappings": [{"label": i, "data": memoryview(data)} for i, data in enumerate(FILES)],
    "columns": {"data": FILES, "label": np.arange(5)},
    "columns of objects": {"data": np.array(FILES, object), "label": np.arange(5)},  # as pandas has them
    "structs": [{"data": {"bytes": data, "path": None}, "label": i} for i, data in enumerate(FILES)],
    "Spark's": [(sparks(i), i) for i in range(5)],
}


@pytest.mark.parametrize("kind", ROWS)
def test_pack_stores_the_pixels_of_encoded_images_whatever_the_rows_are(kind):
    data = pack(ROWS[kind], FIELDS, 2, decoder=DECODER)
    assert [type(f) for f in data.fields] == [Field, Field]  # what is stored is pixels
    stored = [batch["data"].to_host() for batch in data.batches]
    assert all(batch.dtype == np.uint8 for batch in stored)
    assert np.array_equal(np.concatenate(stored), PIXELS)


def test_a_field_of_another_dtype_stores_the_pixels_in_it():
    data = pack({"data": FILES}, [Field("data", DECODER.shape)], 5, decoder=DECODER)
    assert data.first_batch()["data"].to_host().dtype == np.float32
    assert np.array_equal(data.first_batch()["data"].to_host(), PIXELS)


def test_a_mapping_gives_each_field_its_decoder_and_leaves_the_others():
    fields = [Field("left", (3, 6, 8), "uint8"), Field("right", (3, 6, 8), "uint8"), Field("gray", (1, 6, 8), "uint8")]
    row = {"left": FILES[0], "right": PIXELS[1], "gray": FILES[2]}
    batch = pack([row], fields, 1, decoder={"left": DECODER, "gray": ImageDecoder(6, 8, channels=1)}).first_batch()
    assert np.array_equal(batch["left"].to_host()[0], chw(0))
    assert np.array_equal(batch["right"].to_host()[0], chw(1))
    assert np.array_equal(batch["gray"].to_host()[0], ImageDecoder(6, 8, channels=1)(FILES[2]))


def test_columns_name_the_encoded_column():
    data = pack([{"jpeg": FILES[3]}], FIELDS[:1], 1, columns={"data": "jpeg"}, decoder=DECODER)
    assert np.array_equal(data.first_batch()["data"].to_host()[0], chw(3))


# ---- bad images
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "it is null; drop such rows or fill them"),
        (b"\xff\xd8 no", "no image of the formats .* begin with ff d8 20 6e 6f"),
        (FILES[0][:60], "cannot be decoded"),
        (b"", "got no bytes, expected the bytes of an image file"),
        ("cat.jpg", "got a str, expected the bytes of an image file"),
        (PIXELS[0], r"got a ndarray, expected the bytes of an image file\. It has as many as pixels \(3, 6, 8\): .*, leave the decoder out"),
        (PIXELS[0].ravel().tolist(), r"got a list, .* It has as many as pixels"),
        (PIXELS[0].tobytes(), r"its 144 bytes begin with .*\. It has as many as pixels \(3, 6, 8\): if it is decoded already, leave"),
        ({"bytes": None, "path": "cat.jpg"}, "got a NoneType, expected the bytes"),
        ({"jpeg": FILES[0]}, "got a struct of 'jpeg', expected image files as bytes, .* or structs with `bytes`"),
        (sparks(0) | {"height": -1, "width": -1, "nChannels": -1, "mode": -1, "data": b""}, "Spark's image source gives -1x-1"),
        (sparks(0) | {"data": None, "mode": None}, "'data', 'mode' of Spark's image struct is null; drop such rows"),
        (sparks(0) | {"data": b"short"}, "5 bytes; expected 1, 3 or 4 channels of 8 bits"),
    ],
)  # fmt: skip
def test_a_bad_image_is_named_by_its_row_and_field(value, reason):
    with pytest.raises(DataError, match=rf"^row 1: field 'data' uint8 \(3, 6, 8\): .*{reason}") as error:
        pack([(FILES[0], 0), (value, 1)], FIELDS, 2, decoder=DECODER)
    assert error.value.row == 1


def test_bytes_of_another_length_are_not_taken_for_pixels():
    with pytest.raises(DataError, match=r"its 143 bytes begin with [0-9a-f ]+$"):
        decoded(PIXELS[0].tobytes()[:-1], DECODER)


def test_spark_s_gray_and_transparent_images_have_their_channels_in_order():
    gray = sparks(0) | {"nChannels": 1, "mode": 0, "data": pixels_of(1)[..., 0].tobytes()}
    assert np.array_equal(decoded(gray, DECODER), [chw(1)[0]] * 3)
    bgra = np.dstack([pixels_of(2)[..., ::-1], pixels_of(3)[..., :1]])
    row = SimpleNamespace(asDict=lambda: sparks(0) | {"nChannels": 4, "mode": 24, "data": bgra.tobytes()})
    assert np.array_equal(decoded(row, DECODER), chw(2))


# ---- decoders that do not fit
@pytest.mark.parametrize(
    ("decoder", "reason"),
    [
        (ImageDecoder, "got <class .*, expected an ImageDecoder, such as ImageDecoder"),
        ((6, 8), r"got \(6, 8\), expected an ImageDecoder"),
        ({"data": (6, 8)}, r"got \(6, 8\), expected an ImageDecoder"),
        (ImageDecoder(5, 8), r"it gives pixels of shape \(3, 5, 8\); expected a field of that shape, got 'data' uint8 \(3, 6, 8\)"),
        ({"data": ImageDecoder(5, 8)}, r"it gives pixels of shape \(3, 5, 8\); field 'data' uint8 \(3, 6, 8\) needs some of"),
        ({"image": DECODER}, "got 'image'; expected names of fields: 'data' .*, 'label'"),
    ],
)  # fmt: skip
def test_a_decoder_that_fits_no_field_is_refused_before_a_row_is_read(decoder, reason):
    with pytest.raises(DataError, match=f"^decoder: {reason}"):
        pack(iter(()), FIELDS, 2, decoder=decoder)


def test_one_decoder_for_two_fields_of_its_shape_asks_for_a_name():
    fields = [Field("a", DECODER.shape), Field("b", DECODER.shape)]
    with pytest.raises(
        DataError, match=r"the fields 'a' .*, 'b' .* have its shape \(3, 6, 8\); name one: decoder=\{'a'"
    ):
        with_decoders(fields, DECODER)


def test_an_image_of_several_columns_is_refused_and_other_fields_join_theirs():
    fields = [FIELDS[0], Field("box", (2,))]
    rows = [{"jpeg": FILES[0], "more": FILES[1], "x": 1, "y": 2}]
    data = pack(rows, fields, 1, columns={"data": ["jpeg"], "box": ["x", "y"]}, decoder=DECODER)
    assert np.array_equal(data.first_batch()["data"].to_host()[0], chw(0))
    assert data.first_batch()["box"].to_host().tolist() == [[1, 2]]
    with pytest.raises(
        DataError, match="columns: got several for field 'data', which is decoded, expected the one with"
    ):
        pack(rows, fields, 1, columns={"data": ["jpeg", "more"], "box": ["x", "y"]}, decoder=DECODER)


def test_a_batch_axis_and_no_decoder_change_nothing():
    field = Field("data", DECODER.shape, batch_axis=1)
    assert with_decoders([field], None) == (field,)
    (encoded,) = with_decoders([field], DECODER)
    assert isinstance(encoded, EncodedField)
    assert str(encoded) == str(field)


# ---- encoded images without a decoder
@pytest.mark.parametrize("value", [FILES[0], {"bytes": FILES[0]}, sparks(0)])
@pytest.mark.parametrize(
    ("shape", "advice"),
    [((3, 6, 8), "decoder=ImageDecoder(6, 8)"), ((1, 6, 8), "decoder=ImageDecoder(6, 8, channels=1)")],
)
def test_an_encoded_image_without_a_decoder_says_which_one(value, shape, advice):
    with pytest.raises(DataError) as error:
        Field("data", shape, "uint8").convert(value)
    assert f"encoded images take {advice}" in str(error.value)
    with pytest.raises(DataError) as error:
        Field("data", (5,), "uint8").convert(value)
    assert "decoder=" not in str(error.value)
