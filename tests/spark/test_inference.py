"""featurize, predict and evaluate on Spark give what the net gives in this process, and keep rows, order and columns."""

import os
import re
import threading
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparknet import DataError, Field, MissingDependency, NDArray, NetError, SchemaError, SparkCluster, averaged_sgd
from sparknet.clusters.spark.inference import new_columns
from sparknet.clusters.spark.inference.evaluate import evaluate
from sparknet.clusters.spark.inference.predict import featurize, predict
from sparknet.clusters.spark.inference.row_batches import RowBatches
from sparknet.clusters.spark.inference.trained_net import TrainedNet
from sparknet.clusters.spark.workers import net_cache
from sparknet.clusters.spark.workers.transport import SparkParcel
from sparknet.clusters.totals import mean_metrics
from sparknet.data.blas import single_threaded_blas
from sparknet.data.preprocess import Compose, Crop, LabelMap, Scale
from sparknet.formats import Contents, Taken
from sparknet.nets import MLP
from sparknet.spark import pack
from sparknet.worker import evaluate_shard

pytestmark = pytest.mark.spark

RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 256, (53, 1, 3, 4), np.uint8)
LABELS = RNG.integers(0, 3, 53)
FIELDS = [Field("data", (1, 3, 4), "uint8"), Field("label", (), "int64")]
DATA = FIELDS[:1]
STEPS = Compose(Scale("data", 1 / 256), Crop("data", 3, 3))
FACTORY = MLP.factory((1, 3, 3), 3, (6,))
WEIGHTS = FACTORY(seed=4).get_weights()
OPTIONS = {"batch_size": 8, "preprocessor": STEPS}


def local(images, outputs, labels=None):
    """What the net gives in this process for images that are a minibatch."""
    net = FACTORY(seed=0)
    net.set_weights(WEIGHTS)
    batch = {"data": NDArray(images)} | ({} if labels is None else {"label": NDArray(labels)})
    with single_threaded_blas():
        found = net.forward(STEPS(batch, np.random.default_rng(0), train=False), outputs)
    return {name: values.to_host() for name, values in found.items()}


def expected(sizes, output="prob"):
    """The rows of an output for partitions of these sizes, cut into minibatches of 8 as the tasks do."""
    found, start = [], 0
    for size in sizes:
        for i in range(start, start + size, 8):
            found += list(local(IMAGES[i : min(i + 8, start + size)], [output])[output])
        start += size
    return found


def parted(context, rows, sizes):
    """An RDD of the rows in partitions of these sizes."""
    starts = np.cumsum([0, *sizes])
    parts = [rows[starts[i] : starts[i + 1]] for i in range(len(sizes))]
    return context.parallelize(parts, len(parts)).flatMap(list)


# ---- what is left out is said
def test_pixels_that_reach_the_net_as_they_are_stored_are_told_unless_that_is_said_to_be_meant(spark, caplog):
    rows = spark.sparkContext.parallelize([(IMAGES[0].tobytes(), 1)], 1)
    raw = MLP.factory((1, 3, 4), 3)
    weights = raw(seed=1).get_weights()
    for verb in ("featurize()", "predict()", "evaluate()"):
        run = {"featurize()": partial(featurize, outputs=["prob"]), "predict()": predict, "evaluate()": evaluate}[verb]
        caplog.clear()
        run(rows, raw, weights, fields=FIELDS)
        (said,) = [record.message for record in caplog.records if "preprocessor" in record.message]
        assert said.startswith(f"{verb}: the net gets the pixels of 'data' as they are stored, 0..255")
        caplog.clear()
        run(rows, raw, weights, fields=FIELDS, preprocessor=Compose())
        evaluate(pack(rows, FIELDS, 1), raw, weights)  # what is packed has its own
        assert not [record.message for record in caplog.records if "preprocessor" in record.message]


