"""What pack takes: any RDD, any DataFrame, as rows or as Arrow batches; and what it refuses before a job."""

import decimal
import sys

import numpy as np
import pytest

from sparknet import DataError, Field, MissingDependency, NetError
from sparknet import data as local
from sparknet.data.preprocess import Scale
from sparknet.nets import MLP
from sparknet.spark import pack

pytestmark = pytest.mark.spark

DATA, LABEL = Field("data", (2, 2), "uint8"), Field("label", (), "int64")
IMAGES = [[1, 2, 3, 200], [5, 6, 7, 8], [9, 10, 11, 255], [13, 14, 15, 16], [17, 18, 19, 20]]
# Columns of one kind each that hold these images. (A tinyint is signed: it cannot hold 200.)
KINDS = {
    "binary": bytearray,
    "array<smallint>": list,
    "array<int>": list,
    "array<bigint>": list,
    "array<float>": lambda v: list(map(float, v)),
    "array<double>": lambda v: list(map(float, v)),
    "array<decimal(5,1)>": lambda v: list(map(decimal.Decimal, v)),
    "array<array<int>>": lambda v: [v[:2], v[2:]],
}


def contents(dataset):
    return [{name: a.to_host().tolist() for name, a in batch.items()} for batch in dataset.to_local().batches]


def expected():
    data = local.pack([(image, i) for i, image in enumerate(IMAGES)], [DATA, LABEL], 2)
    return [{name: a.to_host().tolist() for name, a in batch.items()} for batch in data.batches]


def frame_of(spark, kind, name="data"):
    return spark.createDataFrame(
        [(KINDS[kind](image), i) for i, image in enumerate(IMAGES)], f"`{name}` {kind}, label bigint"
    )


def jobs(context):
    return set(context.statusTracker().getJobIdsForGroup(None))


