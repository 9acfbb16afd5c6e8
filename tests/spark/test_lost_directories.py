"""Executors whose scratch directories are removed while they run: what was packed is computed again, or packed again."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.spark

PROGRAM = """
import shutil, sys
from pathlib import Path
from pyspark import StorageLevel
from sparknet import ClusterError, Field, SparkCluster, averaged_sgd
from sparknet.nets import MLP
from sparknet.spark import pack, start_spark

folder = Path(sys.argv[1])
spark = start_spark("local[2]", spark_local_dir=str(folder))
fields = [Field("data", (2,)), Field("label", (), "int64")]
rows = spark.sparkContext.parallelize([([float(i), 1.0], i % 2) for i in range(40)], 2)


def trained(data):
    *_, last = averaged_sgd(MLP.factory((2,), 2), data, cluster=SparkCluster(spark), tau=3, rounds=2)
    return last.weights


def lose(whole=False):
    (directory,) = folder.glob("blockmgr-*")
    shutil.rmtree(folder if whole else directory)


def of_the_second_try(action):
    try:
        return action()
    except ClusterError as error:
        assert "was removed while Spark ran" in str(error), error
        print("told")
        return action()


storage = getattr(StorageLevel, sys.argv[2])
data = pack(rows, fields, 4, shards=2, storage=storage)
expected = trained(data)
lose()
assert of_the_second_try(lambda: trained(data)) == expected
lose()
again = of_the_second_try(lambda: pack(rows, fields, 4, shards=2, storage=storage))
assert trained(again) == expected
lose(whole=True)  # the driver's own directories too
assert of_the_second_try(lambda: trained(again)) == expected
lose(whole=True)
again = of_the_second_try(lambda: pack(rows, fields, 4, shards=2, storage=storage))
assert of_the_second_try(lambda: trained(again)) == expected
print("trained", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("storage", [pytest.param("MEMORY_AND_DISK", marks=pytest.mark.further), "DISK_ONLY"])
def test_what_was_packed_is_trained_on_again_and_the_next_pack_works_after_directories_are_lost(tmp_path, storage):
    program = tmp_path / "lost.py"
    program.write_text(PROGRAM)
    folder = tmp_path / "scratch"
    folder.mkdir()
    command = [sys.executable, str(program), str(folder), storage]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained") == 1
    assert (
        "NoClassDefFoundError" not in done.stderr
    )  # Spark 4.3 has classes whose methods cannot be looked up, such as SparkEnv
