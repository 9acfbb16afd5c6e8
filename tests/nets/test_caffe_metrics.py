"""What an evaluation reports is a mean over all that counts, whatever the batch size."""

import math

import numpy as np
import pytest
from without_steps import rounds_without_steps

from sparknet import DataError, Field, LocalCluster, NDArray, averaged_sgd
from sparknet.clusters.totals import mean_metrics
from sparknet.data import pack
from sparknet.nets.caffe import CaffeNet
from sparknet.worker import evaluate_shard

pytestmark = pytest.mark.caffe

NET = """
layer {{ name: "in" type: "Input" top: "data" top: "label"
         input_param {{ shape {{ dim: 4 dim: 3 }} shape {{ dim: 4 dim: {labels} }} }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
         inner_product_param {{ num_output: {outputs} weight_filler {{ type: "gaussian" std: 1 }} }} }}
{reporting}
"""
LOSS = 'layer {{ name: "loss" type: "{type}" bottom: "ip" bottom: "label" top: "loss" loss_param {{ {param} }} }}'
ACCURACY = (
    'layer {{ name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc" accuracy_param {{ {param} }} }}'
)
GAIN = """layer { name: "H" type: "DummyData" top: "H"
    dummy_data_param { shape { dim: 2 dim: 2 } data_filler { type: "constant" value: 0.5 } } }"""
INFOGAIN = (
    'layer {{ name: "loss" type: "InfogainLoss" bottom: "ip" bottom: "label" bottom: "H" top: "loss" '
    "loss_param {{ {param} }} }}"
)
IGNORING = "ignore_label: -1"
ROWS = 10
DATA = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
LABELS = np.array([0, 1, 1, 0, 1, -1, -1, -1, -1, 0])
FIELDS = [Field("data", (3,)), Field("label", (), "int64")]


def net_of(*reporting, outputs=2, labels=1):
    text = NET.format(reporting="\n".join(reporting), outputs=outputs, labels=labels)
    return CaffeNet(f'base_lr: 0.1 lr_policy: "fixed" net_param {{ {text} }}', seed=1)


def found(net, labels, size):
    batches = [
        {"data": NDArray(DATA[i : i + size]), "label": NDArray(labels[i : i + size])} for i in range(0, ROWS, size)
    ]
    return mean_metrics(evaluate_shard(net, batches, net.get_weights()))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("normalization", ["", "normalization: VALID", "normalize: true", "normalization: FULL"])
def test_labels_that_are_ignored_do_not_count(size, normalization):
    net = net_of(
        LOSS.format(type="SoftmaxWithLoss", param=f"{IGNORING} {normalization}"), ACCURACY.format(param=IGNORING)
    )
    whole = net.forward({"data": NDArray(DATA), "label": NDArray(LABELS)})
    metrics = found(net, LABELS, size)
    assert metrics["acc"] == pytest.approx(float(whole["acc"]), rel=1e-6)
    assert metrics["loss"] == pytest.approx(float(whole["loss"]), rel=1e-6)


@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize(
    "normalization", ["", "normalization: VALID", "normalization: FULL", "normalization: BATCH_SIZE", "normalize: true"]
)
def test_targets_that_are_ignored_do_not_count_with_several_of_them(size, normalization):
    net = net_of(LOSS.format(type="SigmoidCrossEntropyLoss", param=f"{IGNORING} {normalization}"), labels=2)
    # the fraction of a target is cut off before it is compared, so -1.5 is ignored and 0.5 is not
    targets = np.stack([np.where(LABELS < 0, -1.5, LABELS), np.arange(ROWS) % 2 / 2], axis=1).astype(np.float32)
    whole = net.forward({"data": NDArray(DATA), "label": NDArray(targets)})
    assert found(net, targets, size)["loss"] == pytest.approx(float(whole["loss"]), rel=1e-6)


@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize("normalization", ["", "normalization: FULL"])
def test_an_infogain_loss_is_a_mean_over_the_labels_that_count(size, normalization):
    net = net_of(GAIN, INFOGAIN.format(param=f"{IGNORING} {normalization}"))
    whole = net.forward({"data": NDArray(DATA), "label": NDArray(LABELS)})
    assert found(net, LABELS, size)["loss"] == pytest.approx(float(whole["loss"]), rel=1e-6)


def test_an_infogain_loss_takes_labels_of_its_classes_alone():
    net = net_of(GAIN, INFOGAIN.format(param=""))
    with pytest.raises(DataError, match="got the label 2; layer 'loss' has 2 classes"):
        net.forward({"data": NDArray(DATA), "label": NDArray(np.full(ROWS, 2))})


@pytest.mark.parametrize("size", [1, 3, 10])
def test_a_loss_that_is_a_sum_is_divided_by_the_examples(size):
    net = net_of(LOSS.format(type="SoftmaxWithLoss", param="normalization: NONE"), ACCURACY.format(param=""))
    labels = np.abs(LABELS)
    whole = net.forward({"data": NDArray(DATA), "label": NDArray(labels)})
    metrics = found(net, labels, size)
    assert metrics["loss"] == pytest.approx(float(whole["loss"]) / ROWS, rel=1e-6)
    assert metrics["acc"] == pytest.approx(float(whole["acc"]), rel=1e-6)