# ---- the same bits
@settings(max_examples=6)
@given(sizes=st.lists(st.integers(0, 20), min_size=1, max_size=4).filter(lambda s: 0 < sum(s) <= 53))
def test_features_are_those_of_a_local_forward_whatever_the_partitions(spark, sizes):
    rows = [(image.tobytes(), i) for i, image in enumerate(IMAGES[: sum(sizes)])]
    found = featurize(
        parted(spark.sparkContext, [{"data": r, "key": k} for r, k in rows], sizes),
        FACTORY, WEIGHTS, ["scores", "prob"], fields=DATA, **OPTIONS,
    )  # fmt: skip
    assert found.getNumPartitions() == len(sizes)
    collected = found.collect()
    assert [row["key"] for row in collected] == list(range(sum(sizes)))
    assert [row["data"] for row in collected] == [data for data, _ in rows]
    for name in ("scores", "prob"):
        assert [row[name].tobytes() for row in collected] == [v.tobytes() for v in expected(sizes, name)]


def test_predictions_are_the_places_of_the_largest_values(context):
    rdd = parted(context, [(image,) for image in IMAGES], [20, 33])
    found = predict(rdd, FACTORY, WEIGHTS, fields=DATA, **OPTIONS).collect()
    assert [row[1] for row in found] == [int(np.argmax(values)) for values in expected([20, 33])]
    assert {type(row[1]) for row in found} == {int}


def test_weights_are_taken_as_files_and_take_layers_give_them(context):
    rdd = context.parallelize([(image,) for image in IMAGES], 2)
    given = (WEIGHTS, Contents(WEIGHTS, {}), Taken(WEIGHTS, (), (), (), ()))
    found = [[row[1] for row in predict(rdd, FACTORY, each, fields=DATA, **OPTIONS).collect()] for each in given]
    assert len(found[0]) == len(IMAGES)
    assert found[0] == found[1] == found[2]


def test_an_evaluation_is_the_mean_over_all_rows(spark, context):
    rows = list(zip([image.tobytes() for image in IMAGES], LABELS.tolist(), strict=True))
    batches = [
        STEPS({"data": NDArray(IMAGES[i : i + 8]), "label": NDArray(LABELS[i : i + 8])}, RNG, train=False)
        for i in range(0, 53, 8)
    ]
    here = mean_metrics(evaluate_shard(FACTORY(seed=0), batches, WEIGHTS))
    frame = spark.createDataFrame(rows, "data binary, label long").coalesce(1)
    options = {"fields": FIELDS, **OPTIONS}
    assert evaluate(context.parallelize(rows, 1), FACTORY, WEIGHTS, **options) == here
    assert evaluate(frame, FACTORY, WEIGHTS, **options) == here
    spread = evaluate(parted(context, rows, [10, 0, 43]), FACTORY, WEIGHTS, **options)
    assert spread == pytest.approx(here, rel=1e-6)  # other minibatches; BLAS orders its sums by the batch


def test_a_packed_set_is_evaluated_where_it_is_with_the_bits_of_a_training_s_evaluation(spark, context):
    rows = list(zip(IMAGES, LABELS.tolist(), strict=True))
    packed = pack(context.parallelize(rows, 3), FIELDS, 8, STEPS, shards=2)
    run = averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark), tau=2, rounds=1, evaluate=(packed, 1))
    trained = next(run)
    assert evaluate(packed, FACTORY, trained.weights) == trained.metrics
    other = Compose(Scale("data", 1 / 128), Crop("data", 3, 3))
    assert evaluate(packed, FACTORY, trained.weights, preprocessor=other) == evaluate(
        replace(packed, preprocessor=other), FACTORY, trained.weights
    )
    with pytest.raises(DataError, match="reports no number"):
        evaluate(packed, FIRST_ONLY, WEIGHTS)
    with pytest.raises(SchemaError, match="layers"):
        evaluate(packed, FACTORY, MLP.factory((1, 3, 3), 3)(seed=0).get_weights())
    for add in (partial(featurize, outputs=["prob"]), predict):
        with pytest.raises(DataError, match=r"got PackedDataset, .* the rows that were packed; evaluate\(\) takes"):
            add(packed, FACTORY, WEIGHTS, fields=FIELDS)
    with pytest.raises(DataError, match=r"evaluate\(\): got no fields; expected fields="):
        evaluate(packed.rdd, FACTORY, WEIGHTS)
    packed.unpersist()


