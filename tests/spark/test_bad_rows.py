"""Rows that cannot be computed fail the job by name, get nulls, or are left out and counted: alike on RDDs and DataFrames."""

import io
import logging
import re
from functools import partial

import numpy as np
import pytest

from sparknet import DataError, Field, NDArray, NetError
from sparknet.data.images import ImageDecoder
from sparknet.data.preprocess import Compose, Decode, Preprocessor, Scale
from sparknet.nets import MLP
from sparknet.spark import BadRows, evaluate, featurize, pack, predict

pytestmark = pytest.mark.spark

FIELDS = [Field("data", (3,))]
FACTORY = MLP.factory((3,), 2)
WEIGHTS = FACTORY(seed=1).get_weights()
GOOD = [[float(i), 1.0, -float(i)] for i in range(20)]
BAD = {3: None, 4: [1.0, None, 2.0], 11: [1.0], 12: [float("nan"), 0.0, 0.0], 13: [float("inf"), 0.0, 0.0]}
CELLS = [BAD.get(i, cell) for i, cell in enumerate(GOOD)]
OPTIONS = {"fields": FIELDS, "batch_size": 5}
REASONS = {
    "partition 0, row 3": "it is null",
    "partition 0, row 4": "it is null or has one",
    "partition 0, row 11": "got a value of shape (1,)",
    "partition 0, row 12": "not finite",
    "partition 0, row 13": "not finite",
}
VERBS = [partial(predict, column="new"), partial(featurize, outputs={"prob": "new"})]


def sources(spark):
    """The same rows as a DataFrame, as Rows, and as mappings; in one partition each."""
    frame = spark.createDataFrame(list(enumerate(CELLS)), "id long, data array<double>").coalesce(1)
    return [frame, frame.rdd, frame.rdd.map(lambda row: row.asDict())]


def values(rows):
    return {
        row["id"]: None if row["new"] is None else np.array(row["new"], np.float64).tolist() for row in rows.collect()
    }


@pytest.mark.parametrize("verb", VERBS)
def test_bad_rows_get_nulls_or_are_left_out_and_the_others_what_they_get_without_them(spark, verb):
    good = spark.sparkContext.parallelize([{"id": i, "data": c} for i, c in enumerate(GOOD) if i not in BAD], 1)
    expected = values(verb(good, FACTORY, WEIGHTS, **OPTIONS))
    for rows in sources(spark):
        for on_error, wanted in (("null", expected | dict.fromkeys(BAD)), ("drop", expected)):
            bad = BadRows()
            found = verb(rows, FACTORY, WEIGHTS, on_error=on_error, bad_rows=bad, **OPTIONS)
            assert bad.count == 0  # lazy, as the rows are
            assert values(found) == {
                i: pytest.approx(v, rel=1e-6) if v is not None else None for i, v in wanted.items()
            }
            assert [row["id"] for row in found.collect()] == sorted(wanted)
            assert bad.count == len(BAD)  # the rows that were computed twice count once
            assert list(bad.reasons) == list(REASONS)
        assert all(reason in bad.reasons[place] for place, reason in REASONS.items())
        assert repr(bad).startswith("<BadRows: 5; partition 0, row 3: field 'data' float32 (3,): ")


def test_a_new_column_may_be_null_only_where_that_was_asked_for(spark):
    frame = sources(spark)[0]
    for on_error, nullable in (("null", True), ("drop", False), ("error", False)):
        assert predict(frame, FACTORY, WEIGHTS, on_error=on_error, **OPTIONS).schema["prediction"].nullable == nullable
    assert predict(frame, FACTORY, WEIGHTS, on_error="null", **OPTIONS).where("prediction is null").count() == len(BAD)


def test_without_a_choice_the_first_bad_row_fails_the_job_by_its_place(spark):
    for rows in sources(spark):
        with pytest.raises(Exception, match=r"predict\(\): partition 0, row 3: field 'data' .* it is null"):
            predict(rows, FACTORY, WEIGHTS, **OPTIONS).collect()


def test_an_image_that_cannot_be_decoded_is_a_bad_row_whether_decode_refuses_or_drops_it(spark):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 8, 7)).save(file, "PNG")
    width = 200
    cells = [np.frombuffer(data.ljust(width, b"\0"), np.uint8).tolist() for data in (file.getvalue(), b"no image")] * 3
    frame = spark.createDataFrame([(i, cell) for i, cell in enumerate(cells)], "id long, data array<int>").coalesce(1)
    net = MLP.factory((3, 4, 4), 2)
    for refusal in ("error", "raise", "drop"):
        steps = Compose(Decode("data", ImageDecoder(4, 4), on_error=refusal), Scale("data", 1 / 256))
        bad = BadRows()
        found = predict(
            frame, net, net(seed=0).get_weights(), fields=[Field("data", (width,), "uint8")], batch_size=4,
            preprocessor=steps, on_error="drop", bad_rows=bad,
        )  # fmt: skip
        assert [row.id for row in found.collect()] == [0, 2, 4]
        assert bad.count == 3


