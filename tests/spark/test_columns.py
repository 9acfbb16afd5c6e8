"""Several columns joined into one input on Spark: as arrays that were joined before, by every verb that names columns."""

import decimal

import numpy as np
import pytest

from sparknet import DataError, Field
from sparknet import data as local
from sparknet.nets import MLP
from sparknet.spark import evaluate, featurize, pack, predict

pytestmark = pytest.mark.spark

DATA, LABEL = Field("data", (2, 3), "float32"), Field("label", (), "int64")
NAMES = ["age", "scores", "rate", "flag"]
COLUMNS = {"data": NAMES}
SCHEMA = "label long, flag boolean, scores {scores}, age int, `rate` decimal(4,2), name string"
ROWS = [(i % 2, i % 3 == 0, [i + 0.5, i + 0.25, -i], i, decimal.Decimal(i) / 4, f"customer {i}") for i in range(10)]
NET = MLP.factory((2, 3), classes=2)
WEIGHTS = NET(seed=3).get_weights()


def frame_of(spark, scores="array<double>", rows=ROWS):
    make = {"vector": vector, "binary": lambda v: bytes(int(x) % 256 for x in v)}.get(
        scores, lambda v: list(map(float, v))
    )
    kind = "array<double>" if scores == "vector" else scores
    if scores != "vector":
        return spark.createDataFrame([(*r[:2], make(r[2]), *r[3:]) for r in rows], SCHEMA.format(scores=kind))
    from pyspark.ml.functions import array_to_vector

    return frame_of(spark, rows=rows).withColumn("scores", array_to_vector("scores"))


def vector(values):
    from pyspark.ml.linalg import SparseVector

    return SparseVector(3, dict(enumerate(values)))


def joined(scores="array<double>"):
    """The same rows with one array."""
    whole = [[int(x) % 256 for x in r[2]] if scores == "binary" else r[2] for r in ROWS]
    return [([r[3], *v, float(r[4]), r[1]], r[0]) for r, v in zip(ROWS, whole, strict=True)]


def contents(dataset):
    batches = dataset.batches if isinstance(dataset, local.Dataset) else dataset.to_local().batches
    return [{name: a.to_host().tobytes() for name, a in batch.items()} for batch in batches]


@pytest.mark.parametrize("arrow", [False, True])
@pytest.mark.parametrize("scores", ["array<double>", "array<float>", "vector", "binary"])
def test_a_dataframe_packs_as_if_its_columns_had_been_joined_before(spark, scores, arrow):
    packed = pack(frame_of(spark, scores), [DATA, LABEL], 4, columns=COLUMNS, arrow=arrow, id_column="name")
    assert contents(packed) == contents(local.pack(joined(scores), [DATA, LABEL], 4))


def test_rdds_of_rows_and_of_mappings_pack_as_if_their_columns_had_been_joined_before(spark, context):
    expected = contents(local.pack(joined(), [DATA, LABEL], 4, shuffle=5))
    rdds = [frame_of(spark).rdd, frame_of(spark).rdd.map(lambda row: row.asDict())]
    rdds.append(context.parallelize([{**row.asDict(), "scores": vector(row.scores)} for row in rdds[0].collect()], 3))
    for rdd in rdds:
        assert contents(pack(rdd, [DATA, LABEL], 4, columns=COLUMNS, shuffle=5)) == expected


def test_trained_nets_take_joined_columns(spark):
    frame, options = frame_of(spark), {"fields": [DATA], "columns": COLUMNS, "batch_size": 4}
    whole = local.pack(joined(), [DATA, LABEL], 10)
    net = NET(seed=0)
    net.set_weights(WEIGHTS)
    expected = net.forward(whole.batches[0], ["prob"])["prob"].to_host()
    found = featurize(frame, NET, WEIGHTS, ["prob"], **options).collect()
    assert np.allclose([row.prob for row in found], expected, rtol=1e-6)
    classes = [row["class"] for row in predict(frame.rdd, NET, WEIGHTS, column="class", **options).collect()]
    assert classes == expected.argmax(axis=1).tolist()
    by_rows = evaluate(frame, NET, WEIGHTS, **{**options, "fields": [DATA, LABEL]})
    packed = evaluate(pack(frame, [DATA, LABEL], 4, columns=COLUMNS), NET, WEIGHTS)
    assert by_rows == pytest.approx(packed, rel=1e-6)


# ---- refused
@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (["age", "tenure", "scores"], r"pack\(\): the DataFrame has no column 'tenure'; it has 'label', 'flag', .*"),
        (["age", "name"], r"pack\(\): column 'name' is string; field 'data' .*convert the column first"),
        (["age", "rate"], r"field 'data' float32 \(2, 3\) takes 6 elements; its columns have 2: 'age' 1, 'rate' 1"),
        (["age", "six"], r"takes 6 elements; its columns have 7: 'age' 1, 'six' 6"),
        (["age", "scores", *"abcdefg"], r"takes 6 elements; its columns have 8: 'age' 1, 'scores' \?, 'a' 1, 'b' 1"),
    ],
)
def test_columns_that_cannot_make_up_the_field_are_refused_before_a_job(spark, context, columns, text):
    from pyspark.ml.feature import VectorAssembler

    frame = VectorAssembler(inputCols=["age"] * 6, outputCol="six").transform(frame_of(spark))
    frame = frame.selectExpr("*", *(f"1 as {name}" for name in "abcdefg"))
    before = set(context.statusTracker().getJobIdsForGroup(None))
    with pytest.raises(DataError, match=text):
        pack(frame, [DATA, LABEL], 2, columns={"data": columns})
    with pytest.raises(DataError, match=text.replace("pack", "predict")):
        predict(frame, NET, WEIGHTS, fields=[DATA], columns={"data": columns})
    assert set(context.statusTracker().getJobIdsForGroup(None)) == before


def with_bad_row(kind):
    bad = {
        "null": (3, None, "it is null"),
        "null array": (2, None, "it is null"),
        "longer array": (2, [1.0] * 4, "shape"),
    }
    place, value, reason = bad[kind]
    rows = [list(row) for row in ROWS]
    rows[7][place] = value
    return [tuple(row) for row in rows], {2: "scores", 3: "age"}[place], reason


@pytest.mark.parametrize("arrow", [False, True])
@pytest.mark.parametrize("kind", ["null", "null array", "longer array"])
def test_the_column_of_a_bad_row_is_named(spark, kind, arrow):
    rows, column, reason = with_bad_row(kind)
    frame = spark.createDataFrame(
        spark.sparkContext.parallelize([(*r[:2], r[2] and list(map(float, r[2])), *r[3:]) for r in rows], 2),
        SCHEMA.format(scores="array<double>"),
    )
    place = rf"partition 1, row 2 \(name 'customer 7'\): field 'data', column '{column}', float32 .*{reason}"
    with pytest.raises(DataError, match=place):
        pack(frame, [DATA, LABEL], 2, columns=COLUMNS, arrow=arrow, id_column="name")
    if arrow:
        return
    spared = predict(frame, NET, WEIGHTS, fields=[DATA], columns=COLUMNS, on_error="null").collect()
    assert [i for i, row in enumerate(spared) if row.prediction is None] == [7]
