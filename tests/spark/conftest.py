"""One Spark session for all tests of this folder: two cores, tasks tried four times as on a cluster."""

import os

import pytest

# A short-lived JVM: no time is spent on optimising it.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


@pytest.fixture(scope="session")
def spark():
    from sparknet.spark import start_spark

    session = start_spark("local[2]", "sparknet tests")
    yield session
    session.stop()


@pytest.fixture
def context(spark):
    return spark.sparkContext