# ---- taken
@pytest.mark.parametrize("arrow", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_every_kind_pack_alike(spark, kind, arrow):
    assert contents(pack(frame_of(spark, kind), [DATA, LABEL], 2, arrow=arrow)) == expected()


@pytest.mark.parametrize("arrow", [False, True])
def test_scalar_columns_of_every_kind_pack_alike(spark, arrow):
    kinds = ["boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal(4,2)"]
    frame = spark.range(1, 6).selectExpr(*(f"cast(id % 2 as {kind}) as `{kind}`" for kind in kinds))
    (batch,) = contents(pack(frame, [Field(kind) for kind in kinds], 5, arrow=arrow))
    assert batch == {kind: [1.0, 0.0, 1.0, 0.0, 1.0] for kind in kinds}


@pytest.mark.parametrize("arrow", [False, True])
def test_decimals_that_are_whole_numbers_keep_every_digit(spark, arrow):
    values = [9007199254740993, -999999999999999999, 0]  # a double has 53 bits
    frame = spark.createDataFrame(
        [(decimal.Decimal(v), [decimal.Decimal(v)]) for v in values], "a decimal(18,0), b array<decimal(18,0)>"
    )
    (batch,) = contents(pack(frame, [Field("a", (), "int64"), Field("b", (1,), "int64")], 3, arrow=arrow))
    assert batch == {"a": values, "b": [[v] for v in values]}


@pytest.mark.parametrize("kind", ["decimal(19,0)", "decimal(16,1)", "array<decimal(38,0)>"])
def test_decimals_too_wide_for_whole_numbers_are_refused_before_a_job(spark, kind):
    frame = spark.createDataFrame([], f"label {kind}")
    before = jobs(spark.sparkContext)
    with pytest.raises(
        DataError, match=r"column 'label' is .*decimal\(\d+,\d\).*; .* 18 digits, or 15 with a fraction.* cast"
    ):
        pack(frame, [Field("label", (1,) if "array" in kind else (), "int64")], 2)
    assert jobs(spark.sparkContext) == before
    wide = spark.range(2).selectExpr(f"cast({'array(id)' if 'array' in kind else 'id'} as {kind}) as label")
    (batch,) = contents(pack(wide, [Field("label", (1,), "float64")], 2))  # of floats no more is expected
    assert batch["label"] == [[0.0], [1.0]]


@pytest.mark.parametrize("arrow", [False, True])
def test_vectors_pack_alike_dense_or_sparse(spark, arrow):
    from pyspark.ml.linalg import DenseVector, SparseVector

    rows = [(DenseVector(IMAGES[0]), 0), (SparseVector(4, dict(enumerate(map(float, IMAGES[1])))), 1)]
    frame = spark.createDataFrame(rows, ["data", "label"])
    assert contents(pack(frame, [DATA, LABEL], 2, arrow=arrow)) == expected()[:1]
    assert contents(pack(spark.sparkContext.parallelize(rows, 2), [DATA, LABEL], 2)) == expected()[:1]


def test_rdds_of_records_of_arrays_and_of_pairs_pack_alike(context):
    kind = np.dtype([("label", "i8"), ("data", "u1", (2, 2))])
    records = np.array([(i, np.reshape(image, (2, 2))) for i, image in enumerate(IMAGES)], kind)
    pairs = [(np.array(image, np.int16), i) for i, image in enumerate(IMAGES)]
    for rows in (list(records), pairs):
        assert contents(pack(context.parallelize(rows, 2), [DATA, LABEL], 2)) == expected()
    alone = pack(context.parallelize([image for image, _ in pairs], 2), [DATA], 2)
    assert contents(alone) == [{"data": batch["data"]} for batch in expected()]


@pytest.mark.parametrize("arrow", [False, True])
def test_columns_map_to_fields_by_name_whatever_they_are_called(spark, context, arrow):
    for name in ("pixels", "a.b", "back`tick", "Data"):
        frame = frame_of(spark, "binary", name.replace("`", "``")).selectExpr("*", "1 as data_", "null as label2")
        assert contents(pack(frame, [DATA, LABEL], 2, columns={"data": name}, arrow=arrow)) == expected()
    rows = [{"pixels": image, "label": i} for i, image in enumerate(IMAGES)]
    assert contents(pack(context.parallelize(rows, 2), [DATA, LABEL], 2, columns={"data": "pixels"})) == expected()


def test_names_that_differ_in_case_alone_are_told_apart(spark):
    frame = frame_of(spark, "binary").toDF("data", "LABEL").selectExpr("data", "LABEL").toDF("data", "label")
    both = frame.selectExpr("data", "label", "-1 as other").toDF("data", "label", "LABEL")
    assert contents(pack(both, [DATA, LABEL], 2)) == expected()


def test_one_column_may_feed_two_fields(spark):
    target = Field("target", (4,), "float32")
    (first, *_) = contents(pack(frame_of(spark, "binary"), [DATA, target], 2, columns={"target": "data"}))
    assert first["target"] == [[float(v) for v in image] for image in IMAGES[:2]]


def test_parquet_packs_to_the_same_minibatches_by_rows_and_by_arrow(spark, tmp_path):
    frame_of(spark, "array<float>").repartition(3).write.parquet(str(tmp_path / "set"))
    frame = spark.read.parquet(str(tmp_path / "set"))
    rows, arrow = (contents(pack(frame, [DATA, LABEL], 2, shuffle=3, arrow=how)) for how in (False, True))
    assert rows == arrow
    assert sorted(label for batch in rows for label in batch["label"]) == list(range(5))


def test_arrow_is_used_where_it_is_installed_and_rows_where_it_is_not(spark, monkeypatch):
    from sparknet.clusters.spark.packing import arrow, chunks

    used = []
    for way in ("of_arrow", "of_frame"):
        plain = getattr(chunks.RowReader, way)
        monkeypatch.setattr(
            chunks.RowReader, way, lambda self, frame, way=way, plain=plain: used.append(way) or plain(self, frame)
        )
    frame = frame_of(spark, "binary")
    assert contents(pack(frame, [DATA, LABEL], 2)) == expected()
    monkeypatch.setattr(arrow, "find_spec", lambda name: None if name == "pyarrow" else object())
    assert contents(pack(frame, [DATA, LABEL], 2)) == expected()
    assert used == ["of_arrow", "of_frame"]
    with pytest.raises(MissingDependency, match=r"pip install 'sparknet\[arrow\]'"):
        pack(frame, [DATA, LABEL], 2, arrow=True)


def test_arrow_takes_no_pandas_and_large_types_as_they_come(spark, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert contents(pack(frame_of(spark, "binary"), [DATA, LABEL], 2, arrow=True)) == expected()
    spark.conf.set("spark.sql.execution.arrow.useLargeVarTypes", "true")
    try:
        assert contents(pack(frame_of(spark, "binary"), [DATA, LABEL], 2, arrow=True)) == expected()
    finally:
        spark.conf.unset("spark.sql.execution.arrow.useLargeVarTypes")


def test_the_size_of_arrow_batches_is_the_sessions_own_again_afterwards(spark):
    setting = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(setting)
    pack(frame_of(spark, "binary"), [DATA, LABEL], 2, arrow=True)
    assert spark.conf.get(setting) == before


# ---- refused before a job
@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ("'a' as data", r"column 'data' is string; field 'data' uint8 \(2, 2\) takes numbers, booleans, binary"),
        ("current_date() as data", "column 'data' is date; .*convert the column first"),
        ("array('a') as data", "column 'data' is array<string>"),
        ("array(cast('ab' as binary)) as data", "column 'data' is array<binary>"),
        ("struct(1 as a) as data", "column 'data' is struct<a:int>"),
        ("1 as data", "column 'data' is int; .*takes values of 2 axes, or flat ones, with 4 elements"),
        ("array(array(array(1))) as data", "column 'data' is array<array<array<int>>>; .*takes values of 2 axes"),
        ("1 as other", "the DataFrame has no column 'data'; it has 'label', 'other'"),
        ("1 as data, 2 as data", r"the DataFrame has 2 columns named 'data', at \[1, 2\]; rename all but one"),
    ],
)
def test_columns_that_cannot_hold_the_field_are_refused_before_a_job(spark, context, columns, text):
    frame = spark.range(3).selectExpr("id as label", *columns.split(", ") if " as data, " in columns else [columns])
    before = jobs(context)
    with pytest.raises(DataError, match=text):
        pack(frame, [DATA, LABEL], 2)
    assert jobs(context) == before


