"""Values that are NaN or infinite in packed rows, on Spark: told once, with partition, row and id of the first one."""

import numpy as np
import pytest

from sparknet import Field
from sparknet.clusters.spark.packing import chunks
from sparknet.spark import pack

pytestmark = pytest.mark.spark

FIELDS = [Field("data", (2,)), Field("label", (), "int64")]
NAN = {(7, 1): np.nan, (12, 0): np.inf, (13, 0): np.nan}  # (id, column) -> value


def values(i):
    return [float(NAN.get((i, column), i)) for column in (0, 1)]


@pytest.mark.parametrize("arrow", [True, False])
@pytest.mark.parametrize("parts", [2, 64])
def test_they_are_counted_by_column_with_partition_row_and_id_of_the_first(spark, caplog, monkeypatch, arrow, parts):
    monkeypatch.setattr(chunks, "_BYTES", 48)  # so that the rows of a partition are in several chunks
    rows = [(i, *values(i), i % 2) for i in range(128)]
    frame = spark.createDataFrame(
        spark.sparkContext.parallelize(rows, parts), "id long, a double, b double, label long"
    )
    pack(frame, FIELDS, 8, columns={"data": ["a", "b"]}, id_column="id", shards=2, arrow=arrow).unpersist()
    (said,) = [message for message in caplog.messages if "not finite" in message]
    place = "partition 0, row 7" if parts == 2 else "partition 3, row 1"
    assert (
        f"field 'data': 3 values are not finite ('a' 2, 'b' 1), the first one nan in {place} (id '7'), column 'b'"
        in said
    )
    assert "na.drop() and fillna() take NaN, not infinities" in said


def test_rows_of_an_rdd_are_told_by_partition_and_row_and_finite_ones_not_at_all(context, caplog):
    rows = [(values(i), 0) for i in range(16)]
    pack(context.parallelize(rows, 2), FIELDS, 4, shards=2).unpersist()
    (said,) = caplog.messages
    assert "3 values are not finite, the first one nan in partition 0, row 7, element 1; a net" in said
    caplog.clear()
    pack(context.parallelize(rows[:7], 2), FIELDS, 4, shards=2).unpersist()
    assert not caplog.messages
