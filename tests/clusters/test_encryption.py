"""Whether Spark encrypts is read from its settings as Spark reads them."""

import pytest

from sparknet.clusters.spark.jobs.encryption import spark_encrypts

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
