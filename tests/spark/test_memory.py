"""What memory a round with Spark's broadcast and results needs is said before it, not by a job that dies or a driver that waits."""

import logging

import numpy as np
import pytest

from sparknet import ClusterError, Field, SparkCluster, averaged_sgd
from sparknet.clusters.spark.training import memory as of_spark
from sparknet.clusters.spark.training.memory import SparkMemory, advice_before, memory_lacking, memory_of
from sparknet.nets import MLP
from sparknet.spark import pack

GB, ALEXNET = 1 << 30, 244 << 20


def memory(*, results=GB, driver=8 * GB, executor=8 * GB, tasks=1):
    return SparkMemory(results=results, driver=driver, executor=executor, tasks=tasks)


def test_results_over_the_limit_of_spark_are_an_error_with_the_setting():
    with pytest.raises(
        ClusterError, match=r"5 results of 244.0 MiB .* spark.driver.maxResultSize is 1.0 GiB: give Spark 2.4 GiB or 0"
    ):
        memory().advice(5, ALEXNET, ALEXNET)
    assert memory().advice(4, ALEXNET, ALEXNET) == []
    assert memory(results=0).advice(5, ALEXNET, ALEXNET) == []


@pytest.mark.parametrize(("workers", "driver", "is_enough"), [(2, 1, False), (2, 2, True), (4, 2, False), (4, 3, True)])
def test_the_driver_s_memory_is_judged_as_it_was_measured(workers, driver, is_enough):
    found = memory(driver=driver * GB).advice(workers, ALEXNET, ALEXNET)
    assert bool(found) != is_enough
    assert all("spark.driver.memory" in line for line in found)


def test_an_executor_s_memory_is_judged_as_it_was_measured():
    assert "spark.executor.memory is 1.0 GiB" in memory(executor=GB).advice(2, ALEXNET, ALEXNET)[0]
    assert memory(executor=3 * GB).advice(2, ALEXNET, ALEXNET) == []
    assert memory(executor=3 * GB, tasks=4).advice(2, ALEXNET, ALEXNET) != []


def test_the_executors_of_a_local_master_share_the_driver_s_memory():
    assert memory(executor=None, driver=3 * GB).advice(2, ALEXNET, ALEXNET) == []
    (line,) = memory(executor=None, driver=2 * GB).advice(2, ALEXNET, ALEXNET)
    assert "spark.driver.memory gives it 2.0 GiB" in line


def test_a_solver_without_history_may_make_it_and_its_results_are_judged_with_it(monkeypatch):
    settings = memory()
    monkeypatch.setattr(of_spark, "memory_of", lambda _: settings)
    history = 2 * ALEXNET  # of Adam
    assert advice_before(None, 1, ALEXNET, ALEXNET, 100) == []
    (line,) = advice_before(None, 2, ALEXNET, ALEXNET, 100)  # twice three times 244 MiB
    assert "2 results of 732.0 MiB to the driver, and spark.driver.maxResultSize is 1.0 GiB: give Spark" in line
    assert line.endswith("This holds if the solver makes as much history as Adam with its first step")
    with pytest.raises(ClusterError, match=r"2 results of 732\.0 MiB"):
        advice_before(None, 2, ALEXNET + history, ALEXNET, history)  # it has made it
    assert advice_before(None, 2, ALEXNET, ALEXNET, ALEXNET) == []  # as SGD's, which is there from the beginning
    settings = memory(executor=GB)
    (line,) = advice_before(None, 2, ALEXNET, ALEXNET, 100)  # it is too little in any case
    assert line.endswith("spark.executor.memory is 1.0 GiB: raise it")


def test_what_lacks_is_told_in_one_line_also_where_a_round_would_certainly_fail(monkeypatch):
    for settings, said in (memory(), "maxResultSize"), (memory(results=0, driver=GB, executor=GB), "needs about"):
        monkeypatch.setattr(of_spark, "memory_of", lambda _, settings=settings: settings)
        assert said in memory_lacking(None, 5, ALEXNET, ALEXNET)
    assert memory_lacking(None, 1, 1 << 10, 1 << 10) == ""


@pytest.mark.spark
def test_a_training_asks_before_its_first_round(context, spark, monkeypatch, caplog):
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    rows = [(row, int(row.sum() > 0)) for row in x]
    data = pack(context.parallelize(rows, 2), [Field("data", (2,)), Field("label", (), "int64")], 5)
    conf = {"spark.driver.maxResultSize": "1k"}
    original = context._conf.get
    monkeypatch.setattr(context._conf, "get", lambda name, default=None: conf.get(name, original(name, default)))
    train = {"cluster": SparkCluster(spark, transport="spark"), "tau": 1, "rounds": 2}
    with pytest.raises(
        ClusterError, match=r"2 results of [0-9,]+ bytes to the driver, and spark.driver.maxResultSize is 1,024 bytes"
    ):
        next(averaged_sgd(MLP.factory((2,), 2, (200,)), data, **train))
    conf["spark.driver.maxResultSize"] = "0"
    monkeypatch.setattr(SparkMemory, "advice", lambda _, workers, sent, result: [f"{workers} {sent >= result > 4000}"])
    with caplog.at_level(logging.WARNING):
        list(averaged_sgd(MLP.factory((2,), 2, (200,)), data, **train))
    assert [r.getMessage() for r in caplog.records if r.name.endswith("training.cluster")] == ["2 True"]
    assert memory_of(context)._tasks == 2
    data.unpersist()
