"""Image folders and tar files through Spark: labels, pixels, bad images, the mean image; on real files."""

import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from sparknet import DataError, Field, NDArray, formats, load, save
from sparknet.clusters.spark.images.decoding import decode_images
from sparknet.clusters.spark.images.reading import image_classes, read_image_tars, read_images
from sparknet.clusters.spark.packing.pack import pack
from sparknet.data.images import ImageDecoder
from sparknet.data.mean import channel_means, mean_image
from sparknet.data.preprocess import Compose, Crop, Decode, SubtractMean

pytestmark = pytest.mark.spark

FIELDS = [Field("image", (3, 6, 8), "uint8"), Field("label", (), "int64")]
DECODER = ImageDecoder(6, 8)


def pixels_of(i):
    """Image i of the tests, (h, w, c): every channel's values go from 0 to 255."""
    return np.random.default_rng(i).permutation(256)[:144].reshape(6, 8, 3).astype(np.uint8)


def png(i):
    file = io.BytesIO()
    Image.fromarray(pixels_of(i)).save(file, "PNG")
    return file.getvalue()


def chw(i):
    return np.moveaxis(pixels_of(i), -1, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six images in two folders, called so that their paths need quoting; and what is no image."""
    root = tmp_path_factory.mktemp("images") / "a, b"
    for i in range(6):
        path = root / ("cät 1" if i % 2 else "dog%20") / f"x#{i}.PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(i))
    (root / "readme.txt").write_text("no image")
    return root


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    """Six images in two tar files, and the label file of all of them."""
    root = tmp_path_factory.mktemp("tars")
    for k in range(2):
        with tarfile.open(root / f"part {k}.tar", "w") as tar:
            for i in range(k, 6, 2):
                info = tarfile.TarInfo(f"./n{k}/{i}.JPEG")
                info.size = len(png(i))
                tar.addfile(info, io.BytesIO(png(i)))
    (root / "train.txt").write_text("".join(f"n{i % 2}/{i}.JPEG {10 * i}\n" for i in range(6)))
    return root


def by_label(rows):
    return {row["label"]: row["image"] for row in rows.collect()}


# ---- reading
def test_a_folder_of_images_gives_their_bytes_and_the_labels_of_their_folders(spark, folder):
    classes = image_classes(spark, folder)
    assert classes == {"cät 1": 0, "dog%20": 1}
    rows = read_images(spark, str(folder), classes).collect()
    assert sorted((row.id, row.image, row.label) for row in rows) == sorted(
        (f"file:{folder}/{name}/x#{i}.PNG", png(i), classes[name]) for i, name in enumerate(["dog%20", "cät 1"] * 3)
    )
    assert {row.id for row in read_images(spark, f"{folder}/*/x#[01].PNG").collect()} == {
        r.id for r in rows if r.id[-5] in "01"
    }


def test_names_that_begin_with_an_underscore_or_a_dot_are_left_out_as_the_docstring_says(spark, tmp_path):
    for name in ("a/_x.png", "a/.x.png", "_b/x.png", ".c/x.png", "a/x_.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(0))
    assert [row.id for row in read_images(spark, tmp_path).collect()] == [f"file:{tmp_path}/a/x_.png"]
    assert image_classes(spark, tmp_path) == {"a": 0}


def test_empty_files_are_rows_too_which_are_refused_by_name_or_dropped_and_counted(spark, tmp_path):
    empty = [f"file:{tmp_path}/{name}" for name in ("dog%20 ü/#?.PNG", "kät/x:y.jpg")]
    for name in ("dog%20 ü/#?.PNG", "kät/x:y.jpg", "nothing/readme.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert image_classes(spark, tmp_path) == {"dog%20 ü": 0, "kät": 1}
    assert sorted(map(tuple, read_images(spark, tmp_path).collect())) == [(name, b"") for name in empty]
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "whole.png").write_bytes(png(3))
    classes = image_classes(spark, tmp_path)
    assert classes == {"cat": 0, "dog%20 ü": 1, "kät": 2}
    rows = read_images(spark, tmp_path, classes)
    with pytest.raises(DataError, match=r"image 'file:.*dog%20 ü/#[?].PNG': got no bytes"):
        pack(decode_images(rows.filter(lambda row: row.label < 2), DECODER)[0], FIELDS, 2)
    decoded, bad = decode_images(rows, DECODER, on_error="drop")
    assert [*packed_pixels(decoded)] == [0]
    assert (bad.count, sorted(bad.reasons)) == (2, empty)


def test_links_fifos_and_names_that_java_cannot_read_are_refused_or_told(spark, tmp_path, caplog):
    for name in ("tree/a/x.png", "tree/b/y.png", "beside/z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(0))
    tree = tmp_path / "tree"
    read_images(spark, tree)
    assert not caplog.records
    (tree / "a" / "out.png").symlink_to("../../beside/z.png")
    (tree / "a" / "gone.png").symlink_to("nothing.png")
    with open(os.fsencode(tree) + b"/a/caf\xe9.png", "wb"):  # noqa: PTH123
        pass
    rows = read_images(spark, tree).collect()
    assert sorted(row.id.rpartition("/")[2] for row in rows) == ["out.png", "x.png", "y.png"]
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 3
    for text in ("links lead out of the folder (1)", "links lead nowhere (1)", "names are not in utf-8"):
        assert f"{tree}: {text}, " in said
    caplog.clear()
    read_images(spark, f"file://{tree}/[b]/*.png")
    assert not caplog.records
    for number in range(2):  # through two of them there are 2**40 paths
        (tree / "b" / f"up{number}").symlink_to("..")
    for read in (read_images, image_classes):
        with pytest.raises(DataError, match=r"b/up.*' leads by a link to '.*/tree.*', a folder that it is in"):
            read(spark, f"{tree}/*")
    os.mkfifo(tmp_path / "beside" / "fifo.JPG")
    os.mkfifo(tmp_path / "beside" / "fifo.tar")
    for read, what in ((read_images, "JPG"), (read_image_tars, "tar")):
        with pytest.raises(DataError, match=rf"beside/fifo.{what}' is a FIFO \(a pipe\), expected a file"):
            read(spark, tmp_path / "beside")


def test_a_label_file_may_begin_with_a_mark_of_the_byte_order(spark, tmp_path):
    (tmp_path / "x.png").write_bytes(png(0))
    (tmp_path / "train.txt").write_text("x.png 7\n", encoding="utf-8-sig")
    assert [row.label for row in read_images(spark, tmp_path, tmp_path / "train.txt").collect()] == [7]


def test_tar_files_with_a_label_file_are_read_a_task_each(spark, tars):
    rows = read_image_tars(spark, tars, tars / "train.txt")
    assert [[row.id for row in part] for part in rows.glom().collect()] == [
        [f"file:{tars}/part {k}.tar/n{k}/{i}.JPEG" for i in range(k, 6, 2)] for k in range(2)
    ]
    assert by_label(rows) == {10 * i: png(i) for i in range(6)}
    alone = read_image_tars(spark, f"{tars}/part 1.tar", {"n1": 7}).collect()
    assert [(row.image, row.label) for row in alone] == [(png(i), 7) for i in (1, 3, 5)]


def test_a_file_system_that_only_spark_can_read_gives_the_same(spark, folder, tars):
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    for link, target in (("/tars", tars), ("/images", folder)):
        conf.set(f"fs.viewfs.mounttable.test.link.{link}", target.as_uri())
    rows = read_image_tars(spark, "viewfs://test/tars", "viewfs://test/tars/train.txt")
    assert by_label(rows) == {10 * i: png(i) for i in range(6)}
    assert "viewfs://test/tars/part 1.tar/n1/3.JPEG" in [row.id for row in rows.collect()]
    assert image_classes(spark, "viewfs://test/images") == image_classes(spark, folder)


def test_what_cannot_be_read_is_named_before_a_job_or_by_the_job(spark, context, folder, tars, tmp_path):
    for read, path, reason in (
        (read_images, f"{tmp_path}/none", "PATH_NOT_FOUND"),
        (read_images, str(tars), r"there is no image file \(.jpg, "),
        (read_image_tars, str(folder), r"there is no file \*.tar"),
    ):
        with pytest.raises(DataError, match=reason) as error:
            read(spark, path)
        assert str(error.value).startswith(path)
    with pytest.raises(DataError, match=r"^read_images\(\): got SparkContext, expected a SparkSession"):
        read_images(context, str(folder))
    with pytest.raises(DataError, match=r"label file .*none.txt: .*does not exist"):
        read_images(spark, str(folder), f"{tmp_path}/none.txt")
    with pytest.raises(DataError, match=r"x#[0246].PNG' has no label: .* 1 names that have one \('cät 1', ...\)"):
        pack(read_images(spark, str(folder), {"cät 1": 0}), FIELDS, 2)
    (tmp_path / "cut.tar").write_bytes((tars / "part 0.tar").read_bytes()[:1000])
    with pytest.raises(DataError, match=r"cut\.tar' is damaged after './n0/0.JPEG': unexpected end of data"):
        pack(read_image_tars(spark, str(tmp_path)), [Field("image", (5,), "uint8")], 2)


# ---- decoding
def packed_pixels(rows, **options):
    """Label -> pixels of a packed data set."""
    packed = pack(rows, FIELDS, 4, **options)
    batches = [{name: array.to_host() for name, array in batch.items()} for batch in packed.to_local().batches]
    packed.unpersist()
    return {int(label): image for batch in batches for label, image in zip(batch["label"], batch["image"], strict=True)}


def test_tars_of_files_are_packed_as_the_pixels_that_are_in_them(spark, tars):
    rows, bad = decode_images(read_image_tars(spark, tars, tars / "train.txt"), DECODER)
    found = packed_pixels(rows, shards=2, shuffle=7)
    assert sorted(found) == [0, 10, 20, 30, 40, 50]
    assert all(np.array_equal(found[10 * i], chw(i)) for i in range(6))
    assert (bad.count, bad.reasons, repr(bad)) == (0, {}, "<BadImages: 0>")


def test_tuples_mappings_rows_and_binary_files_decode_alike(spark, context, folder):
    pairs = [(png(i), i) for i in range(4)]
    mappings = [{"label": i, "image": data} for data, i in pairs]
    for source in (context.parallelize(pairs, 2), context.parallelize(mappings), spark.createDataFrame(mappings)):
        found = packed_pixels(decode_images(source, DECODER)[0])
        assert all(np.array_equal(found[i], chw(i)) for i in range(4))
    files = (
        spark.read.format("binaryFile")
        .option("recursiveFileLookup", "true")
        .option("pathGlobFilter", "*.PNG")
        .load(str(folder))
    )
    rows = decode_images(files, DECODER, image="content")[0].collect()
    assert {row.path[-5]: bytes(row.content) for row in rows} == {str(i): chw(i).tobytes() for i in range(6)}
    # What is kept encoded is decoded when a minibatch is used.
    stored = pack(
        context.parallelize(pairs).map(lambda row: (row[0].ljust(900, b"\0"), row[1])),
        [Field("image", (900,), "uint8"), FIELDS[1]],
        4,
        Decode("image", DECODER),
    )
    batch = stored.preprocessor(dict(stored.first_batch()), np.random.default_rng(0), train=True)
    assert np.array_equal(batch["image"].to_host(), [chw(i) for i in range(4)])


def test_spark_s_image_source_is_bgr_and_comes_out_as_rgb(spark, folder, tmp_path):
    frame = (
        spark.read.format("image")
        .option("recursiveFileLookup", "true")
        .option("pathGlobFilter", "*.PNG")
        .load(str(folder))
    )
    row = next(row.image for row in frame.collect() if row.image.origin.endswith("3.PNG"))
    assert list(row.data[:3]) == pixels_of(3)[0, 0, ::-1].tolist()  # as Spark gives it
    rows = decode_images(frame, DECODER)[0].collect()
    assert sorted(bytes(row.image) for row in rows) == sorted(chw(i).tobytes() for i in range(6))
    Image.fromarray(pixels_of(1)[..., 0]).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([pixels_of(2), pixels_of(3)[..., :1]])).save(tmp_path / "transparent.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    frame = spark.read.format("image").load(str(tmp_path))
    rows, bad = decode_images(frame, DECODER, on_error="drop")
    found = [np.frombuffer(row.image, np.uint8).reshape(3, 6, 8) for row in rows.collect()]
    color, gray = sorted(found, key=lambda image: bool((image[0] == image[1]).all()))
    assert np.array_equal(color, chw(2))
    assert np.array_equal(gray, [chw(1)[0]] * 3)
    assert [(name.rpartition("/")[2], reason[:57]) for name, reason in bad.reasons.items()] == [
        ("bad.png", "Spark's image source gives -1x-1 pixels of -1 channels, O")
    ]


def test_bad_images_are_fatal_with_their_name_or_dropped_and_counted_once(context):
    rows = [{"id": f"i{i}", "image": png(i) if i % 5 else b"\xff\xd8 no", "label": i} for i in range(30)]
    rows[7]["image"] = None
    source = context.parallelize(rows, 3)
    with pytest.raises(
        DataError,
        match=r"image 'i0': no image of the formats .* begin with ff d8 20 6e 6f; repair it, leave it out, or pass on_error='drop'",
    ):
        pack(decode_images(source, DECODER)[0], FIELDS, 4)
    decoded, bad = decode_images(source, DECODER, on_error="drop")
    for _ in range(2):  # whatever is computed twice is counted once
        assert sorted(packed_pixels(decoded)) == [i for i in range(30) if i % 5 and i != 7]
    assert bad.count == 7
    assert list(bad.reasons) == [f"i{i}" for i in (0, 5, 7, 10, 15, 20, 25)]
    assert bad.reasons["i7"] == "got a NoneType, expected the bytes of an image file"
    assert repr(bad).startswith("<BadImages: 7; i0: no image of the formats")


def test_a_partition_of_bad_images_tells_the_first_twenty_and_counts_them_all(context):
    decoded, bad = decode_images(context.parallelize([(b"x", i) for i in range(50)], 1), DECODER, on_error="drop")
    with pytest.raises(DataError, match="got no rows"):
        pack(decoded, FIELDS, 4)
    assert (bad.count, list(bad.reasons)) == (50, [f"row {i} of partition 0" for i in range(20)])


def test_rows_without_the_column_and_unknown_choices_are_named(spark, context):
    with pytest.raises(DataError, match=r"decode_images\(\): the DataFrame has no column 'image'; it has 'x'"):
        decode_images(spark.createDataFrame([(1,)], ["x"]), DECODER)
    for row, reason in (
        ({"data": b""}, "row 0 of partition 0 has no column 'image'; it has 'data'"),
        ((b"", 1, 2), "row 0 of partition 0 has 3 values, expected 2: 'image', 'label'"),
        (b"", "row 0 of partition 0 has a bytes, expected 2"),
    ):
        with pytest.raises(DataError, match=reason):
            pack(decode_images(context.parallelize([row], 1), DECODER, on_error="drop")[0], FIELDS, 2)
    with pytest.raises(
        DataError, match=r"decode_images\(\): on_error: got 'ignore', expected 'error' or 'drop' \(the row\)"
    ):
        decode_images(context.parallelize([]), DECODER, on_error="ignore")
    with pytest.raises(DataError, match=r"decode_images\(\): got list, expected an RDD or a DataFrame"):
        decode_images([b""], DECODER)
    with pytest.raises(DataError, match=r"decode_images\(\): decoder: got 4, expected an ImageDecoder"):
        decode_images(context.parallelize([]), 4)
    with pytest.raises(DataError, match=r"decode_images\(\): columns: got 'image', expected a sequence of names"):
        decode_images(context.parallelize([]), DECODER, columns="image")


# ---- the mean
IMAGES = np.random.default_rng(1).integers(0, 256, (37, 3, 5, 4), dtype=np.uint8)
PIXELS = Field("data", (3, 5, 4), "uint8")


@pytest.mark.parametrize(("partitions", "batch_size", "shards"), [(1, 37, 1), (3, 5, 2), (5, 2, 4), (2, 20, 3)])
def test_the_mean_has_the_bits_of_numpy_s_however_the_images_are_spread(context, partitions, batch_size, shards):
    packed = pack(
        context.parallelize(list(IMAGES), partitions), [PIXELS], batch_size, shards=shards, shuffle=partitions
    )
    mean, means = mean_image(packed).to_host(), channel_means(packed).to_host()
    assert mean.dtype == means.dtype == np.float64
    assert mean.tobytes() == IMAGES.mean(axis=0, dtype=np.float64).tobytes()
    assert means.tobytes() == IMAGES.mean(axis=(0, 2, 3), dtype=np.float64).tobytes()
    here = packed.to_local()
    assert mean_image(here).to_host().tobytes() == mean.tobytes()
    assert channel_means(here).to_host().tobytes() == means.tobytes()
    packed.unpersist()


def test_a_mean_goes_through_both_kinds_of_files_into_the_preprocessor(context, tmp_path):
    packed = pack(context.parallelize(list(IMAGES), 2), [PIXELS], 8)
    mean = mean_image(packed)
    save(tmp_path / "mean.sparknet", mean)
    assert np.array_equal(load(tmp_path / "mean.sparknet").to_host(), mean.to_host())
    formats.write(tmp_path / "mean.binaryproto", NDArray(mean.to_host().astype(np.float32)))
    steps = Compose(SubtractMean("data", formats.read(tmp_path / "mean.binaryproto").obj), Crop("data", 4, 4))
    batch = steps({"data": NDArray(IMAGES)}, np.random.default_rng(0), train=False)
    expected = IMAGES[:, :, :4].astype(np.float32) - mean.to_host()[:, :4].astype(np.float32)
    assert np.array_equal(batch["data"].to_host(), expected)


def test_the_mean_of_encoded_images_is_that_of_their_pixels(context):
    data = Field("image", (900,), "uint8")
    rows = [png(i).ljust(900, b"\0") for i in range(5)]
    packed = pack(context.parallelize(rows, 2), [data], 2)
    expected = np.mean([chw(i) for i in range(5)], axis=0, dtype=np.float64)
    assert mean_image(packed, "image", Decode("image", DECODER)).to_host().tobytes() == expected.tobytes()
    broken = pack(context.parallelize([*rows, b"?".ljust(900, b"\0")], 2), [data], 2)
    with pytest.raises(DataError, match="Decode: example 1 of the batch, 'image': no image"):
        mean_image(broken, "image", Decode("image", DECODER))
    nothing = pack(context.parallelize(rows[:1]), [data], 2)
    with pytest.raises(DataError, match="the mean of no images: every one was dropped"):
        mean_image(nothing, "image", Decode("image", ImageDecoder(6, 8, max_pixels=1), on_error="drop"))


def test_a_mean_of_what_is_no_image_is_refused_before_a_job(context):
    packed = pack(context.parallelize([1, 2]), [Field("y", (), "int64")], 2)
    for field in ("y", "data"):
        with pytest.raises(
            DataError, match=rf"mean of '{field}': expected a field of images \(c, h, w\); there are 'y' int64"
        ):
            mean_image(packed, field)
