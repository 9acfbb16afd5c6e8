"""Whether Spark encrypts is read from its settings as Spark reads them."""

from types import SimpleNamespace

import pytest

from sparknet import SparkCluster
from sparknet.clusters.spark.jobs.encryption import spark_encrypts
from sparknet.clusters.spark.training import cluster

AUTHENTICATE, AES = "spark.authenticate", "spark.network.crypto.enabled"


@pytest.mark.parametrize(
    ("settings", "encrypts"),
    [
        ({}, False),
        ({AUTHENTICATE: "true"}, False),
        ({AES: "true"}, False),  # without a secret Spark derives no keys
        ({AUTHENTICATE: "true", AES: "true"}, True),
        ({AUTHENTICATE: "TRUE", AES: " true "}, True),
        ({AUTHENTICATE: "true", AES: "false"}, False),
        ({AUTHENTICATE: "true", "spark.authenticate.enableSaslEncryption": "true"}, True),
        ({"spark.ssl.enabled": "true"}, False),
        ({"spark.ssl.rpc.enabled": "true"}, True),
        ({"spark.io.encryption.enabled": "true", AUTHENTICATE: "true"}, False),
    ],
    ids=str,
)
def test_spark_encrypts_where_its_settings_say_so(settings, encrypts):
    assert spark_encrypts(settings) is encrypts


@pytest.mark.parametrize(
    ("master", "settings", "encrypt", "is_told"),
    [
        ("spark://10.0.0.1:7077", {}, True, True),
        ("local-cluster[2,1,1024]", {}, True, True),
        ("spark://10.0.0.1:7077", {AUTHENTICATE: "true", AES: "true"}, True, False),
        ("spark://10.0.0.1:7077", {AUTHENTICATE: "true", AES: "true"}, None, False),
        ("spark://10.0.0.1:7077", {}, None, False),
        ("spark://10.0.0.1:7077", {}, False, False),
        ("local[2]", {}, True, False),
    ],
)
@pytest.mark.parametrize("transport", ["auto", "direct", "spark"])
def test_what_spark_sends_unencrypted_though_encryption_was_asked_for_is_told(
    master, settings, encrypt, is_told, transport, monkeypatch, caplog
):
    monkeypatch.setattr(cluster, "running_context", lambda *_: SimpleNamespace(master=master, _conf=settings))
    SparkCluster("a session", transport=transport, encrypt=encrypt)
    assert len(caplog.messages) == is_told
    for said in caplog.messages:
        assert said.startswith(
            "SparkCluster: encrypt=True encrypts the connections of workers that stay, and Spark is not"
        )
        assert AUTHENTICATE in said
        assert AES in said
