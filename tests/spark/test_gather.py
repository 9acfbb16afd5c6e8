"""Many small partitions are packed as few, with the order, the minibatches and the places of bad rows that they have."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.serializers import CPickleSerializer

from sparknet import ClusterError, DataError, Field
from sparknet import data as local
from sparknet.clusters.spark.packing import gather
from sparknet.clusters.spark.packing import pack as packing
from sparknet.spark import pack

pytestmark = pytest.mark.spark

FIELDS = [Field("x", (2,)), Field("y", (), "int64")]
FEW = 8  # four for each core of the session


def rows(n):
    return [([float(i), 1.0], i) for i in range(n)]


def contents(dataset):
    return [{name: a.to_host().tolist() for name, a in batch.items()} for batch in dataset.batches]


def tasks(context, action):
    """What the action returns, and how many tasks its jobs had."""
    tracker = context.statusTracker()
    before = set(tracker.getJobIdsForGroup(None))
    found = action()
    jobs = [tracker.getJobInfo(job) for job in set(tracker.getJobIdsForGroup(None)) - before]
    return found, sum(tracker.getStageInfo(stage).numTasks for job in jobs for stage in job.stageIds)


@pytest.mark.parametrize("kind", ["rdd", "rows of a frame", "arrow of a frame"])
def test_many_small_partitions_are_packed_by_the_tasks_of_few_and_the_log_says_so(spark, context, caplog, kind):
    source = context.parallelize(rows(80), 40)
    if kind != "rdd":
        source = spark.createDataFrame(source, "x array<double>, y long")
    with caplog.at_level(logging.WARNING, "sparknet.clusters.spark.packing.gather"):
        packed, used = tasks(context, lambda: pack(source, FIELDS, 3, arrow=kind == "arrow of a frame"))
    assert [r.getMessage() for r in caplog.records] == [
        "pack(): the 40 partitions hold few rows each and are taken as 8, in their order"
    ]
    assert used <= 3 + 5 * FEW  # 3 that are looked at; counting, placing and packing
    assert contents(packed.to_local()) == contents(local.pack(rows(80), FIELDS, 3))
    assert packed.shards == FEW
    packed.unpersist()


@settings(max_examples=4)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=33, max_size=60).filter(any),
    shuffle=st.none() | st.integers(0, 3),
    shards=st.none() | st.just(10),
)
def test_whatever_the_sizes_the_minibatches_are_those_of_one_list(spark, sizes, shuffle, shards):
    everything, starts = rows(sum(sizes)), np.cumsum([0, *sizes])
    parts = [everything[starts[i] : starts[i + 1]] for i in range(len(sizes))]
    rdd = spark.sparkContext.parallelize(parts, len(parts)).flatMap(list)
    packed = pack(rdd, FIELDS, 4, shuffle=shuffle, shards=shards)
    assert contents(packed.to_local()) == contents(local.pack(everything, FIELDS, 4, shuffle=shuffle))
    packed.unpersist()


def test_large_partitions_and_as_many_as_are_needed_are_left_as_they_are(context, monkeypatch):
    assert pack(context.parallelize(rows(80), 40), FIELDS, 2, shards=20).shards == 20
    monkeypatch.setattr(gather, "_SMALL", 2 * 16 - 1)
    packed, used = tasks(context, lambda: pack(context.parallelize(rows(80), 40), FIELDS, 2))
    assert packed.shards == 40
    assert used > 3 * 40


@pytest.mark.parametrize("kind", ["rdd", "rows of a frame", "arrow of a frame"])
def test_a_bad_row_is_named_by_the_partition_that_it_came_from(spark, context, kind):
    everything = rows(80)
    everything[47] = ([1.0, None], 0)
    everything[79] = ([1.0, None], 1)
    source = context.parallelize(everything, 40)
    if kind != "rdd":
        source = spark.createDataFrame(source, "x array<double>, y long")
    with pytest.raises(DataError, match=r"^partition 23, row 1: field 'x' .* null") as caught:
        pack(source, FIELDS, 3, arrow=kind == "arrow of a frame")
    assert (caught.value.partition, caught.value.row) == (23, 1)


OTHERWISE = {
    "in another order": (40, lambda part, _: part[::-1]),
    "none": (4, lambda part, _: part[:0]),
    "some where there were none": (4, lambda part, lost: part if lost else []),
}


@pytest.mark.parametrize("how", OTHERWISE)
def test_a_partition_that_comes_back_otherwise_is_named_by_its_own_number(context, monkeypatch, tmp_path, how):
    counted, (partitions, change) = packing.counted, OTHERWISE[how]

    def losing(*args):
        chunks, facts = counted(*args)
        chunks.unpersist(blocking=True)
        (tmp_path / "lost").touch()
        return chunks, facts

    def source(partition, part):
        part, lost = list(part), (tmp_path / "lost").exists()
        is_first = how != "some where there were none" and not lost
        return part if partition != 1 or is_first else change(part, lost)

    monkeypatch.setattr(packing, "counted", losing)
    rdd = context.parallelize(rows(80), partitions).mapPartitionsWithIndex(source)
    with pytest.raises(ClusterError, match="partition 1 gave other rows when it was computed again"):
        pack(rdd, FIELDS, 3)


def cached(rdd):
    rdd = rdd.cache()
    rdd.count()
    return rdd


SCHEMA = "x array<double>, y long"
RDDS = {
    "cached": lambda rdd: cached(rdd.map(lambda row: row)),
    "shuffled": lambda rdd: rdd.coalesce(1).repartition(40),
    "pairs": lambda rdd: cached(rdd.keys().zip(rdd.values())),
    "pickled one by one": lambda rdd: cached(rdd.map(lambda row: row)._reserialize(CPickleSerializer())),
}
FRAMES = {
    "cached": cached,
    "shuffled": lambda frame: frame.coalesce(1).repartition(40),
}


@pytest.mark.parametrize("kind", RDDS)
def test_an_rdd_whose_partitions_lie_somewhere_keeps_its_order(context, kind):
    source = RDDS[kind](context.parallelize(rows(80), 40))
    packed = pack(source, FIELDS, 3)
    assert packed.shards == FEW
    assert contents(packed.to_local()) == contents(local.pack(source.collect(), FIELDS, 3))
    packed.unpersist()
    source.unpersist()


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("adaptive", ["true", "false"])
def test_a_frame_whose_partitions_lie_somewhere_keeps_its_order(spark, kind, adaptive):
    spark.conf.set("spark.sql.adaptive.enabled", adaptive)
    try:
        source = FRAMES[kind](spark.createDataFrame(spark.sparkContext.parallelize(rows(80), 40), SCHEMA))
        expected = contents(local.pack([tuple(row) for row in source.collect()], FIELDS, 3))
        for arrow in (True, False):
            packed = pack(source, FIELDS, 3, arrow=arrow)
            assert packed.shards == FEW
            assert contents(packed.to_local()) == expected
            packed.unpersist()
        source.unpersist()
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")


def test_spark_does_put_partitions_together_that_are_no_neighbours(context):
    """Else the two tests before this one would find nothing."""
    source = cached(context.parallelize(rows(80), 40).map(lambda row: row))
    source.first()  # Spark looks for stored partitions when a job begins
    together = source._jrdd.coalesce(FEW).rdd().partitions()
    tell = context._jvm.java.util.Arrays.toString
    places = [int(i) for part in together for i in tell(part.parentsIndices()).strip("[]").split(", ")]
    assert sorted(places) == list(range(40)) != places
    source.unpersist()


def test_python_functions_before_it_are_named_by_the_log(context, caplog):
    source = cached(context.parallelize(rows(80), 40).map(lambda row: row))
    for rdd, said in ((source, False), (source.map(lambda row: row), True)):
        with caplog.at_level(logging.WARNING, "sparknet.clusters.spark.packing.gather"):
            pack(rdd, FIELDS, 3).unpersist()
        assert ("Python functions of an RDD still start once for each" in caplog.records[-1].getMessage()) == said
    source.unpersist()
