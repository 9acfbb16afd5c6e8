"""CUDA and processes, over the stand-in for CuPy: what starts it, what a fork does to it, which device a worker is on, what is left."""

import io
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import stand_in

from sparknet import (
    DeviceError,
    LocalCluster,
    NDArray,
    WeightCollection,
    averaged_sgd,
    doctor,
    dumps,
    load_into,
    loads,
    nd,
)
from sparknet.backends import available, get_backend, release_memory
from sparknet.clusters.spark.workers import net_cache
from sparknet.data import Field, pack
from sparknet.nets import MLP

MIB = 1 << 20


@pytest.fixture
def cupy():
    with stand_in.cupy(devices=2) as module:
        yield module


def machine(cupy):
    return cupy._machine.machine


# ---- started by use alone
def test_asking_what_is_available_starts_no_cuda(cupy):
    assert "cupy" in available()
    assert machine(cupy).pid is None
    nd.zeros(3, device="cuda:0")
    assert machine(cupy).pid == os.getpid()


def test_the_doctor_starts_no_cuda_where_there_is_a_device(cupy, monkeypatch):
    monkeypatch.setattr(doctor.metadata, "version", lambda name: f"{name} of a test")
    (found,) = [finding for finding in doctor.examine() if finding.subject == "cupy"]
    assert found.state == "ok"
    assert "cuda:0" in found.said
    assert machine(cupy).pid is None


FORKS = """
import os
import stand_in

with stand_in.cupy() as cupy:
    from sparknet import DeviceError, NDArray, nd
    from sparknet.backends import available

    assert "cupy" in available()
    a = nd.zeros(3, device="cuda:0") if {before} else None
    child = os.fork()
    if child:
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    for use in (lambda: nd.ones(3, device="cuda:0"), lambda: nd.ones(3, device="cuda"), lambda: nd.exp(a), lambda: a.to_host()):
        try:
            use()
        except DeviceError as error:
            print(error)
    print("on the host:", nd.sum(nd.ones(3)).item())
"""


def run(code, **environment):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(stand_in.FOLDER.parent), *sys.path]), **environment}
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_after_a_fork_the_child_is_told_why_it_has_no_device():
    *said, last = run(FORKS.format(before=True)).splitlines()
    assert len(said) == 4
    assert all("forked" in line and "get_context('spawn')" in line for line in said)
    assert "CUDA was started in process" in said[0]
    assert last == "on the host: 3.0"


def test_a_process_that_only_asked_may_fork_others_that_use_cuda():
    code = FORKS.format(before=False).replace("lambda: nd.exp(a), lambda: a.to_host()", "")
    assert run(code).splitlines() == ["on the host: 3.0"]


# ---- which device
def test_cuda_alone_is_the_current_device(cupy):
    assert nd.zeros(1, device="cuda").device == "cuda:0"
    with cupy.cuda.Device(1):
        assert nd.zeros(1, device="cuda").device == "cuda:1"
        assert NDArray(np.ones(2), device="cupy:cuda").device == "cuda:1"


def test_weights_move_to_cuda_alone_too(cupy):
    w = WeightCollection({"ip": [np.ones(3, np.float32)]})
    with cupy.cuda.Device(1):
        for there in (
            w.to_device("cuda"),
            loads(dumps(w), device="cuda"),
            loads(dumps({"a": w["ip"][0]}), device="cuda"),
        ):
            arrays = there.arrays() if isinstance(there, WeightCollection) else there.values()
            assert {a.device for a in arrays} == {"cuda:1"}


@pytest.fixture
def task(monkeypatch):
    """Return a function that says in which task of Spark this thread is."""
    pyspark = ModuleType("pyspark")
    pyspark.TaskContext = SimpleNamespace(get=lambda: None)
    monkeypatch.setitem(sys.modules, "pyspark", pyspark)
    monkeypatch.setattr(net_cache, "_NETS", type(net_cache._NETS)())

    def be(partition, *addresses):
        given = {"gpu": SimpleNamespace(addresses=list(addresses))} if addresses else {}
        context = SimpleNamespace(partitionId=lambda: partition, resources=lambda: given)
        pyspark.TaskContext.get = lambda: context

    return be


