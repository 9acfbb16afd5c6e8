"""Where torch puts a worker on the GPUs that Spark has given its executors. Nothing is computed: torch is told that it has two."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.spark, pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(1200)]

ASKS = """
import json, sys
from sparknet.spark import start_spark

resources = {
    "spark_worker_resource_gpu_amount": "2",
    "spark_worker_resource_gpu_discoveryScript": sys.argv[1],
    "spark_executor_resource_gpu_amount": "2",
    "spark_task_resource_gpu_amount": "1",
}
spark = start_spark("local-cluster[1,2,1024]", **resources)

def device(_):
    import time
    import torch
    from pyspark import TaskContext
    from sparknet.backends import get_backend
    time.sleep(2)  # both tasks run at once, each on its own GPU
    torch.cuda.is_available, torch.cuda.device_count = (lambda: True), (lambda: 2)
    return TaskContext.get().resources()["gpu"].addresses[0], get_backend("torch").placed("cuda")

print(json.dumps(sorted(spark.sparkContext.parallelize(range(2), 2).map(device).collect())))
spark.stop()
"""


def test_each_task_has_the_gpu_of_its_address(tmp_path):
    script = tmp_path / "gpus.sh"
    script.write_text("""#!/bin/sh\necho '{"name": "gpu", "addresses": ["0", "1"]}'\n""")
    script.chmod(0o755)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        [sys.executable, "-c", ASKS, str(script)], check=False, capture_output=True, text=True, env=env, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [["0", "cuda:0"], ["1", "cuda:1"]]
