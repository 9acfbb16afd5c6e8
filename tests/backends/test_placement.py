"""Where "cuda" is: what Spark says, else turns by partition, else the current device; and what is known without starting CUDA."""

import os
import pickle
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import stand_in

from sparknet import DeviceError, MissingDependency, NDArray, nd
from sparknet.backends import gpus, register_backend, registry, release_memory
from sparknet.backends.adapt import adapt
from sparknet.backends.placement import cuda_index, host_device
from sparknet.errors import explain
from sparknet.nets import MLP


class Context:
    """What a task sees of pyspark 4's TaskContext (taskcontext.py: get, partitionId, resources)."""

    now = None

    def __init__(self, partition=0, **resources):
        self._partition = partition
        self._resources = {name: SimpleNamespace(name=name, addresses=given) for name, given in resources.items()}

    @classmethod
    def get(cls):
        return cls.now

    def partitionId(self):  # noqa: N802 - Spark's name
        return self._partition

    def resources(self):
        return self._resources


@pytest.fixture
def task(monkeypatch):
    """Return a function that makes this thread run a task of Spark."""
    pyspark = ModuleType("pyspark")
    pyspark.TaskContext = Context
    monkeypatch.setitem(sys.modules, "pyspark", pyspark)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return lambda *args, **resources: monkeypatch.setattr(Context, "now", Context(*args, **resources))


def index(count, current=0):
    return cuda_index(count, lambda: current)


# ---- the rule
def test_outside_of_a_task_it_is_the_current_device(monkeypatch):
    assert index(4, current=2) == 2
    monkeypatch.setitem(sys.modules, "pyspark", ModuleType("pyspark"))  # half imported
    assert index(4, current=1) == 1


def test_the_driver_of_spark_runs_no_task(task):
    del task
    assert index(4, current=3) == 3


def test_in_a_task_it_is_the_first_address_that_spark_gave(task):
    task(5, gpu=["2", "3"])
    assert index(4, current=1) == 2