def test_what_no_row_alone_is_to_blame_for_is_raised_whatever_was_chosen(spark):
    rows = spark.sparkContext.parallelize([{"data": GOOD[0], "prediction": 1}], 1)
    with pytest.raises(Exception, match="there is a column 'prediction' already"):
        predict(rows, FACTORY, WEIGHTS, on_error="drop", **OPTIONS).collect()
    with pytest.raises(NetError, match="unknown output 'fc7'"):
        predict(rows, FACTORY, WEIGHTS, "fc7", on_error="null", **OPTIONS)


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_choice_is_refused(spark, verb):
    with pytest.raises(DataError, match=r"\(\): on_error: got 'ignore', expected 'error', 'null' .* or 'drop'"):
        verb(sources(spark)[0], FACTORY, WEIGHTS, on_error="ignore", **OPTIONS)
    with pytest.raises(Exception, match=r"\(\): partition 0, row 3: field 'data' .* it is null"):
        verb(sources(spark)[0], FACTORY, WEIGHTS, on_error="raise", **OPTIONS).collect()


@pytest.mark.parametrize("verb", [*VERBS, evaluate])
def test_a_bad_row_is_named_with_its_id(spark, verb):
    frame = sources(spark)[0].selectExpr("id", "data", "id % 2 AS label", "concat('p', id) AS path")
    options = OPTIONS if verb is not evaluate else {**OPTIONS, "fields": LABELED["fields"]}
    for rows in (frame, frame.rdd, frame.rdd.map(lambda row: row.asDict())):
        bad, run = BadRows(), partial(verb, rows, FACTORY, WEIGHTS, **options)
        with pytest.raises(Exception, match=r"\(\): partition 0, row 3 \(path 'p3'\): field 'data' .* it is null"):
            _all(run(id_column="path"))
        _all(run(id_column="path", on_error="drop", bad_rows=bad))
        assert list(bad.reasons) == [f"partition 0, row {i} (path 'p{i}')" for i in BAD]
    with pytest.raises(DataError, match=r"\(\): the DataFrame has no column 'file'; it has 'id', 'data'"):
        verb(frame, FACTORY, WEIGHTS, id_column="file", **options)
    with pytest.raises(Exception, match=r"\(\): partition 0, row 3: field 'data' .* it is null") as caught:
        _all(verb(frame.rdd, FACTORY, WEIGHTS, id_column="file", **options))  # the place must do
    assert str(caught.value).strip().endswith("; id_column: the row has no 'file'")
    with pytest.raises(DataError, match=r"\(\): got bad_rows= of an earlier call, .*; give each call a BadRows\(\) of"):
        run(on_error="drop", bad_rows=bad)
    assert bad.count == len(BAD)


def _all(found):
    return found if isinstance(found, dict) else found.collect()


def test_packed_data_has_no_id_column(spark):
    packed = pack(spark.sparkContext.parallelize([([1.0, 2.0, 3.0], 0)] * 4, 1), LABELED["fields"], 2)
    with pytest.raises(DataError, match=r"evaluate\(\): got id_column= for packed data, .*: give it to pack\(\)"):
        evaluate(packed, FACTORY, WEIGHTS, id_column="path")


@pytest.mark.parametrize("verb", VERBS)
def test_tuples_with_more_than_the_one_field_are_said_to_need_names(spark, verb):
    rows = spark.sparkContext.parallelize([(cell, 7) for cell in GOOD], 1)
    text = (
        r"the row is a tuple of 2 values, which is taken as the one value of 'data': .* need names \(mappings, Rows\)"
    )
    with pytest.raises(Exception, match=r"\(\): partition 0, row 0: field 'data' .*" + text):
        verb(rows, FACTORY, WEIGHTS, **OPTIONS).collect()
    bad = BadRows()
    assert verb(rows, FACTORY, WEIGHTS, on_error="drop", bad_rows=bad, **OPTIONS).collect() == []
    assert all(re.search(text, reason) for reason in bad.reasons.values())
    named = rows.map(lambda row: {"data": row[0], "label": row[1]})
    assert len(verb(named, FACTORY, WEIGHTS, **OPTIONS).collect()) == len(GOOD)


@pytest.mark.parametrize("verb", [*VERBS, evaluate])
def test_bad_rows_are_not_asked_for_where_the_first_one_fails_the_job(verb):
    with pytest.raises(DataError, match=r"^\w+\(\): got bad_rows= with on_error='error', .*; pass on_error='drop'"):
        verb(None, FACTORY, WEIGHTS, bad_rows=BadRows(), **OPTIONS)


LABELED = {"fields": [*FIELDS, Field("label", (), "int64")], "columns": {"label": "id"}, "batch_size": 4}
TWO_CLASSES = "id % 2 AS id"