# ---- rows
def test_rows_of_every_kind_keep_what_they_have(context):
    from pyspark.sql import Row

    images = [image.tobytes() for image in IMAGES[:5]]
    values = [float(v) for v in local(IMAGES[:5], ["scores"])["scores"][:, 0]]
    run = partial(featurize, factory=FIRST, weights=WEIGHTS, outputs={"first": "f"}, fields=DATA, batch_size=8)
    cases = [
        ([{"id": i, "data": image} for i, image in enumerate(images)], lambda row, v: {**row, "f": v}),
        ([Row(id=i, data=image) for i, image in enumerate(images)], lambda row, v: Row(id=row.id, data=row.data, f=v)),
        ([(image,) for image in images], lambda row, v: (*row, v)),
        ([[image] for image in images], lambda row, v: (*row, v)),
        (images, lambda row, v: (row, v)),
    ]
    for rows, extended in cases:
        found = run(context.parallelize(rows, 1)).collect()
        assert found == [extended(row, v) for row, v in zip(rows, values, strict=True)]
        assert {type(row) for row in found} == {type(extended(rows[0], 0.0))}
        assert not isinstance(found[0], Row) or found[0].__fields__ == ["id", "data", "f"]


class First(MLP):
    """A net with an output of one number for each row, and STEPS of its own."""

    def forward(self, batch, outputs=None):
        found = super().forward(STEPS(dict(batch), None, train=False), ["scores"])
        return {name: NDArray(found["scores"].to_host()[:, 0].copy()) for name in outputs}


FIRST = partial(First, (1, 3, 3), 3, (6,))


def test_a_dataframe_keeps_its_columns_types_and_rows(spark):
    from pyspark.sql import types as t

    rows = [(i, {"a": [i]}, None if i % 2 else "x", image.tobytes()) for i, image in enumerate(IMAGES)]
    frame = spark.createDataFrame(rows, "id long, nested map<string,array<int>>, text string, pixels binary").coalesce(
        1
    )
    options = {"fields": DATA, "columns": {"data": "pixels"}, **OPTIONS}
    found = featurize(frame, FACTORY, WEIGHTS, {"prob": "p"}, **options)
    assert found.schema.fields[:4] == frame.schema.fields
    assert found.schema["p"].dataType == t.ArrayType(t.FloatType(), containsNull=False)
    collected = found.collect()
    assert [tuple(row)[:4] for row in collected] == [tuple(row) for row in frame.collect()]
    assert [row.p for row in collected] == [values.tolist() for values in expected([53])]
    classes = predict(frame, FACTORY, WEIGHTS, column="class", **options)
    assert classes.schema["class"].dataType == t.LongType()
    assert [row["class"] for row in classes.collect()] == [int(np.argmax(row.p)) for row in collected]
    one = featurize(frame, FIRST, WEIGHTS, ["first"], fields=DATA, columns={"data": "pixels"})
    assert one.schema["first"].dataType == t.FloatType()
    assert one.where("id = 3").count() == 1


def test_vectors_and_other_columns_pass_through_a_dataframe(spark):
    from pyspark.ml.linalg import Vectors

    net = MLP.factory((2,), 2)
    frame = spark.createDataFrame([(Vectors.dense(1.0, 2.0), 0), (Vectors.sparse(2, {1: 3.0}), 1)], ["x", "label"])
    found = featurize(
        frame, net, net(seed=1).get_weights(), ["prob"], fields=[Field("data", (2,))], columns={"data": "x"}
    )
    assert [row.x for row in found.collect()] == [row.x for row in frame.collect()]


