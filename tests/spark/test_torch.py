"""TorchNet on Spark: the bits of this process, and its outputs as columns. It runs in the session of torch."""

import copy
import threading

import pytest
import torch
import torch_plain
from pyspark import cloudpickle
from torch.nn import functional
from torch_plain import FIELDS, OPTIMIZERS, SCHEDULERS, Counting, columns, small

from sparknet import LocalCluster, averaged_sgd
from sparknet.averaging import Mean, Momentum
from sparknet.errors import DataError
from sparknet.nets import TorchNet
from sparknet.nets.torch import accuracy
from sparknet.spark import SparkCluster, featurize, pack

# Importing torch takes a worker many seconds where others use the cores.
pytestmark = [pytest.mark.spark, pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(1200)]

# The executors cannot import a file of tests; users send theirs by --py-files.
cloudpickle.register_pickle_by_value(torch_plain)

NET = TorchNet.factory(
    small,
    optimizer=OPTIMIZERS["AdamW"],
    loss=functional.cross_entropy,
    scheduler=SCHEDULERS["cosine"],
    metrics={"accuracy": accuracy},
)


def rows(count=90):
    given = columns(count)
    return [(x.tolist(), int(y)) for x, y in zip(given["data"], given["label"], strict=True)]


@pytest.fixture(scope="module")
def data(spark):
    packed = pack(spark.sparkContext.parallelize(rows(), 2), FIELDS, batch_size=10)
    yield packed
    packed.unpersist()


@pytest.mark.parametrize("policy", ["average", "local"])
def test_rounds_on_spark_have_the_bits_of_this_process(spark, data, policy):
    options = {"workers": 2, "tau": 3, "rounds": 3, "seed": 5, "solver_state": policy}
    here, there = (
        list(averaged_sgd(NET, packed, cluster=cluster, evaluate=(packed, 2), **options))
        for cluster, packed in ((LocalCluster(), data.to_local()), (SparkCluster(spark), data))
    )
    for mine, theirs in zip(here, there, strict=True):
        assert mine.weights == theirs.weights
        assert (mine.loss, mine.metrics) == (theirs.loss, theirs.metrics)


@pytest.mark.parametrize("transport", ["spark", "direct"])
@pytest.mark.parametrize("rule", [Mean(), Momentum(0.7, 0.9)], ids=repr)
def test_integers_of_the_first_worker_are_taken_on_spark_too(spark, data, transport, rule):
    options = {"workers": 2, "tau": 2, "rounds": 3, "seed": 4, "rule": rule}
    net = TorchNet.factory(Counting, optimizer=OPTIMIZERS["plain SGD"], loss=functional.cross_entropy)
    here, there = (
        [each.weights for each in averaged_sgd(net, packed, cluster=cluster, **options)]
        for cluster, packed in (
            (LocalCluster(), data.to_local()),
            (SparkCluster(spark, transport=transport), data),
        )
    )
    assert here == there
    first = data.to_local().map_shards(lambda shard: list(shard.feed(6, seed=4)), workers=2)[0]
    assert there[-1]["order"][0].to_host().tolist() == first[-1]["data"].to_host().sum(axis=0).argsort().tolist()


def locked(lock):
    with lock:
        return small()


@pytest.mark.parametrize(
    ("kept", "module", "message"),
    [
        (
            threading.Lock(),
            locked,
            r"cannot pickle '_thread\.lock' object; what cannot be pickled, such as a lock, .* made there",
        ),
        (
            NET(),
            lambda net: copy.deepcopy(net.module),
            r"a TorchNet cannot be pickled; pickle TorchNet\.factory\(\.\.\.\)",
        ),
    ],
    ids=["a lock", "a net"],
)
def test_a_factory_that_cannot_be_sent_is_named_with_the_fix(spark, data, kept, module, message):
    net = TorchNet.factory(lambda: module(kept), optimizer=OPTIMIZERS["plain SGD"], loss=functional.cross_entropy)
    with pytest.raises(DataError, match=rf"^the factory \(TorchFactory\) cannot be sent to the executors: .*{message}"):
        list(averaged_sgd(net, data, cluster=SparkCluster(spark), workers=2, rounds=1))


def test_outputs_of_a_module_become_columns(spark):
    net = NET(seed=2)
    frame = spark.createDataFrame(rows(25), ["data", "label"])
    found = featurize(frame, NET, net.get_weights(), {"output": "scores"}, fields=FIELDS[:1], batch_size=10).collect()
    net.module.eval()
    expected = net.module(torch.tensor([row.data for row in found]))
    # One product of 16 numbers below 10, in float32, by minibatches of another size.
    assert torch.allclose(torch.tensor([list(row.scores) for row in found]), expected, atol=1e-5)
