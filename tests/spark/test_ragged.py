"""Short minibatches and other batch axes on Spark are what they are in memory; nets that fix their rows get whole ones."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparknet import DataError, Field, LocalCluster, NetError, SparkCluster, averaged_sgd
from sparknet import data as local
from sparknet.clusters.spark.inference.evaluate import evaluate
from sparknet.clusters.spark.inference.predict import featurize, predict
from sparknet.spark import load_packed, pack

pytestmark = pytest.mark.spark

FIELDS = [Field("data", (6,)), Field("label", (), "int64")]
NET = """
layer { name: "in" type: "Input" top: "data" top: "label" input_param { shape { dim: 10 dim: 6 } shape { dim: 10 } } }
layer { name: "fold" type: "Reshape" bottom: "data" top: "fold" reshape_param { shape { dim: 10 dim: 2 dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "fold" top: "fc"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" loss_param { ignore_label: -1 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" include { phase: TEST } }
"""


def examples(n):
    rng = np.random.default_rng(n)
    label = rng.integers(0, 3, n)
    data = rng.normal(0, 0.3, (n, 6)).astype(np.float32)
    data[np.arange(n), label] += 1
    return data, label


def rows(n):
    data, label = examples(n)
    return [(x, int(y)) for x, y in zip(data, label, strict=True)]


def contents(dataset):
    return [{name: a.to_host().tolist() for name, a in batch.items()} for batch in dataset.batches]


@settings(max_examples=5)
@given(n=st.integers(4, 30), shuffle=st.none() | st.integers(0, 3), shards=st.integers(1, 3))
def test_dropping_keeps_the_minibatches_of_a_packing_in_memory(spark, n, shuffle, shards):
    packed = pack(spark.sparkContext.parallelize(rows(n), 3), FIELDS, 4, shuffle=shuffle, shards=shards, ragged="drop")
    data, label = examples(n)
    expected = local.pack({"data": data, "label": label}, FIELDS, 4, shuffle=shuffle, ragged="drop")
    assert (packed.count(), packed.num_batches) == (expected.count(), expected.num_batches) == (n - n % 4, n // 4)
    assert contents(packed.to_local()) == contents(expected)
    packed.unpersist()


def test_saved_sets_and_parts_of_them_keep_the_choice(spark, context, tmp_path, caplog):
    packed = pack(context.parallelize(rows(27), 2), FIELDS, 4, ragged="pad", padding={"label": -1})
    packed.save(tmp_path / "padded")
    again = load_packed(spark, tmp_path / "padded")
    assert (again.ragged, again.padding, again.count()) == ("pad", {"label": -1}, 27)
    for part in (*packed.train_test_split(0.3, seed=2), packed.reshard(3), packed.to_local()):
        assert (part.ragged, part.padding) == ("pad", {"label": -1})
    caplog.clear()
    dropped = load_packed(spark, tmp_path / "padded", ragged="drop")
    assert caplog.messages == [
        "load_packed(): 3 of 27 examples are left out: they make no whole minibatch of 4 (ragged='drop')"
    ]
    assert (dropped.count(), dropped.padding) == (24, None)
    train, test = dropped.train_test_split(0.25, seed=2)
    assert (train.count(), test.count()) == (16, 4)
    here = dropped.to_local().train_test_split(0.25, seed=2)
    assert [contents(part.to_local()) for part in (train, test)] == [contents(part) for part in here]


def test_a_choice_that_is_none_is_refused_at_the_call(context):
    with pytest.raises(DataError, match="ragged='cut', expected one of"):
        pack(context.parallelize(rows(5)), FIELDS, 4, ragged="cut")


@pytest.mark.caffe
@pytest.mark.parametrize("ragged", ["drop", "pad"])
def test_a_net_of_fixed_rows_trains_and_is_evaluated_with_the_bits_of_the_local_cluster(spark, context, ragged):
    from sparknet.nets import CaffeNet

    net = CaffeNet.factory(f'base_lr: 0.1 lr_policy: "fixed" net_param {{ {NET} }}')
    data, label = examples(47)
    here = local.pack({"data": data, "label": label}, FIELDS, 10, ragged=ragged)
    there = pack(context.parallelize(rows(47), 3), FIELDS, 10, shards=2, ragged=ragged)
    options = {"workers": 2, "tau": 3, "rounds": 2}
    ours = list(averaged_sgd(net, there, cluster=SparkCluster(spark), evaluate=(there, 1), **options))
    theirs = list(averaged_sgd(net, here, cluster=LocalCluster(), evaluate=(here, 1), **options))
    assert [r.weights for r in ours] == [r.weights for r in theirs]
    assert [(r.metrics, r.examples, r.loss) for r in ours] == [(r.metrics, r.examples, r.loss) for r in theirs]
    assert evaluate(there, net, ours[-1].weights) == ours[-1].metrics
    as_it_is = replace(there, ragged=None)
    if ragged == "pad":
        with pytest.raises(NetError, match=r"^evaluate\(\): evaluation: the last minibatch, of 7 rows .*layer 'fold'"):
            evaluate(as_it_is, net, ours[-1].weights)
        assert evaluate(as_it_is, net, ours[-1].weights, ragged="pad") == ours[-1].metrics


@pytest.mark.caffe
def test_rows_are_featurized_by_a_net_of_fixed_rows_whatever_the_partitions(context):
    from sparknet.nets import CaffeNet

    solver = 'base_lr: 0.1 lr_policy: "fixed" net_param {{ {} }}'
    fixed = CaffeNet.factory(solver.format(NET))
    free = CaffeNet.factory(solver.format(NET.replace("dim: 10 dim: 2 dim: 3", "dim: 0 dim: 2 dim: 3")))
    weights = fixed(seed=3).get_weights()
    rdd = context.parallelize([(x,) for x, _ in rows(33)], 2)
    options = {"fields": FIELDS[:1], "batch_size": 10}
    ours, theirs = (featurize(rdd, net, weights, ["prob"], **options).collect() for net in (fixed, free))
    assert len(ours) == 33
    # a row's sums are those of its own values, whatever is beside it: BLAS may order them by the rows
    assert np.allclose([row[1] for row in ours], [row[1] for row in theirs], rtol=0, atol=1e-6)
    classes = [row[1] for row in predict(rdd, fixed, weights, **options).collect()]
    assert classes == [int(np.argmax(row[1])) for row in ours]
    with pytest.raises(NetError, match=r"layer 'fold' .* with a batch of 9 rows .* \(a batch size of 10 fits\)"):
        featurize(rdd, fixed, weights, ["prob"], fields=FIELDS[:1], batch_size=9)


@pytest.mark.caffe
def test_rows_are_evaluated_by_a_net_of_fixed_rows_as_they_are_asked_to_be(context, caplog):
    from sparknet.nets import CaffeNet

    solver = 'base_lr: 0.1 lr_policy: "fixed" net_param {{ {} }}'
    fixed = CaffeNet.factory(solver.format(NET))
    free = CaffeNet.factory(solver.format(NET.replace("dim: 10 dim: 2 dim: 3", "dim: 0 dim: 2 dim: 3")))
    weights = fixed(seed=3).get_weights()
    every, whole = rows(33), rows(33)[:10] + rows(33)[16:26]
    rdd = context.parallelize(every, 2)  # 16 rows and 17
    options = {"fields": FIELDS, "batch_size": 10}
    with pytest.raises(
        NetError, match=r"evaluate\(\): ragged='drop' leaves out .*ragged='pad' fills it up: .*layer 'fold'"
    ):
        evaluate(rdd, fixed, weights, **options)
    padded = evaluate(rdd, fixed, weights, ragged="pad", **options)
    assert padded == pytest.approx(evaluate(rdd, free, weights, **options), rel=1e-5)
    dropped = evaluate(rdd, fixed, weights, ragged="drop", **options)
    assert caplog.messages[-1] == "evaluate(): 13 rows are left out, which make no whole minibatch of 10"
    assert dropped == evaluate(context.parallelize(whole, 1), fixed, weights, ragged="drop", **options)
    with pytest.raises(DataError, match="got no rows but 7 that are left out"):
        evaluate(context.parallelize(every[:7], 1), fixed, weights, ragged="drop", **options)


# ---- time before the batch
TIMES = """
layer { name: "in" type: "Input" top: "data" top: "cont" top: "label"
        input_param { shape { dim: 5 dim: 4 dim: 3 } shape { dim: 5 dim: 4 } shape { dim: 5 dim: 4 } } }
layer { name: "lstm" type: "LSTM" bottom: "data" bottom: "cont" top: "lstm"
        recurrent_param { num_output: 6 weight_filler { type: "uniform" min: -0.5 max: 0.5 } } }
layer { name: "fc" type: "InnerProduct" bottom: "lstm" top: "fc"
        inner_product_param { num_output: 2 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" softmax_param { axis: 2 } }
"""


@pytest.mark.caffe
def test_sequences_train_and_are_featurized_as_in_this_process(spark, context, tmp_path):
    from sparknet import NDArray
    from sparknet.nets import CaffeNet

    rng = np.random.default_rng(3)
    sequences = [
        (rng.normal(size=(5, 3)).astype(np.float32), np.array([0, 1, 1, 1, 1], np.float32), rng.integers(0, 2, 5))
        for _ in range(22)
    ]
    fields = [
        Field("data", (5, 3), batch_axis=1),
        Field("cont", (5,), batch_axis=1),
        Field("label", (5,), "int64", batch_axis=1),
    ]
    net = CaffeNet.factory(f'base_lr: 0.1 lr_policy: "fixed" net_param {{ {TIMES} }}', fields=fields)
    there = pack(context.parallelize(sequences, 3), fields, 4, shards=2)
    here = local.pack(sequences, fields, 4)
    options = {"workers": 2, "tau": 3, "rounds": 2}
    ours = list(averaged_sgd(net, there, cluster=SparkCluster(spark), evaluate=(there, 1), **options))
    theirs = list(averaged_sgd(net, here, cluster=LocalCluster(), evaluate=(here, 1), **options))
    assert [(r.weights, r.metrics) for r in ours] == [(r.weights, r.metrics) for r in theirs]
    there.save(tmp_path / "sequences")
    assert load_packed(spark, tmp_path / "sequences").fields == tuple(fields)
    weights, rdd = ours[-1].weights, context.parallelize([row[:2] for row in sequences], 1)
    found = featurize(rdd, net, weights, ["fc"], fields=fields[:2], batch_size=22).collect()
    made = net(seed=0)
    made.set_weights(weights)
    batch = {f.name: NDArray(np.stack(values)) for f, values in zip(fields, zip(*sequences, strict=True), strict=True)}
    expected = made.forward(batch, ["fc"])["fc"].to_host()
    assert expected.shape == (22, 5, 2)
    assert all(np.array_equal(row[2], values) for row, values in zip(found, expected, strict=True))
    with pytest.raises(NetError, match=r"examples of shape \(5, 2\), expected one value for each class; featurize\(\)"):
        predict(rdd, net, weights, "fc", fields=fields[:2])
    with pytest.raises(DataError, match=r"with batch_axis 2 is for an input with the batch on axis 2; .* axis 1"):
        featurize(rdd, net, weights, ["fc"], fields=[Field("data", (5, 3), batch_axis=2), fields[1]])