# ---- the worker
class Counted(MLP):
    """Leaves a file for each net that is made: its process and a number."""

    def __init__(self, *args, folder, **options):
        super().__init__(*args, **options)
        (Path(folder) / f"{os.getpid()}-{len(list(Path(folder).iterdir()))}").touch()


def test_the_net_is_made_once_in_each_worker_process(context, tmp_path):
    factory = partial(Counted, (1, 3, 3), 3, (6,), folder=str(tmp_path))
    rdd = context.parallelize([(image,) for image in IMAGES], 6)
    run = partial(featurize, rdd, factory, fields=DATA, outputs=["prob"], **OPTIONS)
    run(WEIGHTS).count()
    run(WEIGHTS).count()  # the same factory and weights: from the cache
    makers = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    workers = [process for process in makers if process != str(os.getpid())]
    assert 0 < len(workers) == len(set(workers)) < 12  # tasks
    other = [row[1] for row in run(WEIGHTS * 2).collect()]  # other weights: another net, and not the old one's values
    assert not np.allclose(other[0], expected([53])[0])


def test_a_net_of_a_worker_has_the_weights_of_its_plan(monkeypatch):
    monkeypatch.setattr(net_cache, "_NETS", OrderedDict())
    trained = [TrainedNet.of("test", FACTORY, WEIGHTS * factor) for factor in (1, 2)]
    nets = [net.sent(SparkParcel(Sent([net.weights])))() for net in trained]
    assert [net.get_weights() for net in nets] == [WEIGHTS, WEIGHTS * 2]
    assert trained[0].sent(None)() is nets[0]


def test_the_net_used_last_is_kept(monkeypatch):
    monkeypatch.setattr(net_cache, "_NETS", OrderedDict())
    for key in "abca":
        net_cache.cached_net(key, lambda key=key: f"net {key}", most=2)
    assert list(net_cache._NETS) == [("c", "cpu"), ("a", "cpu")]
    assert net_cache.cached_net("c", None, most=2) == "net c"
    net_cache.cached_net("d", lambda: "net d", most=1)
    assert list(net_cache._NETS) == [("d", "cpu")]


class Sent:
    """What a worker asks of a broadcast: its value (pyspark.Broadcast.value)."""

    def __init__(self, value):
        self.value = value


def test_an_evaluation_releases_what_it_broadcast(context):
    def files():
        return {p for p in Path(context._temp_dir).rglob("*") if p.is_file()}

    rdd = context.parallelize(list(zip(IMAGES, LABELS.tolist(), strict=True)), 2)
    rdd.count()
    before = files()
    evaluate(rdd, FACTORY, WEIGHTS, fields=FIELDS, **OPTIONS)
    assert files() == before


