"""Caffe nets as published files write them, on Spark: the numbers and names of a local run, bit for bit."""

import numpy as np
import pytest

from sparknet import Field, LocalCluster, averaged_sgd
from sparknet.data import pack
from sparknet.nets.caffe import CaffeNet

pytestmark = [pytest.mark.spark, pytest.mark.caffe]

# Odd names, two layers called "loss", a layer of the test phase alone that shares weights, an accuracy for each class.
NET = """
layer { name: "in" type: "Input" top: "data" top: "label" input_param { shape { dim: 8 dim: 6 } shape { dim: 8 } } }
layer { name: "a/1x1 \\316\\251" type: "InnerProduct" bottom: "data" top: "fc" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { type: "ReLU" bottom: "fc" top: "relu" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "alone" type: "InnerProduct" bottom: "data" top: "fc2" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } include { phase: TEST } }
layer { name: "loss" type: "Accuracy" bottom: "fc2" bottom: "label" top: "acc" top: "each" include { phase: TEST } }
layer { name: "far" type: "EuclideanLoss" bottom: "fc" bottom: "fc2" top: "far" include { phase: TEST } }
layer { type: "Silence" bottom: "relu" }
"""
FIELDS = [Field("data", (6,)), Field("label", (), "int64")]
DATA = np.random.default_rng(0).random((37, 6)).astype(np.float32)
LABEL = np.arange(37) % 3


def test_names_shared_weights_and_class_accuracies_are_those_of_a_local_run(spark, context):
    from sparknet.spark import SparkCluster
    from sparknet.spark import pack as pack_on_spark

    factory = CaffeNet.factory(f'base_lr: 0.5 lr_policy: "fixed"\nnet_param {{ {NET} }}')

    def run(cluster, data):
        rounds = averaged_sgd(factory, data, cluster=cluster, workers=2, tau=2, rounds=2, seed=3, evaluate=(data, 1))
        return [(dict(each.metrics), each.weights) for each in rounds]

    local = run(LocalCluster(), pack({"data": DATA, "label": LABEL}, FIELDS, 8))
    rows = context.parallelize(list(zip(DATA, LABEL, strict=True)), 2)
    on_spark = run(SparkCluster(spark), pack_on_spark(rows, FIELDS, batch_size=8, shards=2))
    assert on_spark == local
    metrics, weights = local[-1]
    assert metrics.keys() == {"loss", "acc", "each/0", "each/1", "each/2", "far"}
    assert metrics["far"] == 0
    assert list(weights) == ["a/1x1 Ω"]
