"""Encoded images in columns: every verb that names columns takes them, from every kind of rows, with the bits of their pixels."""

import io

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import Row

from sparknet import DataError, Field, MissingDependency
from sparknet.clusters.spark.images.decoding import decode_images
from sparknet.clusters.spark.inference.row_batches import RowBatches
from sparknet.clusters.spark.inference.tasks import spared
from sparknet.clusters.spark.packing import chunks
from sparknet.data.images import ImageDecoder
from sparknet.data.images.encoded import with_decoders
from sparknet.data.preprocess import Compose, Scale, ToBGR
from sparknet.data.records import Records
from sparknet.nets import MLP
from sparknet.spark import BadRows, evaluate, featurize, pack, predict, read_images

pytestmark = pytest.mark.spark

DECODER = ImageDecoder(6, 8)
FIELDS = [Field("data", (3, 6, 8), "uint8"), Field("label", (), "int64")]
FACTORY = MLP.factory((3, 6, 8), 3)
WEIGHTS = FACTORY(seed=4).get_weights()
OPTIONS = {"batch_size": 5, "preprocessor": Compose(ToBGR("data"), Scale("data", 1 / 256))}
COUNT = 12


def file_of(i):
    """The file of image i, larger than the decoder's size, so that it is resized."""
    pixels = np.random.default_rng(i).integers(0, 256, (9, 10 + i % 3, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


FILES = [file_of(i) for i in range(COUNT)]
PIXELS = np.array([DECODER(data) for data in FILES])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    for i, data in enumerate(FILES):
        (root / f"{i:02}.png").write_bytes(data)
    return str(root)


@pytest.fixture(scope="module")
def frame(spark):
    return spark.createDataFrame([(f"i{i}", data, i % 3) for i, data in enumerate(FILES)], "name string, data binary, label long").coalesce(2)  # fmt: skip


def stored(packed):
    """All pixels of a packed data set, in its order."""
    found = np.concatenate([batch["data"].to_host() for batch in packed.to_local().batches])
    packed.unpersist()
    return found


# ---- pack
def sources(spark, frame, folder):
    """The same images as rows of every kind."""
    context = spark.sparkContext
    mappings = [{"label": i % 3, "data": data} for i, data in enumerate(FILES)]
    return {
        "DataFrame": frame,
        "structs with bytes": frame.selectExpr("named_struct('bytes', data, 'path', name) AS data", "label"),
        "binaryFile": spark.read.format("binaryFile").load(folder).orderBy("path").selectExpr("content AS data", "0 AS label"),
        "image": spark.read.format("image").load(folder).orderBy("image.origin").selectExpr("image AS data", "0 AS label"),
        "read_images": read_images(spark, folder).sortBy(lambda row: row.id).map(lambda row: Row(data=row.image, label=0)),
        "Rows": frame.rdd,
        "mappings": context.parallelize(mappings, 2),
        "tuples": context.parallelize(list(zip(FILES, range(COUNT), strict=True)), 2),
    }  # fmt: skip


@pytest.mark.parametrize("arrow", [True, False])
@pytest.mark.parametrize("kind", ["DataFrame", "structs with bytes", "binaryFile", "image"])
def test_a_dataframe_is_packed_as_its_images_pixels_with_and_without_arrow(spark, frame, folder, kind, arrow):
    packed = pack(sources(spark, frame, folder)[kind], FIELDS, 5, decoder=DECODER, arrow=arrow)
    assert [type(f) for f in packed.fields] == [Field, Field]  # what is stored is pixels
    assert np.array_equal(stored(packed), PIXELS)


@pytest.mark.parametrize("kind", ["read_images", "Rows", "mappings", "tuples"])
def test_an_rdd_of_any_rows_is_packed_as_its_images_pixels(spark, frame, folder, kind):
    assert np.array_equal(stored(pack(sources(spark, frame, folder)[kind], FIELDS, 5, decoder=DECODER)), PIXELS)


@pytest.mark.parametrize("arrow", [True, False])
@pytest.mark.parametrize(("value", "reason"), [("NULL", "it is null"), ("X'ffd8'", "no image of the formats")])
def test_an_image_that_is_none_is_named_by_partition_row_and_id(frame, arrow, value, reason):
    torn = frame.selectExpr("name", f"CASE WHEN name = 'i8' THEN {value} ELSE data END AS data", "label")
    with pytest.raises(
        DataError, match=rf"partition 1, row 2 \(name 'i8'\): field 'data' uint8 \(3, 6, 8\): .*{reason}"
    ):
        pack(torn, FIELDS, 5, decoder=DECODER, arrow=arrow, id_column="name")


@pytest.mark.parametrize("arrow", [True, False])
def test_an_image_may_be_beside_columns_that_are_joined_and_an_id(frame, arrow):
    fields = [Field("size", (2,)), FIELDS[0]]
    rows = frame.selectExpr("name", "label AS a", "1 + label AS b", "data")
    packed = pack(rows, fields, 5, columns={"size": ["a", "b"]}, decoder=DECODER, arrow=arrow, id_column="name")
    first = packed.to_local().first_batch()["size"].to_host()
    assert first[:3].tolist() == [[0, 1], [1, 2], [2, 3]]
    assert np.array_equal(stored(packed), PIXELS)


def test_encoded_images_are_taken_few_at_a_time_since_a_small_one_may_be_a_large_file():
    source = chunks.RowReader(Records(tuple(FIELDS)), {}, None)
    assert source.rows_of_chunk == 10_000
    assert chunks.RowReader(Records(with_decoders(FIELDS, DECODER)), {}, None).rows_of_chunk == 64


# ---- predict, featurize, evaluate
def outcome(rows, **options):
    """What the net computes for each row, in their order, as text of all digits."""
    found = featurize(rows, FACTORY, WEIGHTS, {"prob": "new"}, fields=FIELDS[:1], **OPTIONS, **options)
    return [np.asarray(row["new"] if hasattr(row, "__fields__") or isinstance(row, dict) else row[-1], np.float32).tolist() for row in found.collect()]  # fmt: skip


def test_a_net_computes_of_encoded_images_what_it_does_of_their_pixels(spark, frame, folder):
    pixels = [(PIXELS[i].tobytes(), i % 3) for i in range(COUNT)]
    expected = outcome(spark.createDataFrame(pixels, "data binary, label long").coalesce(2))
    for kind, rows in sources(spark, frame, folder).items():
        if kind in ("DataFrame", "structs with bytes", "Rows", "mappings"):  # partitioned alike
            assert outcome(rows, decoder={"data": DECODER}) == expected, kind
        elif kind != "tuples":
            assert np.allclose(outcome(rows, decoder=DECODER), expected, rtol=1e-5), kind
    tuples = spark.sparkContext.parallelize(FILES, 2).map(lambda data: (data,))
    assert outcome(tuples, decoder=DECODER) == expected


def test_predict_and_evaluate_take_the_decoder_and_keep_the_columns(frame):
    named = frame.withColumnRenamed("data", "jpeg")
    options = {"columns": {"data": "jpeg"}, "decoder": DECODER, **OPTIONS}
    found = predict(named, FACTORY, WEIGHTS, fields=FIELDS[:1], **options)
    assert found.columns == ["name", "jpeg", "label", "prediction"]
    rows = found.collect()
    assert [bytes(row.jpeg) for row in rows] == FILES
    right = sum(row.prediction == row.label for row in rows) / COUNT
    assert evaluate(named, FACTORY, WEIGHTS, fields=FIELDS, **options)["accuracy"] == pytest.approx(right)


def test_undecodable_rows_get_nulls_or_are_left_out_and_counted(frame):
    torn = frame.selectExpr("name", "CASE label WHEN 1 THEN X'00' WHEN 2 THEN NULL ELSE data END AS data", "label")
    options = {"fields": FIELDS[:1], "decoder": DECODER, **OPTIONS}
    bad = BadRows()
    kept = predict(torn, FACTORY, WEIGHTS, on_error="drop", bad_rows=bad, **options).collect()
    assert [row.name for row in kept] == [f"i{i}" for i in range(0, COUNT, 3)]
    assert bad.count == 8
    assert "field 'data' uint8 (3, 6, 8): no image of the formats" in bad.reasons["partition 0, row 1"]
    assert "it is null" in bad.reasons["partition 0, row 2"]
    nulls = predict(torn, FACTORY, WEIGHTS, on_error="null", **options).collect()
    assert [row.prediction is None for row in nulls] == [i % 3 > 0 for i in range(COUNT)]


def test_a_missing_pillow_is_no_fault_of_the_rows(monkeypatch):
    def missing():
        raise MissingDependency("pip install 'sparknet[images]'", name="PIL")

    monkeypatch.setattr("sparknet.data.images.decoder._pil", missing)
    batches = RowBatches.of("predict()", FIELDS[:1], None, 5, None, DECODER)
    work = spared(
        0, [(data,) for data in FILES], batches=batches, net=None, blobs=["prob"], finish=None, join=None,
        on_error="drop", tallies=None,
    )  # fmt: skip
    with pytest.raises(MissingDependency, match=r"sparknet\[images\]"):
        list(work)


# ---- what does not fit is refused before a job
def verbs(rows, fields=FIELDS, **options):
    return {
        "pack()": lambda: pack(rows, fields, 5, **options),
        "predict()": lambda: predict(rows, FACTORY, WEIGHTS, fields=fields, **options),
        "featurize()": lambda: featurize(rows, FACTORY, WEIGHTS, ["prob"], fields=fields, **options),
        "evaluate()": lambda: evaluate(rows, FACTORY, WEIGHTS, fields=fields, **options),
    }


def test_columns_of_other_types_are_refused_with_what_a_decoder_takes(frame):
    paths = frame.selectExpr("name AS data", "label")
    for who, verb in verbs(paths, decoder=DECODER).items():
        with pytest.raises(DataError) as error:
            verb()
        assert str(error.value).startswith(
            f"{who}: column 'data' is string; field 'data' uint8 (3, 6, 8) with its decoder"
        )
        assert str(error.value).endswith(
            'or structs with `bytes`: spark.read.format("binaryFile") or read_images() read files'
        )
    with pytest.raises(DataError, match=r"column 'data' is struct<jpeg:binary>; field .* takes image files as bytes"):
        pack(frame.selectExpr("named_struct('jpeg', data) AS data"), FIELDS[:1], 5, decoder=DECODER)
    with pytest.raises(DataError, match=r"decode_images\(\): column 'name' is string; a decoder takes image files as"):
        decode_images(frame, DECODER, image="name")


def test_encoded_images_without_a_decoder_are_refused_with_the_one_that_fits(spark, frame, folder):
    structs = spark.read.format("image").load(folder).selectExpr("image AS data", "1L AS label")
    for rows in (structs, frame):
        for verb in verbs(rows).values():
            with pytest.raises(Exception, match=r"encoded images take decoder=ImageDecoder\(6, 8\)"):
                run(verb)


def run(verb):
    found = verb()
    if hasattr(found, "columns"):
        found.collect()


def test_decoders_that_fit_no_field_are_refused_by_every_verb(frame):
    for verb in verbs(frame, decoder=ImageDecoder(5, 5)).values():
        with pytest.raises(DataError, match=r"decoder: it gives pixels of shape \(3, 5, 5\)"):
            verb()


def test_packed_data_takes_no_decoder(frame):
    packed = pack(frame, FIELDS, 5, decoder=DECODER)
    with pytest.raises(DataError, match=r"got decoder= for packed data, which holds pixels"):
        evaluate(packed, FACTORY, WEIGHTS, decoder=DECODER)
    packed.unpersist()


# ---- decode_images
def test_decode_images_of_a_dataframe_is_a_dataframe_that_every_verb_takes(spark, frame, folder):
    files = spark.read.format("binaryFile").load(folder).coalesce(2).orderBy("path")
    for source, column in ((files, "content"), (frame, "data")):
        pixels, bad = decode_images(source, DECODER, image=column)
        assert pixels.columns == source.columns
        assert dict(pixels.dtypes) == dict(source.dtypes)
        assert [bytes(row[column]) for row in pixels.collect()] == [image.tobytes() for image in PIXELS]
        others = [name for name in source.columns if name != column]
        assert pixels.select(others).collect() == source.select(others).collect()
        assert bad.count == 0
        options = {"columns": {"data": column}}
        assert np.array_equal(stored(pack(pixels, FIELDS[:1], 5, **options)), PIXELS)
        assert np.allclose(outcome(pixels, **options), outcome(source, decoder=DECODER, **options), rtol=1e-5)


def test_decode_images_of_a_dataframe_drops_and_counts_bad_images_once(frame):
    torn = frame.selectExpr(
        "name AS id", "CASE label WHEN 1 THEN X'00' WHEN 2 THEN NULL ELSE data END AS data", "array(name) AS more"
    )
    pixels, bad = decode_images(torn, DECODER, image="data", on_error="drop")
    assert bad.count == 0  # lazy
    assert pixels.schema["data"].dataType.typeName() == "binary"
    for _ in range(2):
        assert [(row.id, row.more) for row in pixels.collect()] == [(f"i{i}", [f"i{i}"]) for i in range(0, COUNT, 3)]
    assert bad.count == 8
    assert list(bad.reasons) == [f"i{i}" for i in range(COUNT) if i % 3]
    fatal, _ = decode_images(torn, DECODER, image="data")
    with pytest.raises(Exception, match=r"image 'i[17]': no image of the formats"):
        fatal.collect()  # the first bad image of either partition


def test_decode_images_of_spark_s_image_source_is_binary_and_keeps_the_rest(spark, folder):
    images = spark.read.format("image").load(folder).orderBy("image.origin").selectExpr("image", "image.origin AS path")
    pixels, _ = decode_images(images, DECODER)
    assert pixels.dtypes == [("image", "binary"), ("path", "string")]
    assert [bytes(row.image) for row in pixels.collect()] == [image.tobytes() for image in PIXELS]