# ---- mistakes
def test_what_does_not_fit_is_named_before_any_job(spark, context):
    def jobs():
        return context.statusTracker().getJobIdsForGroup(None)

    rdd = context.parallelize([(image,) for image in IMAGES], 2)
    frame = spark.createDataFrame([(IMAGES[0].tobytes(), 1)], "data binary, prob int")
    before = jobs()
    run = partial(featurize, rdd, FACTORY, weights=WEIGHTS, outputs=["prob"], fields=DATA, **OPTIONS)
    with pytest.raises(NetError, match="unknown output 'fc7'"):
        run(outputs=["fc7"])
    with pytest.raises(
        NetError, match=r"predict\(\): .* 'fc7'; there are .* output= names the blob with a value for each class"
    ):
        predict(rdd, FACTORY, WEIGHTS, "fc7", fields=DATA, **OPTIONS)
    with pytest.raises(NetError, match=r"the blob 'loss' has no row for each example: 2 examples give the shape \(\)"):
        run(outputs=["loss"], fields=FIELDS)
    with pytest.raises(SchemaError, match="layers"):
        run(weights=MLP.factory((1, 3, 3), 3)(seed=0).get_weights())
    with pytest.raises(
        SchemaError, match=r"featurize\(\): weights: got the path 'a\.caffemodel', expected a WeightCollection"
    ):
        run(weights="a.caffemodel")
    with pytest.raises(SchemaError, match=r"predict\(\): weights: got the path"):
        predict(rdd, FACTORY, "a.caffemodel", fields=DATA, **OPTIONS)
    with pytest.raises(SchemaError, match=r"evaluate\(\): weights: got the path"):
        evaluate(rdd, FACTORY, "a.caffemodel", fields=FIELDS, **OPTIONS)
    with pytest.raises(NetError, match="input 'data' has examples of shape"):
        run(preprocessor=None)
    with pytest.raises(DataError, match="Crop: 3x3 does not fit"):
        run(fields=[Field("data", (1, 2, 4), "uint8")])
    with pytest.raises(DataError, match="batch_size: got 0"):
        run(batch_size=0)
    for outputs in ("prob", [], None):
        with pytest.raises(
            DataError, match=rf"featurize\(\): got outputs={re.escape(repr(outputs))}, expected names of blobs"
        ):
            featurize(rdd, FACTORY, WEIGHTS, outputs, fields=DATA, **OPTIONS)
    with pytest.raises(DataError, match=r"predict\(\): got output=\['prob'\], expected the name of one blob"):
        predict(rdd, FACTORY, WEIGHTS, ["prob"], fields=DATA, **OPTIONS)
    with pytest.raises(DataError, match=r"predict\(\): got bad_rows=True, expected a BadRows\(\)"):
        predict(rdd, FACTORY, WEIGHTS, fields=DATA, on_error="drop", bad_rows=True, **OPTIONS)
    with pytest.raises(DataError, match=r"featurize\(\): got list, expected an RDD or a DataFrame"):
        featurize([1], FACTORY, WEIGHTS, ["prob"], fields=DATA, **OPTIONS)
    with pytest.raises(DataError, match=r"the DataFrame has no column 'pixels'; it has 'data', 'prob'"):
        featurize(frame, FACTORY, WEIGHTS, ["prob"], fields=DATA, columns={"data": "pixels"}, **OPTIONS)
    with pytest.raises(DataError, match="there is a column 'prob' already; name the new one"):
        featurize(frame, FACTORY, WEIGHTS, ["prob"], fields=DATA, **OPTIONS)
    with pytest.raises(DataError, match="there is a column 'a' already"):
        featurize(frame, FACTORY, WEIGHTS, {"prob": "a", "scores": "a"}, fields=DATA, **OPTIONS)
    with pytest.raises(DataError, match="reports no number"):
        evaluate(rdd, FIRST_ONLY, WEIGHTS, fields=DATA, batch_size=8)
    assert jobs() == before


@pytest.mark.parametrize("add", [featurize, predict, evaluate])
def test_columns_of_a_type_that_no_value_fits_are_refused_at_the_call(spark, add):
    run = partial(add, outputs=["prob"]) if add is featurize else add
    fields = FIELDS if add is evaluate else DATA
    for kind, reason in (("string", "takes numbers, .* convert the column first"), ("int", "takes values of 3 axes")):
        frame = spark.createDataFrame([], f"data {kind}, label int")
        with pytest.raises(DataError, match=rf"^{add.__name__}\(\): column 'data' is {kind}; .*{reason}"):
            run(frame, FACTORY, WEIGHTS, fields=fields, **OPTIONS)


def test_new_columns_of_a_dataframe_differ_by_more_than_case_unless_spark_tells_case_apart(spark):
    frame = spark.createDataFrame([(IMAGES[0].tobytes(), 1)], "data binary, label int")
    run = partial(predict, frame, FACTORY, WEIGHTS, fields=DATA, **OPTIONS)
    with pytest.raises(DataError, match="there is a column 'label' already; name the new one, 'Label', otherwise"):
        run(column="Label")
    with pytest.raises(DataError, match="there is a column 'a' already"):
        featurize(frame, FACTORY, WEIGHTS, {"prob": "a", "scores": "A"}, fields=DATA, **OPTIONS)
    spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        assert run(column="Label").columns == ["data", "label", "Label"]
    finally:
        spark.conf.unset("spark.sql.caseSensitive")
    for rows in (frame, frame.rdd):
        with pytest.raises(DataError, match=r"^predict\(\): got None as the name of a new column, expected text"):
            predict(rows, FACTORY, WEIGHTS, column=None, fields=DATA, **OPTIONS)


