"""Workers on GPUs, over the stand-in for CuPy, in executors that Spark has given two of them; the driver has none."""

import json
import os
import subprocess
import sys

import pytest
import stand_in

pytestmark = pytest.mark.spark

TRAINS = """
import json, os, sys
import numpy as np
from sparknet import Field, LocalCluster, averaged_sgd, nd
from sparknet.data import pack as pack_here
from sparknet.errors import DeviceError
from sparknet.nets import MLP
from sparknet.spark import SparkCluster, pack, start_spark

resources = {
    "spark_worker_resource_gpu_amount": "2",
    "spark_worker_resource_gpu_discoveryScript": sys.argv[1],
    "spark_executor_resource_gpu_amount": "2",
    "spark_task_resource_gpu_amount": "1",
}
spark = start_spark("local-cluster[1,2,1024]", **resources)
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # from here on, for the driver alone

rng = np.random.default_rng(0)
rows = [(rng.normal(size=3).tolist(), int(i % 2)) for i in range(40)]
fields = [Field("data", (3,)), Field("label", (), "int64")]
factory = MLP.factory((3,), 2, (4,), device="cuda")

def trained(factory, data, cluster):
    return list(averaged_sgd(factory, data, cluster=cluster, workers=2, tau=2, rounds=2, evaluate=(data, 2)))[-1]

data = pack(spark.sparkContext.parallelize(rows, 2), fields, batch_size=5)
there = trained(factory, data, SparkCluster(spark))
here = trained(MLP.factory((3,), 2, (4,)), data.to_local(), LocalCluster())

def device(_):
    import time
    from pyspark import TaskContext
    time.sleep(2)  # both tasks run at once, each on its own GPU
    return TaskContext.get().resources()["gpu"].addresses[0], nd.zeros(1, device="cuda").device

said = {"devices": sorted(spark.sparkContext.parallelize(range(2), 2).map(device).collect())}
def kept(_):
    from cupy._machine import machine
    from sparknet.clusters.spark.workers import net_cache
    return len(net_cache._NETS), sum(machine.used.values())

said["kept"] = spark.sparkContext.parallelize(range(2), 2).map(kept).distinct().collect()
said["same"] = there.weights == here.weights and there.metrics == here.metrics
try:
    factory()
except DeviceError as error:
    said["driver"] = str(error)
print(json.dumps(said))
spark.stop()
"""


@pytest.mark.slow
def test_workers_train_on_the_gpus_that_spark_gives_them_and_the_driver_needs_none(tmp_path):
    script = tmp_path / "gpus.sh"
    script.write_text("""#!/bin/sh\necho '{"name": "gpu", "addresses": ["0", "1"]}'\n""")
    script.chmod(0o755)
    path = os.pathsep.join([str(stand_in.FOLDER), *sys.path])
    env = {**os.environ, "PYTHONPATH": path, "STAND_IN_DEVICES": "2"}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        [sys.executable, "-c", TRAINS, str(script)], check=False, capture_output=True, text=True, env=env, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["devices"] == [["0", "cuda:0"], ["1", "cuda:1"]]
    assert said["same"]
    assert said["kept"] == [[0, 0]]  # the net, and all that it had on the device
    assert "no CUDA device can be used here" in said["driver"]