@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize("kind", ["SigmoidCrossEntropyLoss", "EuclideanLoss"])
def test_losses_with_several_targets_are_means_over_the_examples(kind, size):
    net = net_of(LOSS.format(type=kind, param=""), outputs=2, labels=2)
    labels = np.stack([np.abs(LABELS), np.arange(ROWS) % 2], axis=1)
    whole = net.forward({"data": NDArray(DATA), "label": NDArray(labels)})
    assert found(net, labels, size)["loss"] == pytest.approx(float(whole["loss"]), rel=1e-6)


def test_a_mean_of_nothing_is_nan():
    net = net_of(LOSS.format(type="SoftmaxWithLoss", param=IGNORING), ACCURACY.format(param=IGNORING))
    assert all(math.isnan(value) for value in found(net, np.full(ROWS, -1), 5).values())


def test_training_reports_the_same_for_every_batch_size():
    net = net_of(LOSS.format(type="SoftmaxWithLoss", param=IGNORING), ACCURACY.format(param=IGNORING))
    text = NET.format(
        reporting=LOSS.format(type="SoftmaxWithLoss", param=IGNORING) + ACCURACY.format(param=IGNORING),
        outputs=2,
        labels=1,
    )
    factory = CaffeNet.factory(solver=f'base_lr: 0.1 lr_policy: "fixed" net_param {{ {text} }}')
    weights = net.get_weights()
    metrics = []
    for size in (2, 10):
        data = pack({"data": DATA, "label": LABELS}, FIELDS, size)
        with rounds_without_steps():
            run = averaged_sgd(
                factory, data, cluster=LocalCluster(), tau=0, rounds=1, evaluate=(data, 1), weights=weights
            )
        metrics.append(next(iter(run)).metrics)
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-6)


PER_CLASS = 'layer {{ name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc" top: "each" accuracy_param {{ {param} }} }}'


@pytest.mark.parametrize("size", [1, 3, 4, 10])
@pytest.mark.parametrize("param", ["", IGNORING])
def test_the_accuracy_of_each_class_is_over_its_own_labels(size, param):
    net = net_of(PER_CLASS.format(param=param), outputs=4)
    labels = LABELS if param else np.where(LABELS < 0, 3, LABELS)
    scores = net.forward({"data": NDArray(DATA), "label": NDArray(labels)}, ["ip"])["ip"].to_host()
    right = scores.argmax(1) == labels
    metrics = found(net, labels, size)
    for i in range(4):
        expected = right[labels == i].mean() if (labels == i).any() else math.nan  # no label, no accuracy
        assert metrics[f"each/{i}"] == pytest.approx(expected, nan_ok=True)
    assert metrics["acc"] == pytest.approx(right[labels >= 0].mean())
    assert set(metrics) == {"acc", *(f"each/{i}" for i in range(4))}


@pytest.mark.parametrize("size", [1, 3, 10])
def test_a_top_with_a_loss_weight_is_a_metric_whatever_its_shape(size):
    weighted = 'layer { name: "n" type: "Reduction" bottom: "ip" top: "n" loss_weight: 0.5 reduction_param { operation: ASUM axis: 1 } }'
    net = net_of(
        weighted,
        'layer { name: "p" type: "Softmax" bottom: "ip" top: "p" }',
        'layer { type: "Silence" bottom: "label" }',
    )
    out = net.forward({"data": NDArray(DATA), "label": NDArray(np.abs(LABELS))}, ["ip"])["ip"].to_host()
    metrics = found(net, np.abs(LABELS), size)
    assert metrics == {
        "n": pytest.approx(np.abs(out).sum() / ROWS, rel=1e-5)
    }  # of each example, so no sum over the batch


def test_one_number_in_an_array_is_a_metric():
    number = 'layer { name: "r" type: "Reshape" bottom: "loss" top: "r" reshape_param { shape { dim: 1 } } }'
    net = net_of(LOSS.format(type="SoftmaxWithLoss", param=""), number)
    labels = np.abs(LABELS)
    whole = net.forward({"data": NDArray(DATA), "label": NDArray(labels)})
    assert whole["r"].shape == (1,)
    assert found(net, labels, 5) == {"r": pytest.approx(float(whole["r"][0]), rel=1e-6)}


@pytest.mark.parametrize("size", [1, 3, 10])
def test_a_reduction_that_adds_up_a_batch_is_told_for_each_example(size):
    total = 'layer { name: "n" type: "Reduction" bottom: "ip" top: "n" reduction_param { operation: SUMSQ } }'
    net = net_of(total, 'layer { type: "Silence" bottom: "label" }')
    whole = net.forward({"data": NDArray(DATA), "label": NDArray(np.abs(LABELS))})["n"].to_host()
    assert found(net, np.abs(LABELS), size) == {"n": pytest.approx(float(whole) / ROWS, rel=1e-5)}