def test_vectors_of_another_length_are_refused_before_a_job_where_spark_knows_it(spark, context):
    from pyspark.ml.feature import VectorAssembler

    frame = VectorAssembler(inputCols=["id", "id"], outputCol="data").transform(spark.range(3))
    before = jobs(context)
    with pytest.raises(DataError, match=r"column 'data' is vector; .*takes 4 elements; the column's vectors have 2"):
        pack(frame, [DATA], 2)
    assert jobs(context) == before


def test_fields_that_do_not_fit_the_net_are_refused_before_a_job(spark, context):
    frame, net = frame_of(spark, "binary"), MLP.factory((2, 2), 5)
    packed = pack(frame, [DATA, LABEL], 2, Scale("data", 1 / 256), factory=net)
    assert packed.count() == 5
    before = jobs(context)
    with pytest.raises(NetError, match="examples of shape"):
        pack(frame, [DATA, LABEL], 2, factory=MLP.factory((3, 3), 5))
    with pytest.raises(NetError, match="needs the inputs"):
        pack(frame, [Field("image", (2, 2), "uint8"), LABEL], 2, columns={"image": "data"}, factory=net)
    assert jobs(context) == before


def test_things_that_are_no_rows_and_wrong_options_are_refused(spark, context):
    frame = frame_of(spark, "binary")
    of_pandas = type("DataFrame", (), {"__module__": "pandas", "columns": ["data", "label"]})()  # as pandas' has them
    for rows, text in (
        (of_pandas, "got a DataFrame of pandas.*; expected one of a SparkSession in this process"),
        (spark.readStream.format("rate").load(), "got a streaming DataFrame"),
        (context, "got SparkContext, expected an RDD or a DataFrame"),
    ):
        with pytest.raises(DataError, match=text):
            pack(rows, [DATA, LABEL], 2)
    with pytest.raises(DataError, match="columns: got 'pixels'; expected names of fields"):
        pack(frame, [DATA, LABEL], 2, columns={"pixels": "data"})
    with pytest.raises(DataError, match="no column 'path'; it has 'data', 'label'"):
        pack(frame, [DATA, LABEL], 2, id_column="path")
    with pytest.raises(DataError, match=r"storage: got disk, expected a pyspark\.StorageLevel that stores"):
        pack(frame, [DATA, LABEL], 2, storage="disk")


# ---- refused in the job, with the row's place
BAD = {
    "null": ("binary", None, "it is null or has one; drop such rows or fill them"),
    "a null inside": ("array<int>", [1, None, 3, 4], "it is null or has one"),
    "ragged": ("array<int>", [1, 2, 3], r"got a value of shape \(3,\) \(3 elements\), expected \(2, 2\)"),
    "ragged inside": ("array<array<int>>", [[1, 2], [3]], "cannot be converted"),
    "short bytes": ("binary", b"abc", r"got a value of shape \(3,\)"),
    "too large": ("array<int>", [1, 2, 3, 256], "does not fit uint8"),
    "a fraction": ("array<double>", [1.0, 2.0, 3.5, 4.0], "does not fit uint8"),
}