def test_what_cannot_be_sent_to_the_executors_is_named_by_the_call_and_the_session_lives(context):
    rdd = context.parallelize(list(zip(IMAGES, LABELS.tolist(), strict=True)), 2)
    run = partial(evaluate, rdd, weights=WEIGHTS, fields=FIELDS, batch_size=8)
    locked = DropsFirst()
    locked.lock = threading.Lock()
    with pytest.raises(
        DataError, match=r"^evaluate\(\): the preprocessor \(DropsFirst\) cannot be sent to the executors"
    ):
        run(factory=FACTORY, preprocessor=locked)
    with pytest.raises(
        DataError, match=r"^evaluate\(\): the factory \(partial\) cannot be sent to the executors: TypeEr"
    ):
        run(factory=partial(FACTORY, locked.lock), preprocessor=STEPS)
    assert rdd.map(len).count() == 53


class FirstOnly(First):
    """A net that reports no number."""

    def forward(self, batch, outputs=None):
        return super().forward(batch, outputs or ["first"])


FIRST_ONLY = partial(FirstOnly, (1, 3, 3), 3, (6,))


def test_a_bad_row_is_named_by_its_place(context):
    rows = [(image.tobytes(), int(label)) for image, label in zip(IMAGES, LABELS, strict=True)]
    rows[40] = (b"123", 0)
    rdd = parted(context, rows, [20, 33])
    with pytest.raises(
        DataError, match=r"evaluate\(\): partition 1, row 20: field 'data' .* got a value of shape \(3,\)"
    ):
        evaluate(rdd, FACTORY, WEIGHTS, fields=FIELDS, **OPTIONS)
    features = featurize(rdd, FACTORY, WEIGHTS, ["prob"], fields=FIELDS, **OPTIONS)
    with pytest.raises(Exception, match=r"featurize\(\): partition 1, row 20: field 'data'"):
        features.count()
    mapped = Compose(STEPS, LabelMap("label", {0: 0, 1: 1}))
    good = [row for row in rows if len(row[0]) > 3]
    first = next(i for i, (_, label) in enumerate(good) if label == 2)
    with pytest.raises(
        DataError, match=rf"partition 0, row {first}: LabelMap: example {first % 8} of the batch has the label 2"
    ):
        evaluate(context.parallelize(good, 1), FACTORY, WEIGHTS, fields=FIELDS, batch_size=8, preprocessor=mapped)
    with pytest.raises(DataError, match="got no rows"):
        evaluate(context.parallelize([], 2), FACTORY, WEIGHTS, fields=FIELDS, **OPTIONS)


def test_a_column_that_rows_of_an_rdd_have_already_is_named_and_not_overwritten(context):
    from pyspark.sql import Row

    options = {"fields": DATA, **OPTIONS}
    there = r"there is a column 'prediction' already; name the new one"
    for row in ({"prediction": 7, "data": IMAGES[0]}, Row(prediction=7, data=IMAGES[0].tobytes())):
        with pytest.raises(DataError, match=there):
            new_columns.with_values(row, [np.int64(3)], names=["prediction"])
        found = predict(context.parallelize([row], 1), FACTORY, WEIGHTS, **options)
        with pytest.raises(Exception, match=rf"DataError: predict\(\): partition 0, rows 0 to 0: {there}"):
            found.collect()
    rdd = context.parallelize([{"data": IMAGES[0]}], 1)
    with pytest.raises(DataError, match=r"featurize\(\): there is a column 'a' already"):
        featurize(rdd, FACTORY, WEIGHTS, {"prob": "a", "scores": "a"}, **options)


