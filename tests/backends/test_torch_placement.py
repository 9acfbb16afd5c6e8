"""The device that "cuda" is for torch: what Spark's TaskContext says. There is no GPU here, so torch is told that it has some."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch_plain

from sparknet import DeviceError
from sparknet.backends import get_backend
from sparknet.nets.torch import net as nets

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def task(monkeypatch):
    """Return a function that makes this thread run a task of Spark (pyspark 4's TaskContext: get, partitionId, resources); three GPUs."""
    pyspark = ModuleType("pyspark")
    pyspark.TaskContext = SimpleNamespace(get=lambda: None)
    monkeypatch.setitem(sys.modules, "pyspark", pyspark)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in (("is_available", True), ("device_count", 3), ("current_device", 2)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)

    def task(partition, *addresses):
        resources = {"gpu": SimpleNamespace(name="gpu", addresses=list(addresses))} if addresses else {}
        context = SimpleNamespace(partitionId=lambda: partition, resources=lambda: resources)
        monkeypatch.setattr(pyspark.TaskContext, "get", lambda: context)

    return task


def placed(device):
    return get_backend("torch").placed(device)


def test_in_a_task_it_is_the_first_address_that_spark_gave(task):
    task(0, "1", "2")
    assert (placed("cuda"), placed("cuda:0"), placed("cpu")) == ("cuda:1", "cuda:0", "cpu")
    task(0, "7")
    with pytest.raises(DeviceError, match="the GPU '7', and CUDA finds 3 here"):
        placed("cuda")


def test_without_addresses_it_goes_by_the_partition_and_outside_of_a_task_it_is_the_current_device(task):
    assert placed("cuda") == "cuda:2"
    task(4)
    assert placed("cuda") == "cuda:1"


def test_a_net_is_put_where_the_task_is_placed(task, monkeypatch):
    task(0, "1")
    asked = []

    def there(device):
        asked.append((device, placed(device.removeprefix("torch:"))))
        return SimpleNamespace(device="torch:cpu")  # no GPU is here

    monkeypatch.setattr(nets, "backend_for_device", there)
    made = torch_plain.factory(device="cuda")
    asked.clear()
    made()
    assert asked == [("torch:cuda", "cuda:1")]


def test_the_tests_of_a_gpu_fail_where_there_is_none():
    command = [sys.executable, "-m", "pytest", "-m", "torch and gpu", "-q", "-p", "no:cacheprovider", "tests/nets"]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=env, timeout=240)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "marked gpu, but torch finds no CUDA device here" in done.stdout
    assert " passed" not in done.stdout
    assert " skipped" not in done.stdout