@pytest.mark.parametrize("ragged", ["reshape", "drop"])
def test_the_means_of_the_rows_without_the_bad_ones_are_those_that_they_have_alone(spark, caplog, ragged):
    frame = sources(spark)[0].selectExpr(TWO_CLASSES, "data")
    kept = [(i % 2, cell) for i, cell in enumerate(GOOD) if i not in BAD]
    alone = spark.createDataFrame(kept, frame.schema).coalesce(1)
    expected = evaluate(alone, FACTORY, WEIGHTS, ragged=ragged, **LABELED)
    for rows in (frame, frame.rdd, frame.rdd.map(lambda row: row.asDict())):
        bad = BadRows()
        caplog.clear()
        with caplog.at_level(logging.WARNING, "sparknet.clusters.spark.inference.evaluate"):
            found = evaluate(rows, FACTORY, WEIGHTS, ragged=ragged, on_error="drop", bad_rows=bad, **LABELED)
        assert found == expected
        assert list(bad.reasons) == list(REASONS)
        said = [record.getMessage() for record in caplog.records]
        assert said[-1].startswith(
            "evaluate(): 5 rows could not be computed and are left out: <BadRows: 5; partition 0, row 3"
        )
        assert any("3 rows are left out, which make no whole minibatch of 4" in line for line in said) == (
            ragged == "drop"
        )
    with pytest.raises(DataError, match=r"evaluate\(\): partition 0, row 3: field 'data' .* it is null"):
        evaluate(frame, FACTORY, WEIGHTS, **LABELED)


def test_an_image_that_the_preprocessor_leaves_out_is_no_bad_row_of_an_evaluation(spark):
    rows = [{"data": [1.0, 2.0, 3.0], "label": i} for i in (0, 1, 9, 0, 1, 0)] + [{"data": None, "label": 0}]
    bad = BadRows()
    found = evaluate(
        spark.sparkContext.parallelize(rows, 1), FACTORY, WEIGHTS, fields=LABELED["fields"], batch_size=4,
        preprocessor=WithoutNines(), on_error="drop", bad_rows=bad,
    )  # fmt: skip
    assert list(bad.reasons) == ["partition 0, row 6"]
    kept = spark.sparkContext.parallelize([row for row in rows[:6] if row["label"] != 9], 1)
    assert found == pytest.approx(evaluate(kept, FACTORY, WEIGHTS, fields=LABELED["fields"], batch_size=4))


class WithoutNines(Preprocessor):
    """Leaves out the rows with the label 9, and refuses more than five that are left."""

    def fields(self, before):
        return before

    def __call__(self, batch, _rng, *, train):
        del train
        kept = batch["label"].to_host() != 9
        if kept.sum() > 5:
            raise DataError("too many")
        return {name: NDArray(values.to_host()[kept]) for name, values in batch.items()}


def test_an_evaluation_fails_where_no_row_alone_is_bad_and_where_all_are(spark):
    rows = spark.sparkContext.parallelize([{"data": [1.0, 2.0, 3.0], "label": 0}] * 6, 1)
    options = {"fields": LABELED["fields"], "on_error": "drop"}
    with pytest.raises(DataError, match=r"evaluate\(\): partition 0, rows 0 to 5: .*too many"):
        evaluate(rows, FACTORY, WEIGHTS, preprocessor=WithoutNines(), **options)
    with pytest.raises(DataError, match=r"got no rows but 6 that are left out"):
        evaluate(rows.map(lambda row: {**row, "data": None}), FACTORY, WEIGHTS, **options)


def test_an_evaluation_has_no_columns_for_nulls_and_packed_data_no_bad_rows(spark):
    rows = spark.sparkContext.parallelize([{"data": [1.0, 2.0, 3.0], "label": 0}] * 6, 1)
    with pytest.raises(DataError, match=r"on_error: got 'null', expected 'error' or 'drop' .* no new columns"):
        evaluate(rows, FACTORY, WEIGHTS, on_error="null", fields=LABELED["fields"])
    packed = pack(rows, LABELED["fields"], 2)
    with pytest.raises(DataError, match=r"got on_error='drop' for packed data, .* Decode\(..., on_error='drop'\)"):
        evaluate(packed, FACTORY, WEIGHTS, on_error="drop")
    packed.unpersist()


@pytest.mark.parametrize("rows", [None, "whatever they are: they are not looked at"])
def test_pack_leaves_no_row_out_and_names_what_does(rows):
    with pytest.raises(
        DataError, match=r"^pack\(\): got on_error='drop', .*`rows, bad = decode_images\(.*on_error='drop'\)"
    ):
        pack(rows, FIELDS, 2, on_error="drop")
    with pytest.raises(DataError, match=r"^pack\(\): on_error: got 'skip', expected 'error'$"):
        pack(rows, FIELDS, 2, on_error="skip")
    for word in ("error", "raise"):  # goes on to the rows
        with pytest.raises(DataError, match=r"^pack\(\): got (str|NoneType), expected an RDD or a DataFrame"):
            pack(rows, FIELDS, 2, on_error=word)
