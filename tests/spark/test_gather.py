"""Many small partitions are packed as few, with the order, the minibatches and the places of bad rows that they have."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparknet import ClusterError, DataError, Field
from sparknet import data as local
from sparknet.clusters.spark import gather, packing
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
    with caplog.at_level(logging.WARNING, "sparknet.clusters.spark.gather"):
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


def test_a_bad_row_that_is_gone_when_it_is_looked_for_is_named_by_where_it_may_have_been(context, tmp_path):
    def once(partition, part):
        if partition == 23 and not (tmp_path / "seen").exists():
            (tmp_path / "seen").touch()
            return [([1.0, None], 0)]
        return list(part)

    rdd = context.parallelize(rows(80), 40).mapPartitionsWithIndex(once)
    with pytest.raises(DataError, match=r"^partitions 20 to 24, taken together: field 'x' .* null"):
        pack(rdd, FIELDS, 3)


def test_partitions_that_come_back_otherwise_are_named_by_their_own_numbers(context, monkeypatch, tmp_path):
    counted = packing._counted

    def losing(*args):
        chunks, *facts = counted(*args)
        chunks.unpersist(blocking=True)
        (tmp_path / "lost").touch()
        return chunks, *facts

    def source(partition, part):
        part = list(part)
        return part[::-1] if partition == 23 and (tmp_path / "lost").exists() else part

    monkeypatch.setattr(packing, "_counted", losing)
    with pytest.raises(ClusterError, match="partitions 20 to 24 gave other rows when it was computed again"):
        pack(context.parallelize(rows(80), 40).mapPartitionsWithIndex(source), FIELDS, 3)


def test_a_cached_source_keeps_its_order_and_the_log_says_what_makes_it_fast(context, caplog):
    source = context.parallelize(rows(80), 40).map(lambda row: row).cache()
    source.count()
    with caplog.at_level(logging.WARNING, "sparknet.clusters.spark.gather"):
        packed = pack(source, FIELDS, 3)
    assert contents(packed.to_local()) == contents(local.pack(rows(80), FIELDS, 3))
    (record,) = caplog.records
    assert "the 40 partitions hold few rows each, which takes long: coalesce() the rows" in record.getMessage()
    source.unpersist()
