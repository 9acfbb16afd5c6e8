"""One Spark session for all tests of this folder: two cores, tasks tried four times as on a cluster."""

import os
from pathlib import Path

import pytest

# A short-lived JVM: no time is spent on optimising it. nox gives it an archive of Spark's classes too.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


@pytest.fixture(scope="session")
def spark():
    from sparknet.spark import start_spark

    warm = {
        "spark_python_daemon_module": "warm_daemon",
        "spark_executorEnv_PYTHONPATH": str(Path(__file__).with_name("daemon")),
    }
    session = start_spark("local[2]", "sparknet tests", **warm)
    yield session
    session.stop()


@pytest.fixture
def context(spark):
    return spark.sparkContext
