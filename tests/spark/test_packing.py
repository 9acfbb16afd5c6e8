"""pack on Spark gives the minibatches of pack in memory, from any rows, however they are partitioned."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparknet import DataError, Field
from sparknet import data as local
from sparknet.clusters.spark import chunks
from sparknet.data.preprocess import Scale
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
    assert set(context._jsc.getPersistentRDDs()) == before


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
