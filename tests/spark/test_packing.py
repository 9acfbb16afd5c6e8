"""pack on Spark gives the minibatches of pack in memory, from any rows, however they are partitioned."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparknet import ClusterError, DataError, Field, SparkCluster
from sparknet import data as local
from sparknet.clusters.spark.packing import chunks
from sparknet.clusters.spark.packing import pack as packing
from sparknet.data.preprocess import Scale
from sparknet.nets import MLP
from sparknet.spark import pack

pytestmark = pytest.mark.spark

FIELDS = [Field("image", (2, 2), "uint8"), Field("label", (), "int64")]


def rows(n):
    return [(np.full((2, 2), i % 256, np.uint8), i) for i in range(n)]


def contents(dataset):
    return [{name: a.to_host().tolist() for name, a in batch.items()} for batch in dataset.batches]


@settings(max_examples=8)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
    batch_size=st.integers(1, 7),
    shuffle=st.none() | st.integers(0, 3),
)
def test_unequal_and_empty_partitions_pack_as_one_list_does(spark, sizes, batch_size, shuffle):
    everything = rows(sum(sizes))
    starts = np.cumsum([0, *sizes])
    partitions = [everything[a:b] for a, b in itertools.pairwise(starts)]
    rdd = spark.sparkContext.parallelize(partitions, len(partitions)).flatMap(list)
    packed = pack(rdd, FIELDS, batch_size, shuffle=shuffle, shards=2)
    expected = local.pack(everything, FIELDS, batch_size, shuffle=shuffle)
    assert contents(packed.to_local()) == contents(expected)
    assert (packed.count(), packed.num_batches) == (expected.count(), expected.num_batches)
    packed.unpersist()


def test_chunks_smaller_than_a_partition_change_nothing(context, monkeypatch):
    expected = local.pack(rows(30), FIELDS, 4, shuffle=1)
    monkeypatch.setattr(chunks, "_BYTES", 1)
    packed = pack(context.parallelize(rows(30), 2), FIELDS, 4, shuffle=1)
    assert contents(packed.to_local()) == contents(expected)


def test_tuples_mappings_rows_and_dataframes_pack_alike(spark, context):
    from pyspark.sql import Row

    expected = contents(local.pack(rows(7), FIELDS, 3))
    plain = [(image.tobytes(), label) for image, label in rows(7)]
    lists = [([int(v) for v in image.ravel()], label) for image, label in rows(7)]
    sources = [
        context.parallelize(rows(7), 2),
        context.parallelize([{"label": label, "image": image, "other": "x"} for image, label in plain], 3),
        context.parallelize([Row(label=label, image=image) for image, label in plain], 1),
        spark.createDataFrame([(0, label, bytearray(image)) for image, label in plain], ["other", "label", "image"]),
        spark.createDataFrame(lists, ["image", "label"]),
    ]
    for source in sources:
        assert contents(pack(source, FIELDS, 3).to_local()) == expected


def test_the_zeros_that_a_net_is_tried_on_are_no_reason_to_warn(context, caplog):
    fields = [Field("data", (2, 2), "uint8"), FIELDS[1]]
    pack(
        context.parallelize([(image, 1) for image, _ in rows(6)], 2), fields, 3, factory=MLP.factory((2, 2), 2)
    ).unpersist()
    assert not caplog.messages


def test_shards_are_balanced_whatever_the_skew_of_the_input(context):
    skewed = context.parallelize([rows(50), [], rows(1)], 3).flatMap(list)
    packed = pack(skewed, FIELDS, 2, shards=4)
    sizes = packed.rdd.mapPartitions(lambda part: [sum(1 for _ in part)]).collect()
    assert sorted(sizes) == [6, 6, 7, 7]
    again = packed.reshard(3)
    assert again.rdd.map(lambda item: item[0]).glom().collect() == [list(range(k, 26, 3)) for k in range(3)]
    assert contents(again.to_local()) == contents(packed.to_local())


def test_the_default_is_a_shard_a_partition_but_never_an_empty_one(context):
    assert pack(context.parallelize(rows(20), 3), FIELDS, 2).shards == 3
    assert pack(context.parallelize(rows(4), 4), FIELDS, 2).shards == 2


def test_rows_are_evaluated_once_and_nothing_but_the_result_stays_persisted(context):
    evaluated = context.accumulator(0)

    def watched(row):
        evaluated.add(1)
        return row

    before = set(context._jsc.getPersistentRDDs())
    packed = pack(context.parallelize(rows(20), 2).map(watched), FIELDS, 4, shuffle=3)
    assert evaluated.value == 20
    assert len(set(context._jsc.getPersistentRDDs()) - before) == 1
    packed.unpersist()
    assert set(context._jsc.getPersistentRDDs()) <= before  # fewer: Spark forgets those that no one holds any more


def test_mistakes_are_named_before_or_instead_of_a_java_stack_trace(spark, context):
    frame = spark.createDataFrame([(1, 2)], ["label", "pixels"])
    with pytest.raises(DataError, match="the DataFrame has no column 'image'; it has 'label', 'pixels'"):
        pack(frame, FIELDS, 2)
    with pytest.raises(DataError, match=r"partition 1, row 0: field 'image' .* got a value of shape \(3,\)"):
        pack(context.parallelize([*rows(2), ([1, 2, 3], 0), ([1, 2, 3], 0)], 2), FIELDS, 2)
    with pytest.raises(DataError, match="no rows"):
        pack(context.parallelize([], 2), FIELDS, 2)
    with pytest.raises(DataError, match="got list, expected an RDD or a DataFrame"):
        pack(rows(2), FIELDS, 2)
    with pytest.raises(DataError, match="Scale: no field 'pixels'"):
        pack(context.parallelize(rows(2)), FIELDS, 2, Scale("pixels", 2))


def in_another_order(part):
    return part[::-1]


def with_another_row(part):
    return [*part[:-1], (part[-1][0], -1)]


def with_a_row_more(part):
    return [*part, part[0]]


def with_a_row_less(part):
    return part[:-1]


@pytest.mark.parametrize("changed", [in_another_order, with_another_row, with_a_row_more, with_a_row_less])
def test_a_lost_partition_that_comes_back_otherwise_is_refused(context, monkeypatch, tmp_path, changed):
    losing_what_was_counted(monkeypatch)

    def source(partition, part):
        seen = tmp_path / str(partition)
        part = list(part)
        if partition == 1 and seen.exists():
            return changed(part)
        seen.touch()
        return part

    rdd = context.parallelize(rows(20), 2)
    with pytest.raises(ClusterError, match=r"partition 1 gave other rows when it was computed again.* persist or save"):
        pack(rdd.mapPartitionsWithIndex(source), FIELDS, 2, shards=2)
    packed = pack(rdd, FIELDS, 2, shards=2)  # a source that gives the same rows may be lost
    assert contents(packed.to_local()) == contents(local.pack(rows(20), FIELDS, 2))
    packed.unpersist()


def test_a_lost_partition_that_comes_back_with_a_bad_row_is_refused(context, monkeypatch, tmp_path):
    losing_what_was_counted(monkeypatch)

    def source(partition, part):
        seen = tmp_path / str(partition)
        if seen.exists():
            return [([1, 2, 3], 0)]
        seen.touch()
        return list(part)

    with pytest.raises(ClusterError, match=r"DataError: partition \d, row 0: field 'image' .* value of shape \(3,\)"):
        pack(context.parallelize(rows(20), 2).mapPartitionsWithIndex(source), FIELDS, 2)


def losing_what_was_counted(monkeypatch):
    """Lose the chunks once they are counted, as when all executors are lost at that time."""
    counted = packing.counted

    def losing(*args):
        chunks, *facts = counted(*args)
        chunks.unpersist(blocking=True)
        return chunks, *facts

    monkeypatch.setattr(packing, "counted", losing)


def test_what_a_job_died_of_is_told_even_where_nothing_can_be_released_then(spark, context, monkeypatch):
    from pyspark import RDD

    def gone(*_args, **_options):
        raise ConnectionRefusedError("no Java gateway")

    packed = pack(context.parallelize(rows(20), 2), FIELDS, 2, shards=2)
    faulty = replace(packed, rdd=packed.rdd.map(lambda _: 1 // 0))
    with monkeypatch.context() as patched:
        patched.setattr(RDD, "unpersist", gone)
        with pytest.raises(DataError, match=r"field 'label' .* it is null"):
            pack(context.parallelize([(rows(1)[0][0], None)], 1), FIELDS, 2)
        with pytest.raises(ClusterError, match="ZeroDivisionError"):
            faulty.reshard(1)
        with (
            pytest.raises(KeyError, match="met in the session"),
            SparkCluster(spark).session(MLP.factory((2, 2), 2), packed, 1),
        ):
            raise KeyError("met in the session")
    packed.unpersist()