def test_an_error_of_a_minibatch_keeps_its_type_and_all_its_fields():
    batches = RowBatches.of("test()", DATA, None, 8, None)
    error = MissingDependency("no caffe", name="caffe", path="/here")  # slots of ImportError
    with (
        pytest.raises(MissingDependency, match=r"^test\(\): partition 2, rows 8 to 15: no caffe$") as caught,
        batches.placing(2, range(8, 16), [(b"",)] * 8),
    ):
        raise error
    assert (caught.value.name, caught.value.path, caught.value.partition) == ("caffe", "/here", 2)
    with (
        pytest.raises(DataError, match=r"^test\(\): partition 2, row 11: no label$") as caught,
        batches.placing(2, range(8, 16), [(b"",)] * 8),
    ):
        raise DataError("row 3: no label", row=3, reason="no label")
    assert (caught.value.partition, caught.value.row) == (2, 11)
    with (
        pytest.raises(NetError, match=r"^test\(\): partition 2, row 11: example 3 is infinite$") as caught,
        batches.placing(2, range(8, 16), [(b"",)] * 8),
    ):
        raise NetError("example 3 is infinite", row=3, input="data")
    assert (caught.value.row, caught.value.input) == (11, "data")


class DropsFirst:
    """A preprocessor that leaves a row out."""

    def __call__(self, batch, rng, *, train):
        return {name: array[1:] for name, array in STEPS(batch, rng, train=train).items()}

    def fields(self, fields):
        return STEPS.fields(fields)


def test_a_preprocessor_that_leaves_rows_out_is_refused_and_not_misread(context):
    rdd = context.parallelize([(image,) for image in IMAGES], 1)
    features = featurize(rdd, FACTORY, WEIGHTS, ["prob"], fields=DATA, batch_size=8, preprocessor=DropsFirst())
    with pytest.raises(Exception, match="the preprocessor made 7 rows of 8; expected one for each row"):
        features.count()


# ---- through Caffe
SOLVER = 'base_lr: 0.1 lr_policy: "fixed" net_param { %s }'
TINY = Path(__file__).parents[1] / "nets" / "tiny" / "tiny_train_test.prototxt"


@pytest.mark.caffe
def test_any_blob_of_a_caffe_net_with_ragged_ends_bit_for_bit(spark, context):
    from sparknet.nets import CaffeNet

    factory = CaffeNet.factory(SOLVER % TINY.read_text(encoding="utf-8"))
    net = factory(seed=3)
    images = RNG.normal(size=(21, 1, 6, 6)).astype(np.float32)
    rows = [(i, image.ravel().tolist()) for i, image in enumerate(images)]
    frame = spark.createDataFrame(rows, "id long, pixels array<float>").coalesce(1)
    fields, columns = [Field("data", (1, 6, 6))], {"data": "pixels"}
    found = featurize(
        frame, factory, net.get_weights(), ["conv1", "prob"], fields=fields, columns=columns, batch_size=8
    )
    for i, row in enumerate(found.collect()):
        start = i - i % 8
        here = net.forward({"data": NDArray(images[start : start + 8])}, ["conv1", "prob"])
        assert row.id == i
        for name in ("conv1", "prob"):
            assert np.array(row[name], np.float32).tobytes() == here[name].to_host()[i - start].tobytes()
    labels = context.parallelize([(image, 1) for image in images], 1)
    means = evaluate(labels, factory, net.get_weights(), fields=[*fields, Field("label")], batch_size=21)
    whole = net.forward({"data": NDArray(images), "label": NDArray(np.ones(21))}, ["accuracy", "loss"])
    assert means["accuracy"] == pytest.approx(float(whole["accuracy"]), abs=1e-9)
    assert means["loss"] == pytest.approx(float(whole["loss"]), rel=1e-12)
    with pytest.raises(NetError, match="no blob 'fc7'; the net has data, label"):
        featurize(frame, factory, net.get_weights(), ["fc7"], fields=fields, columns=columns)
