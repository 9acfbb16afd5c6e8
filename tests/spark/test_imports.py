"""A factory whose module the executors cannot import: the error names it with a way to send it, and that way works."""

import importlib
import sys

import numpy as np
import pytest

from sparknet import ClusterError, Field, averaged_sgd
from sparknet.spark import SparkCluster, pack

pytestmark = [pytest.mark.spark, pytest.mark.slow]

CODE = """
from sparknet.nets import MLP

def factory(*, seed=0):
    return MLP((2,), 2, seed=seed)
"""
WAYS = ["direct", "spark"]


@pytest.fixture(scope="module")
def data(spark):
    rows = [(x.tolist(), int(x.sum() > 0)) for x in np.random.default_rng(0).normal(size=(40, 2))]
    packed = pack(
        spark.sparkContext.parallelize(rows, 2), [Field("data", (2,)), Field("label", (), "int64")], batch_size=5
    )
    yield packed
    packed.unpersist()


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Return a function that makes a module beside the program, which Spark's Python does not find."""

    def mine(name):
        (tmp_path / f"{name}.py").write_text(CODE)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return mine


def trained(spark, data, factory, transport):
    cluster = SparkCluster(spark, transport=transport)
    return list(averaged_sgd(factory, data, cluster=cluster, workers=2, tau=2, rounds=2))[-1]


@pytest.mark.parametrize("transport", WAYS)
def test_a_module_beside_the_program_is_named_and_can_be_sent_as_the_error_says(spark, data, mine, transport):
    module = mine(f"beside_{transport}")
    words = (
        rf"No module named 'beside_{transport}'(, in task \d on \S+ \(executor driver\))?; the driver has it as {module.__file__}: .*"
        r"--py-files .*SparkContext\.addPyFile\('.*'\)"
    )
    with pytest.raises(ClusterError, match=words):
        trained(spark, data, module.factory, transport)
    spark.sparkContext.addPyFile(module.__file__)
    assert trained(spark, data, module.factory, transport).index == 1


@pytest.mark.parametrize("transport", WAYS)
def test_a_module_that_the_factory_imports_when_it_is_called_is_named_as_well(spark, data, mine, transport):
    name = f"late_{transport}"
    mine(name)

    def factory(*, seed=0):
        return importlib.import_module(name).factory(seed=seed)

    with pytest.raises(ClusterError, match=rf"No module named '{name}'.*; the driver has it as .*{name}\.py: send it"):
        trained(spark, data, factory, transport)
