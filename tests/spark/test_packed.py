"""PackedDataset: what it says of itself is so; splitting, storage levels, and the way to storage and back."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparknet import ClusterError, DataError, Field
from sparknet.data.fingerprint import fingerprint
from sparknet.data.layout import Layout
from sparknet.data.preprocess import Scale
from sparknet.data.records import Records
from sparknet.ndarray import NDArray
from sparknet.spark import ShardSize, load_packed, pack

pytestmark = pytest.mark.spark

FIELDS = [Field("image", (2, 2), "uint8"), Field("label", (), "int64")]
RECORD = 4 + 8


def rows(n):
    return [(np.full((2, 2), i % 256, np.uint8), i) for i in range(n)]


def contents(dataset):
    return [{name: a.to_host().tolist() for name, a in batch.items()} for batch in dataset.batches]


@pytest.fixture(scope="module")
def packed(spark):
    data = pack(spark.sparkContext.parallelize(rows(50), 3), FIELDS, 4, Scale("image", 0.5), shards=3, shuffle=1)
    yield data
    data.unpersist()


# ---- where examples lie, without Spark
@given(total=st.integers(1, 200), batch_size=st.integers(1, 30), shards=st.integers(1, 9))
def test_every_example_has_one_place_and_shards_have_no_gaps(total, batch_size, shards):
    layout = Layout(total, batch_size, shards)
    shard, place = layout.locate(np.arange(total))
    for k in range(shards):
        assert sorted(place[shard == k].tolist()) == list(range(layout.examples(k)))
    assert sum(len(layout.batches(k)) for k in range(shards)) == layout.num_batches == -(-total // batch_size)


@given(
    n=st.integers(0, 5),
    fields=st.lists(
        st.tuples(
            st.sampled_from(["bool", "uint8", "int64", "float16", "complex128"]), st.sampled_from([(), (2, 3), (0,)])
        ),
        min_size=1,
        max_size=3,
    ),
    seed=st.integers(0, 9),
)
def test_records_give_back_the_bits_of_the_batch(n, fields, seed):
    rng = np.random.default_rng(seed)
    fields = tuple(Field(str(i), shape, dtype) for i, (dtype, shape) in enumerate(fields))
    batch = {f.name: NDArray((rng.random((n, *f.shape)) * 99).astype(f.dtype)) for f in fields}
    records = Records(fields)
    joined = records.join(batch)
    assert joined.shape == (n, records.size)
    for name, array in records.split(joined).items():
        assert (array.shape, array.dtype) == (batch[name].shape, batch[name].dtype)
        assert array.to_host().tobytes() == batch[name].to_host().tobytes()


# ---- what it says of itself
def test_its_fingerprint_is_that_of_the_same_minibatches_in_memory_whatever_the_shards_are(packed):
    more = packed.reshard(2)
    local = packed.to_local()
    assert fingerprint(packed) == fingerprint(local) == fingerprint(more)
    more.unpersist()
    assert fingerprint(packed) != fingerprint(dataclasses.replace(local, batches=local.batches[::-1]))


def test_counts_bytes_and_shard_sizes_are_those_of_what_is_stored(packed):
    def measured(part):
        from sparknet import loads

        batches = [loads(message) for _, message in part]
        examples = sum(len(batch["label"]) for batch in batches)
        yield len(batches), examples, sum(a.nbytes for batch in batches for a in batch.values())

    sizes = packed.rdd.mapPartitions(measured).collect()
    assert packed.shard_sizes == [ShardSize(*size) for size in sizes]
    assert packed.nbytes == sum(size[2] for size in sizes) == 50 * RECORD
    assert (
        repr(packed) == "<PackedDataset: 50 examples in 13 minibatches of 4, 600 bytes, 3 shards of 16 to 18 examples>"
    )


def test_it_is_persisted_as_asked_and_so_is_what_is_made_of_it(context):
    from pyspark import StorageLevel

    data = pack(context.parallelize(rows(9), 2), FIELDS, 2, storage=StorageLevel.DISK_ONLY)
    train, test = data.train_test_split(0.4)
    for made in (data, data.reshard(3), train, test):
        assert made.rdd.getStorageLevel() == StorageLevel.DISK_ONLY
        made.unpersist()
    assert pack(context.parallelize(rows(9), 2), FIELDS, 2).rdd.getStorageLevel() == StorageLevel.MEMORY_AND_DISK


# ---- splitting
@settings(max_examples=5)
@given(fraction=st.floats(0.1, 0.9), seed=st.integers(0, 2**40))
def test_a_split_is_that_of_the_same_data_in_memory(packed, fraction, seed):
    there = packed.train_test_split(fraction, seed)
    here = packed.to_local().train_test_split(fraction, seed)
    for ours, expected in zip(there, here, strict=True):
        assert contents(ours.to_local()) == contents(expected)
        assert (ours.count(), ours.num_batches, ours.preprocessor) == (
            expected.count(),
            expected.num_batches,
            packed.preprocessor,
        )
        ours.unpersist()


def test_shuffle_and_split_take_the_names_that_they_take_in_memory(spark):
    rdd = spark.sparkContext.parallelize(rows(20), 2)
    data = pack(rdd, FIELDS, 4, shuffle=True, seed=3)
    assert contents(data.to_local()) == contents(pack(rdd, FIELDS, 4, shuffle=3).to_local())
    for there, here in zip(
        data.train_test_split(test_size=0.3, random_state=2), data.to_local().train_test_split(0.3, 2), strict=True
    ):
        assert contents(there.to_local()) == contents(here)


def test_a_split_that_leaves_a_set_empty_is_refused(packed):
    with pytest.raises(DataError, match=r"0\.999 of 50 examples leaves a set empty"):
        packed.train_test_split(0.999)


# ---- to storage and back
@pytest.mark.parametrize("shards", [None, 1, 5])
def test_a_saved_set_is_loaded_with_the_same_minibatches(spark, packed, tmp_path, shards):
    packed.save(tmp_path / "set")
    back = load_packed(spark, tmp_path / "set", Scale("image", 0.5), shards=shards)
    assert contents(back.to_local()) == contents(packed.to_local())
    assert (back.fields, back.batch_size, back.count()) == (packed.fields, packed.batch_size, 50)
    assert (back.shards, back.preprocessor) == (shards or 3, packed.preprocessor)
    back.unpersist()


def test_a_url_of_hadoop_is_a_path(spark, packed, tmp_path):
    packed.save(f"file:{tmp_path}/set/")
    assert load_packed(spark.sparkContext, f"file://{tmp_path}/set").count() == 50


def test_a_path_that_is_taken_is_left_as_it_is(spark, packed, tmp_path):
    packed.save(tmp_path / "set")
    before = {path: path.read_bytes() for path in (tmp_path / "set").rglob("part-*")}
    with pytest.raises(DataError, match=r"set exists, with a data set or a part of one; choose another path"):
        packed.save(tmp_path / "set")
    assert {path: path.read_bytes() for path in (tmp_path / "set").rglob("part-*")} == before
    assert load_packed(spark, tmp_path / "set").count() == 50


@pytest.mark.parametrize("path", ["", "/", "//", "file:/", "file:///", "hdfs://host:9000/"])
def test_the_root_of_a_file_system_is_refused(context, packed, path):
    before = context.statusTracker().getJobIdsForGroup(None)
    with pytest.raises(DataError, match=r"save\(\): got the path '.*', expected a directory that does not exist yet"):
        packed.save(path)
    assert context.statusTracker().getJobIdsForGroup(None) == before


@pytest.mark.parametrize("shards", [None, 0, 1.5, True])
def test_shards_that_are_no_number_are_refused(packed, shards):
    with pytest.raises(DataError, match=rf"reshard\(\): shards: got {shards}, expected a whole number of at least 1"):
        packed.reshard(shards)


def test_a_set_whose_saving_broke_off_is_refused(spark, packed, tmp_path):
    with pytest.raises(DataError, match=r"there is no manifest under .*nothing, which save\(\) writes last"):
        load_packed(spark, tmp_path / "nothing")
    packed.save(tmp_path / "set")
    (tmp_path / "set" / "manifest" / "part-00000").unlink()
    with pytest.raises(DataError, match=r"manifest is ''; expected that of a sparknet packed data set, version 1"):
        load_packed(spark, tmp_path / "set")
    shutil.rmtree(tmp_path / "set" / "manifest")
    with pytest.raises(DataError, match=r"there is no manifest under .*set, which save\(\) writes last"):
        load_packed(spark, tmp_path / "set")


def test_a_manifest_of_another_format_is_refused(spark, packed, tmp_path):
    packed.save(tmp_path / "set")
    manifest = tmp_path / "set" / "manifest" / "part-00000"
    facts = json.loads(manifest.read_text())
    for text in ("{", "[]", "{}", json.dumps({**facts, "format": "version 2"}), json.dumps({**facts, "fields": 3})):
        rewrite(manifest, text)
        with pytest.raises(DataError, match="expected that of a sparknet packed data set, version 1"):
            load_packed(spark, tmp_path / "set")


def test_missing_and_damaged_minibatches_are_never_taken_for_the_whole(spark, packed, tmp_path):
    packed.save(tmp_path / "set")
    parts = sorted((tmp_path / "set" / "batches").glob("part-*"))
    whole = bytearray(parts[0].read_bytes())
    whole[-1] ^= 1
    rewrite(parts[0], bytes(whole))
    with pytest.raises(
        ClusterError, match=r"FormatError: minibatch \d+: tensor .* is damaged: its checksum does not match"
    ):
        load_packed(spark, tmp_path / "set")
    parts[0].unlink()
    with pytest.raises(DataError, match=r"manifest says 3 shards, and .*batches has files of 2: some are missing"):
        load_packed(spark, tmp_path / "set")


def rewrite(path, content):
    """Write a file of Hadoop's, without the checksum file beside it."""
    (path.parent / f".{path.name}.crc").unlink(missing_ok=True)
    os.chmod(path, 0o600)  # noqa: PTH101 - Hadoop may have made it read-only
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
