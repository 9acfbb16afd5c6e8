"""Packing and saving on a disk that is full: an error that names the place, and the session and what is packed go on."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.spark

PROGRAM = """
import sys
import numpy as np
from sparknet import Field, SparknetError
from sparknet.spark import load_packed, pack, start_spark

scratch, saved = sys.argv[1:]
spark = start_spark("local[2]", spark_local_dir=scratch)
FIELDS = [Field("data", (1000,)), Field("label", (), "int64")]


def packed(n):
    rows = spark.sparkContext.parallelize(range(n), 2)
    return pack(rows.map(lambda i: (np.full(1000, i, np.float32), i % 2)), FIELDS, 10)


def told(call):
    try:
        print("OK", call())
    except SparknetError as error:
        print(type(error).__name__, str(error).splitlines()[0])


small = packed(1000)
told(small.count)
told(lambda: packed(30000).count())
told(small.count)
told(lambda: packed(1000).count())
told(lambda: small.save(saved + "/set"))
told(lambda: load_packed(spark, saved + "/set").count())
"""
MOUNTED = 'mount -t tmpfs -o size=32m tmpfs "$1" && mount -t tmpfs -o size=2m tmpfs "$2" && shift 2 && exec "$@"'


@pytest.mark.slow
def test_packing_and_saving_on_a_full_disk_name_the_place_and_all_else_goes_on(tmp_path):
    scratch, saved = (tmp_path / "scratch", tmp_path / "saved")
    scratch.mkdir()
    saved.mkdir()
    apart = ["unshare", "--mount", "sh", "-c", MOUNTED, "sh", str(scratch), str(saved)]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here, so there is no small disk")
    command = [*apart, sys.executable, "-c", PROGRAM, str(scratch), str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    first, large, again, another, save, load = done.stdout.splitlines()
    assert (first, again, another) == ("OK 1000", "OK 1000", "OK 1000")
    assert large.startswith(
        "ClusterError the job failed on the cluster: OSError: [Errno 28] No space left on device, in spark.local.dir"
    )
    assert f"'{scratch}" in large
    assert save == (
        f"ClusterError save(): {saved}/set, of which a part may be written: the job failed on the cluster: "
        "java.io.IOException: No space left on device"
    )
    assert load.startswith(f"DataError load_packed(): there is no manifest under {saved}/set")