@pytest.mark.parametrize(("partition", "where"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_without_addresses_tasks_take_turns_by_their_partitions(task, partition, where):
    task(partition)
    assert index(3, current=2) == where
    task(partition, gpu=[], fpga=["7"])
    assert index(3, current=2) == where


@pytest.mark.parametrize(
    ("visible", "address", "where"), [("2,3", "3", 1), ("GPU-a, GPU-b", "GPU-b", 1), ("GPU-a", "0", 0)]
)
def test_an_address_is_counted_as_cuda_counts(task, monkeypatch, visible, address, where):
    task(0, gpu=[address])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert index(len(visible.split(","))) == where


@pytest.mark.parametrize("address", ["2", "-1", "GPU-b", "²"])
def test_an_address_that_is_not_here_says_what_is(task, monkeypatch, address):
    task(0, gpu=[address])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-x,GPU-y")
    with pytest.raises(
        DeviceError, match=r"the GPU '.*', and CUDA finds 2 here.*=GPU-x,GPU-y; does the discovery script"
    ):
        index(2)


@pytest.mark.parametrize(
    ("device", "host"),
    [
        *(("cuda", "cpu"), ("cuda:3", "cpu"), ("cupy:cuda:3", "cpu"), ("torch:cuda", "torch:cpu")),
        *((name, name) for name in ("cpu", "torch:cpu", "cuda:", "cuda:03", "gpu", "torch", "other:cuda:0", "")),
    ],
)
def test_the_device_in_host_memory_beside_one_of_cuda(device, host):
    assert host_device(device) == host


# ---- device strings
@pytest.fixture
def machine(monkeypatch):
    """Return a machine of two GPUs, whose arrays are numpy's; ``place`` is where "cuda" is now, ``released`` counts."""
    for name in ("REGISTRY", "BY_DEVICE", "_LOADED", "_BY_TYPE"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    machine = ModuleType("a_machine")
    machine.place, machine.released = "cuda:1", 0

    def release():
        machine.released += 1

    def device(name):
        if name not in {"cuda:0", "cuda:1"}:
            raise ValueError(name)

    machine.BACKEND = adapt(
        "cupy",
        registry.get_backend("numpy").namespace,
        np.ndarray,
        np.asarray,
        default="cuda:0",
        device=device,
        placed=lambda device: machine.place if device == "cuda" else device,
        release=release,
    )
    monkeypatch.setitem(sys.modules, "a_machine", machine)
    register_backend("cupy", "a_machine:BACKEND")
    return machine


def test_the_number_is_looked_up_each_time_and_is_in_the_array(machine):
    assert nd.zeros(3, device="cuda").device == "cuda:1"
    machine.place = "cuda:0"
    a = nd.zeros(3, device="cuda")
    assert a.device == "cuda:0"
    assert a.to_device("cuda").unwrap() is a.unwrap()
    assert a.to_device("cuda:1").device == NDArray([1], device="cupy:cuda:1").device == "cuda:1"


def test_a_net_stays_where_it_was_made(machine):
    net = MLP((2,), 2, device="cuda")
    machine.place = "cuda:0"
    net.set_weights(net.get_weights())
    assert {a.device for a in net.get_weights().arrays()} == {"cuda:1"}


def test_memory_is_released_by_the_backends_that_were_used(machine):
    release_memory()
    assert machine.released == 0
    nd.zeros(1, device="cuda")
    release_memory()
    assert machine.released == 1


def test_an_array_from_a_larger_machine_says_how_to_send_it(machine):
    sent = pickle.dumps(NDArray([1.0], device="cuda:1"))
    assert pickle.loads(sent).device == "cuda:1"
    machine.BACKEND = registry.get_backend("numpy")  # a machine without GPUs
    register_backend("cupy", "a_machine:BACKEND")
    with pytest.raises(
        DeviceError, match=r"pickled on 'cuda:1' .*a\.to_device\('cpu'\), or send dumps\(\.\.\.\).*device='cuda'"
    ):
        pickle.loads(sent)


# ---- factories need a GPU where they are called, and nowhere else
def test_a_factory_for_gpus_is_made_without_one():
    with stand_in.cupy(devices=0):
        factory = pickle.loads(pickle.dumps(MLP.factory((2,), 2, device="cuda")))
        assert factory.device == "cuda"
        assert factory.for_driver()(seed=3).get_weights() == MLP((2,), 2, seed=3).get_weights()
        with pytest.raises(DeviceError, match="no CUDA device can be used here"):
            factory(seed=3)


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "tpu:0"])
def test_a_device_that_nobody_has_shows_when_the_factory_is_made(device):
    with pytest.raises(DeviceError, match=device):
        MLP.factory((2,), 2, device=device)


def test_the_seed_of_the_arguments_counts_where_none_is_given():
    factory = MLP.factory((2,), 2, seed=5)
    assert factory().get_weights() == factory(seed=5).get_weights() != factory(seed=6).get_weights()


# ---- without starting CUDA
def test_devices_are_counted_in_another_process(monkeypatch):
    monkeypatch.setattr(gpus.ctypes, "CDLL", lambda name: name)
    monkeypatch.setattr(gpus, "_ASK", f"import os; print(2 if os.getpid() != {os.getpid()} else 0)")
    assert gpus.count() == 2
    monkeypatch.setattr(gpus, "_ASK", "raise SystemExit('no driver')")
    assert gpus.count() == 0


def test_no_driver_is_no_device(monkeypatch):
    monkeypatch.setattr(gpus, "_DRIVER", "libcuda.so.of.nobody")
    monkeypatch.setattr(gpus.subprocess, "run", None)  # is not needed
    assert gpus.count() == 0


def test_the_question_itself_is_answered_where_the_driver_is_or_not():
    asked = subprocess.run([sys.executable, "-c", gpus._ASK], check=False, capture_output=True, text=True)
    assert asked.stdout.strip().isdigit() or gpus._DRIVER in asked.stderr


FORKS = """
import os
from sparknet import DeviceError
from sparknet.backends import gpus

gpus.check_not_forked()
gpus.note_started()
gpus.check_not_forked()
print(os.getpid(), flush=True)
child = os.fork()
if child:
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    gpus.check_not_forked()
except DeviceError as error:
    print(error)
"""


def test_a_forked_process_is_told_in_which_one_cuda_was_started():
    done = subprocess.run([sys.executable, "-c", FORKS], check=True, capture_output=True, text=True)
    parent, said = done.stdout.splitlines()
    assert f"started in process {parent}, from which this one was forked" in said
    assert "fork before its first use, or start processes with multiprocessing.get_context('spawn')" in said


# ---- what is wrong with the machine is not said of the arguments
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CuPy failed to load libnvrtc.so.12: OSError: libnvrtc.so.12: cannot open shared object file"),
        RuntimeError("Failed to find CUDA headers. Please install CUDA toolkit headers"),  # cupy/_core/core.pyx:2599
        ImportError("libcublas.so.12: cannot open shared object file: No such file or directory"),
    ],
)
def test_a_library_of_cuda_that_is_missing_is_named_with_the_command_that_brings_it(error):
    with pytest.raises(MissingDependency, match=r"nd\.exp\(\): .*; cupy has not all .*'sparknet\[cuda12\]'") as raised:
        explain(error, "nd.exp()", 1)
    assert raised.value.__cause__ is error


def test_the_error_of_cuda_in_a_forked_process_says_so():
    error = RuntimeError("cudaErrorInitializationError: initialization error")
    with pytest.raises(DeviceError, match=r"add: cudaErrorInit.*; a process that is forked .*'spawn'"):
        explain(error, "add", 1)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), RuntimeError("a call of libcustom failed")])
def test_other_errors_of_libraries_are_of_the_arguments(error):
    with pytest.raises(ValueError, match="add of 1: "):
        explain(error, "add", 1)
