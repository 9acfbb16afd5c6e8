"""What the doctor says of Spark sessions: nothing of those that start_spark() starts, what is wrong of others."""

import subprocess
import sys

import pytest

from sparknet import ClusterError
from sparknet.clusters.spark.jobs import health
from sparknet.clusters.spark.jobs.health import session_warnings
from sparknet.clusters.spark.training import reaching
from sparknet.doctor import examine

pytestmark = pytest.mark.spark

OF_ANOTHER = """
from pyspark.sql import SparkSession
from sparknet.doctor import examine

spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
print(*(each for each in examine(spark) if each.state == "warning"), sep="\\n")
spark.stop()
try:
    examine(spark)
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_session_of_start_spark_has_no_warning(spark):
    *_, last = examine(spark)
    assert str(last) == f"ok       Spark session: Spark {spark.version} on {spark.sparkContext.master}"
    assert session_warnings(spark.sparkContext) == {}


def test_a_session_that_others_may_join_and_that_tries_no_task_again_is_warned_of():
    done = subprocess.run([sys.executable, "-c", OF_ANOTHER], capture_output=True, text=True, check=True)
    authenticate, master, stopped = done.stdout.splitlines()
    assert authenticate.startswith("warning  spark.authenticate: is off: whoever reaches this session's ports")
    assert authenticate.endswith("; start_spark() sets a secret for each session that it starts")
    assert master.startswith(
        "warning  spark.master: is 'local[2]', on which Spark tries no task again: where each round is a job"
    )
    assert stopped.startswith("ClusterError doctor: this Spark session was stopped")


def test_executors_with_other_packages_are_named_with_both_versions(spark, monkeypatch):
    here = (*health._versions()[:-1], ("caffe", "of another build"))
    monkeypatch.setattr(health, "_versions", lambda: here)  # here alone: tasks import the module anew
    (said,) = session_warnings(spark).values()
    assert "(here of another build)" in said
    assert "numpy" not in said


def test_executors_that_cannot_be_asked_are_a_warning_with_the_reason(spark, monkeypatch):
    def failing(_):
        raise ModuleNotFoundError("No module named 'sparknet'")

    monkeypatch.setattr(health, "_told", failing)
    assert "No module named 'sparknet'" in session_warnings(spark)["executors"]
    assert "install it there" in session_warnings(spark)["executors"]


def test_what_is_no_session_is_refused():
    with pytest.raises(ClusterError, match="doctor: got str, expected a SparkSession"):
        examine("local[2]")


def test_executors_that_do_not_reach_the_driver_are_told_with_the_setting(spark, monkeypatch):
    monkeypatch.setattr(reaching, "is_local", lambda _: False)  # so that tasks try it
    monkeypatch.setattr(reaching, "address_of", lambda *_: ("127.0.0.1", "127.0.0.2", 0))
    *_, last = map(str, examine(spark))
    assert last.startswith("warning  workers: 2 of 2 tasks did not reach the driver at 127.0.0.2:")
    assert last.endswith("spark.driver.bindAddress; until then each round is a job, which takes longer")
    monkeypatch.setattr(reaching, "address_of", lambda *_: ("192.0.2.1", "192.0.2.1", 0))
    assert "the driver cannot listen at 192.0.2.1" in str(examine(spark)[-1])
    monkeypatch.setattr(reaching, "address_of", lambda *_: ("127.0.0.1", "127.0.0.1", 0))
    assert examine(spark)[-1].subject == "Spark session"