def kept(factory):
    return net_cache.cached_net("run", factory, most=1, device=net_cache.device_of(factory))


def test_the_workers_of_a_machine_are_on_its_devices_in_turn(cupy, task):
    factory = MLP.factory((2,), 2, device="cuda")
    assert not machine(cupy).contexts
    for partition, device in enumerate(("cuda:0", "cuda:1", "cuda:0")):
        task(partition)
        assert {a.device for a in kept(factory).get_weights().arrays()} == {device}


def test_a_worker_on_the_second_device_has_no_context_on_the_first(cupy, task):
    task(0, "1")
    net = kept(MLP.factory((MIB,), 2, device="cuda"))
    batch = {"data": np.ones((2, MIB), np.float32), "label": np.array([0, 1])}
    net.step({name: nd.asarray(column) for name, column in batch.items()})
    net.get_weights().to_device("cpu")  # by page-locked memory
    assert machine(cupy).contexts == {1}


def test_nor_has_one_a_thread_that_moves_its_weights(cupy, task):
    task(0, "1")
    weights = kept(MLP.factory((MIB,), 2, device="cuda")).get_weights()

    def moves(way):
        release_memory()  # so that memory has to be locked anew
        with ThreadPoolExecutor(1) as another:  # where the first device is current
            return another.submit(way).result()

    message = moves(lambda: dumps(weights))
    moves(lambda: load_into(weights, io.BytesIO(message)))
    moves(lambda: load_into(weights, message))
    assert moves(lambda: weights.to_device("cpu")) == loads(message)
    assert machine(cupy).contexts == {1}


def test_a_kept_net_is_made_anew_on_another_device_and_the_memory_of_the_first_is_given_back(cupy, task):
    factory = MLP.factory((MIB,), 2, device="cuda")
    task(0, "1")
    first = kept(factory)
    assert kept(factory) is first
    task(7, "1")
    assert kept(factory) is first
    del first
    task(0, "0")
    kept(factory)
    assert machine(cupy).used[1] == 0
    assert machine(cupy).counts["device pool freed"] == 1
    net_cache._drop(0)
    assert machine(cupy).used[0] == 0


def test_nets_in_host_memory_are_kept_whichever_the_task(task):
    factory = MLP.factory((2,), 2)
    task(0, "1")
    first = kept(factory)
    task(1, "0")
    assert kept(factory) is first


# ---- a training, and what is left of it
def training(device):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    columns = {"data": x, "label": (x[:, 0] > 0).astype(np.int64)}
    data = pack(columns, [Field("data", (4,)), Field("label", (), "int64")], batch_size=10)
    return averaged_sgd(
        MLP.factory((4,), 2, (3,), device=device), data, cluster=LocalCluster(), workers=2, tau=3, rounds=3
    )


def test_a_training_on_a_gpu_has_the_bits_of_one_on_the_host_and_leaves_no_memory_behind(cupy):
    expected = [r.weights for r in training("cpu")]
    rounds = training("cuda")
    found = [r.weights.to_device("cpu") for r in rounds]
    assert found == expected  # the stand-in computes as numpy does
    assert machine(cupy).counts["device pool freed"] == 1
    del rounds
    assert machine(cupy).used[0] == 0


def test_release_gives_back_page_locked_memory_too(cupy):
    nd.zeros(MIB, device="cuda:1").to_host()
    get_backend("cupy")
    assert cupy.cuda.runtime.locked
    release_memory()
    assert not cupy.cuda.runtime.locked


# ---- to a smaller machine
def test_an_array_of_a_second_device_says_where_there_is_none_how_to_send_it():
    with stand_in.cupy(devices=2):
        sent = pickle.dumps(NDArray([1.0], device="cuda:1"))
        assert pickle.loads(sent).device == "cuda:1"
    with (
        stand_in.cupy(devices=1),
        pytest.raises(DeviceError, match=r"on 'cuda:1' .*no device 'cuda:1' here; there is 'cuda:0'.*device='cuda'\)"),
    ):
        pickle.loads(sent)
