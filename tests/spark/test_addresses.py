"""Where the driver is reached: what is no address is named at once, and where nobody can listen or connect, each round is a job."""

import logging
import socket
from types import SimpleNamespace

import numpy as np
import pytest

from sparknet import ClusterError, DataError, Field, SparkCluster, averaged_sgd
from sparknet.clusters.spark.training.addresses import address_of, host_and_port
from sparknet.clusters.spark.training.cluster import _SparkSession
from sparknet.nets import MLP
from sparknet.spark import pack

X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
ROWS = [(row, int(row.sum() > 0)) for row in X]
TRAINING = {"workers": 2, "tau": 2, "rounds": 2, "seed": 3}


@pytest.fixture(scope="module")
def packed(spark):
    fields = [Field("data", (2,)), Field("label", (), "int64")]
    data = pack(spark.sparkContext.parallelize(ROWS, 2), fields, 5)
    yield data
    data.unpersist()


def trained(packed, cluster):
    *_, last = averaged_sgd(MLP.factory((2,), 2), packed, cluster=cluster, **TRAINING)
    return last.weights


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gate", ("gate", 0)),
        ("gate:0", ("gate", 0)),
        ("my_gate.example:65535", ("my_gate.example", 65535)),
        ("10.0.0.7:4711", ("10.0.0.7", 4711)),
        ("fd00::5", ("fd00::5", 0)),
        ("[fd00::5]", ("fd00::5", 0)),
        ("[fd00::5]:4711", ("fd00::5", 4711)),
    ],
)
def test_an_address_is_a_host_or_a_host_and_a_port(text, expected):
    assert host_and_port(text) == expected


NONE = ["host:abc", "host:99999", "host:-1", "host:", ":4711", "", " ", "a b", "fd00::x", "[fd00::5", "[host]:1"]


@pytest.mark.parametrize("value", [*NONE, "http://host:1", "host:٣", "host:1\n", 4711, ("host", 4711), b"host"])
def test_what_is_no_address_is_named(value):
    with pytest.raises(DataError, match=r"^SparkCluster: address=.*; expected 'host' or 'host:port', .* in brackets"):
        host_and_port(value)


def test_where_the_driver_is_reached_follows_spark_s_settings():
    conf = {"spark.driver.host": "10.0.0.7"}
    remote = SimpleNamespace(master="spark://10.0.0.1:7077", _conf=conf)
    assert address_of(remote, None) == ("10.0.0.7", "10.0.0.7", 0)
    assert address_of(remote, "gate:4711") == ("gate", "gate", 4711)
    for host in "fd00::5", "[fd00::5]":
        conf["spark.driver.host"] = host
        assert address_of(remote, None) == ("fd00::5", "fd00::5", 0)
    conf["spark.driver.bindAddress"] = "0.0.0.0"  # noqa: S104 - it is not bound here
    assert address_of(remote, "gate") == ("0.0.0.0", "gate", 0)  # noqa: S104
    conf["spark.driver.bindAddress"] = "[::]"
    assert address_of(remote, "[fd00::6]:1") == ("::", "fd00::6", 1)
    for master in "local", "local[2]", "local[2,4]":
        local = SimpleNamespace(master=master, _conf=conf)
        assert address_of(local, None) == ("127.0.0.1", "127.0.0.1", 0)
        assert address_of(local, "gate:4711") == ("127.0.0.1", "127.0.0.1", 4711)


@pytest.mark.spark
def test_a_cluster_refuses_what_is_no_address(spark):
    with pytest.raises(DataError, match=r"address='host:abc'; expected"):
        SparkCluster(spark, address="host:abc")


@pytest.mark.spark
def test_where_the_driver_cannot_listen_auto_says_so_and_each_round_is_a_job(spark, packed, caplog):
    expected = trained(packed, SparkCluster(spark, transport="spark"))
    with socket.create_server(("127.0.0.1", 0)) as another:
        address = f"127.0.0.1:{another.getsockname()[1]}"
        with caplog.at_level(logging.WARNING):
            assert trained(packed, SparkCluster(spark, address=address)) == expected
        (line,) = caplog.messages
        assert line.startswith(
            "each round is a job of its own, which takes longer than transport='direct': the driver "
        )
        assert f"cannot listen at {address} (" in line
        assert line.endswith("or give another port in address=")
        with pytest.raises(ClusterError, match=rf"transport='direct' is not possible: .* cannot listen at {address}"):
            trained(packed, SparkCluster(spark, transport="direct", address=address))


@pytest.mark.spark
def test_on_a_local_master_the_host_of_an_address_is_not_used_and_the_log_says_so(spark, packed, caplog, monkeypatch):
    monkeypatch.setattr(_SparkSession, "train", None)  # a job for a round is an error
    cluster = SparkCluster(spark, transport="direct", address="elsewhere.invalid")
    (line,) = caplog.messages
    assert line.startswith("SparkCluster: address='elsewhere.invalid': the host elsewhere.invalid is not used")
    trained(packed, cluster)
    SparkCluster(spark, address="localhost:0")
    assert caplog.messages == [line]