@pytest.mark.parametrize("arrow", [False, True])
@pytest.mark.parametrize("what", BAD)
def test_a_bad_cell_is_named_by_partition_row_and_id(spark, what, arrow):
    kind, value, text = BAD[what]
    good = KINDS[kind](IMAGES[0])
    cells = [good, good, good, good, value, good]
    rows = spark.sparkContext.parallelize([(cell, i, f"id{i}") for i, cell in enumerate(cells)], 2)
    frame = spark.createDataFrame(rows, f"data {kind}, label bigint, name string")
    with pytest.raises(DataError, match=rf"^partition 1, row 1: field 'data' .*{text}") as caught:
        pack(frame, [DATA, LABEL], 2, arrow=arrow)
    assert (caught.value.partition, caught.value.row) == (1, 1)
    with pytest.raises(DataError, match=r"^partition 1, row 1 \(name 'id4'\): field 'data'"):
        pack(frame, [DATA, LABEL], 2, arrow=arrow, id_column="name")
    taken = frame.selectExpr("data", "label", "timestamp_seconds(label) AS taken")
    with pytest.raises(DataError, match=r"^partition 1, row 1 \(taken '19\S+ \S+:04'\): field 'data'"):
        pack(taken, [DATA, LABEL], 2, arrow=arrow, id_column="taken")


@pytest.mark.parametrize("arrow", [False, True])
def test_a_null_vector_as_a_left_join_gives_it_is_named_by_partition_row_and_id(spark, arrow):
    from pyspark.ml.linalg import DenseVector, SparseVector

    vectors = [DenseVector(IMAGES[0]), SparseVector(4, {0: 1.0}), None]
    rows = [(vector, i, f"id{i}") for i, vector in enumerate(vectors)]
    rows = spark.createDataFrame(rows, ["data", "label", "name"]).coalesce(1)
    with pytest.raises(DataError, match=r"^partition 0, row 2 \(name 'id2'\): field 'data' .* it is null") as caught:
        pack(rows, [DATA, LABEL], 2, arrow=arrow, id_column="name")
    assert (caught.value.partition, caught.value.row) == (0, 2)
    assert pack(rows.dropna(), [DATA, LABEL], 2, arrow=arrow).count() == 2


@pytest.mark.parametrize("arrow", [False, True])
def test_the_bytes_of_floats_in_a_binary_column_are_said_to_be_read_as_uint8(spark, arrow):
    frame = spark.createDataFrame([(np.array([1, 2], np.float32).tobytes(),)] * 2, "data binary")
    text = r"^partition 0, row 0: field 'data' float32 \(2,\): .*; bytes are read as uint8, one for each element. Are these"
    with pytest.raises(DataError, match=text):
        pack(frame.coalesce(1), [Field("data", (2,))], 2, arrow=arrow)


def test_a_bad_row_of_an_rdd_is_named_by_partition_row_and_id(context):
    rows = [{"data": image, "label": i, "name": f"id{i}"} for i, image in enumerate(IMAGES)]
    rows[3]["label"] = None
    rdd = context.parallelize(rows, 1)
    with pytest.raises(DataError, match=r"^partition 0, row 3 \(name 'id3'\): field 'label' .* it is null"):
        pack(rdd, [DATA, LABEL], 2, id_column="name")
    with pytest.raises(
        DataError, match=r"^partition 0, row 3: field 'label' .*null.*; id_column: the row has no 'no such"
    ):
        pack(rdd, [DATA, LABEL], 2, id_column="no such column")


def test_a_bad_row_far_into_a_partition_is_counted_across_chunks(context, monkeypatch):
    from sparknet.clusters.spark.packing import chunks

    monkeypatch.setattr(chunks, "_MOST_ROWS", 7)
    rows = context.parallelize(range(100), 1).map(lambda i: 0.5 if i == 53 else i)
    with pytest.raises(DataError, match=r"^partition 0, row 53: field 'label' int64 \(\): the float64 value 0.5"):
        pack(rows, [LABEL], 4)
