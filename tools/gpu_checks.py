"""The checks of ``gpu_first_contact.py``: each runs in a process of its own, asserts what must hold and returns what it measured."""

from __future__ import annotations

import io
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

import sparknet
from sparknet import Field, LocalCluster, NDArray, WeightCollection, averaged_sgd, dumps, load_into, loads, nd
from sparknet.backends import available, get_backend, release_memory
from sparknet.data import pack
from sparknet.nets import MLP

if TYPE_CHECKING:
    from collections.abc import Callable

    from sparknet.data import Dataset

MIB = 1 << 20
GPU = "cuda:0"
# AlexNet's 16 arrays are of such sizes; their sum is what --megabytes says.
_PARTS = (0.62, 0.27, 0.067, 0.02, 0.01, 0.008, 0.004, 0.001)
_REPEATS = 5


def versions(_megabytes: int) -> dict[str, Any]:
    """Tell device and versions, which all else depends on, and run the first kernel."""
    assert "cupy" in available(), "available() does not see the device that cupy sees"
    import cupy

    runtime = cupy.cuda.runtime
    found = runtime.getDeviceProperties(0)
    start = time.perf_counter()
    assert float(nd.sum(nd.ones(10, device=GPU))) == 10.0
    return {
        "device": found["name"].decode(),
        "compute_capability": f"{found['major']}.{found['minor']}",
        "memory": found["totalGlobalMem"],
        "devices": runtime.getDeviceCount(),
        "cuda_runtime": runtime.runtimeGetVersion(),
        "cuda_driver": runtime.driverGetVersion(),
        "python": platform.python_version(),
        "cupy": cupy.__version__,
        "sparknet": sparknet.__version__,
        **{name: version(name) for name in ("numpy", "array-api-compat", "ml-dtypes")},
        "first_sum_seconds": time.perf_counter() - start,
    }


def transfers(megabytes: int) -> dict[str, Any]:
    """Move weights by ``loads(device=)``, and by ``load_into`` from memory and from a stream, and back, with every bit; GB/s of each."""
    import cupy
    import cupyx

    rng = np.random.default_rng(7)
    arrays = [rng.random(max(1, int(megabytes * 250_000 * part)), dtype=np.float32) for part in _PARTS]
    weights = WeightCollection({f"ip{i}": [array] for i, array in enumerate(arrays)})
    message = dumps(weights)
    live = weights.map(nd.zeros_like).to_device(GPU)
    there = loads(message, device=GPU)
    assert there.to_device("cpu") == weights
    for source in (message, io.BytesIO(message)):
        live *= 0
        load_into(live, source)
        assert live.to_device("cpu") == weights, type(source).__name__
    assert dumps(there) == message
    locked = cupyx.empty_pinned(weights.nbytes // 4, np.float32)
    own = cupy.zeros(weights.nbytes // 4, dtype=np.float32)
    ways = {
        "cupys_own_pinned_copy": lambda: own.set(locked),
        "loads": lambda: loads(message, device=GPU, verify=False),
        "loads_verified": lambda: loads(message, device=GPU, verify=True),
        "load_into_from_memory": lambda: load_into(live, message, verify=False),
        "load_into_from_a_stream": lambda: load_into(live, io.BytesIO(message), verify=False),
        "to_host": lambda: live.to_device("cpu"),
    }
    return {"bytes": weights.nbytes} | {f"{name}_GB_s": weights.nbytes / _best(way) / 1e9 for name, way in ways.items()}


def _best(way: Callable[[], object]) -> float:
    """Return the least seconds until the device is done."""
    import cupy

    seconds = []
    for _ in range(_REPEATS + 1):  # memory is locked in the first
        start = time.perf_counter()
        kept = way()
        cupy.cuda.Device(0).synchronize()
        seconds.append(time.perf_counter() - start)
        del kept
    return min(seconds)


def waits(_megabytes: int) -> dict[str, int]:
    """Count how often cupy declares that it waits for a number of the device, and compare with how often it must."""
    import cupy

    count: list[int] = []
    cupy._core.syncdetect._declare_synchronize = lambda: count.append(1)
    a, b = (nd.asarray(np.arange(4096, dtype=np.float32), device=GPU) for _ in range(2))
    w = WeightCollection({"ip": [a, b]})
    net = MLP((4,), 3, (8,), device=GPU)
    batch = {"data": nd.reshape(a, (1024, 4)), "label": nd.asarray(np.arange(1024) % 3, device=GPU)}
    expected = {
        "elementwise": (0, lambda: nd.exp(a + b * 2) - a),
        "reduction": (0, lambda: nd.sum(a)),
        "clip": (0, lambda: nd.clip(a, 1.0, 2.0)),
        "mean of weights": (0, lambda: WeightCollection.mean([w, w])),
        "update in place": (0, lambda: w.__iadd__(w)),
        "upload": (0, lambda: nd.asarray(np.ones(4096), device=GPU)),
        "to_host": (1, a.to_host),
        "float": (1, lambda: float(a[3])),
        "step of an MLP": (2, lambda: net.step(batch)),
    }
    found = {}
    for name, (_, call) in expected.items():
        call()
        count.clear()
        call()
        found[name] = len(count)
    assert found == {name: number for name, (number, _) in expected.items()}, found
    return found


def pinned(_megabytes: int) -> dict[str, Any]:
    """See large arrays come into locked memory that is used again, both directions stay within the limit, and cupy's own pool empty."""
    import cupy

    get_backend("cupy")
    from sparknet.backends import cupy as backend

    is_locked = cupy.cuda.pinned_memory.is_memory_pinned
    array = nd.asarray(np.ones(2 * MIB, np.float32), device=GPU)
    array.to_host()  # waits, so the buffer of the upload is free now, whether or not the device was done with it before
    host = array.to_host()
    address = host.ctypes.data
    assert is_locked(address)
    del host
    assert array.to_host().ctypes.data == address
    backend._locked.limit = 0
    backend._locked.free()
    host = array.to_host()
    assert not is_locked(host.ctypes.data)
    again = nd.asarray(host, device=GPU)
    host[...] = 0
    assert float(nd.min(again)) == 1.0
    backend._locked.limit = 16 * MIB
    for size in range(1, 8 * MIB, MIB // 3):
        nd.asarray(np.ones(size, np.uint8), device=GPU).to_host()
        assert sum(backend._locked._locked.values()) <= 16 * MIB
    in_cupys_pool = cupy.get_default_pinned_memory_pool().n_free_blocks()
    assert in_cupys_pool == 0, in_cupys_pool
    release_memory()
    return {"locked_after_release": sum(backend._locked._locked.values()), "in_cupys_pool": in_cupys_pool}


_USES = "from sparknet import nd; print(float(nd.sum(nd.ones(1000, device='cuda:0'))), flush=True)"
_FORKS = f"""
import os
from sparknet import nd
from sparknet.backends import available
assert "cupy" in available()
if not os.fork():
    {_USES}
    os._exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
a = nd.ones(3, device="cuda:0")
if not os.fork():
    from sparknet import DeviceError
    for use in (lambda: nd.ones(3, device="cuda:0"), lambda: nd.exp(a), a.to_host):
        try:
            use()
        except DeviceError as error:
            assert "spawn" in str(error), error
        else:
            os._exit(3)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
print("told")
"""


def fork(_megabytes: int) -> dict[str, Any]:
    """Fork a process that uses the GPU from one that has only asked; and from one that has used it: that child is told why it cannot."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _FORKS], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["1000.0", "told"], done.stdout
    return {"said": done.stdout.split()}


def two_processes(_megabytes: int) -> dict[str, Any]:
    """Compute in two processes on one GPU at once; tell what is free before, and when they have ended."""
    import cupy

    nd.ones(1, device=GPU)
    before = cupy.cuda.runtime.memGetInfo()[0]
    command = [sys.executable, "-c", _USES]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate() for process in both]
    assert [out.strip() for out, _ in said] == ["1000.0"] * 2, said
    return {"free_before": before, "free_after": cupy.cuda.runtime.memGetInfo()[0]}


def rounds(_megabytes: int) -> dict[str, Any]:
    """Train an MLP in rounds on the GPU, with the laws that they have on the host."""
    data, options = _data(), {"tau": 4, "rounds": 3, "seed": 7}
    factory = MLP.factory((16,), 3, (32,), learning_rate=0.1, device="cuda")

    def train(factory: Any, workers: int, **others: Any) -> list[Any]:
        return list(averaged_sgd(factory, data, cluster=LocalCluster(), workers=workers, **(options | others)))

    def plain(workers: int, steps: int) -> list[WeightCollection]:
        """Return what each worker's solver alone comes to."""

        def one(shard: Any) -> WeightCollection:
            net = factory(seed=7)
            for batch in shard.feed(steps, seed=7):
                net.step(batch)
            return net.get_weights()

        return data.map_shards(one, workers)

    start = time.perf_counter()
    first = train(factory, 2)
    seconds = time.perf_counter() - start
    assert {a.device for a in first[-1].weights.arrays()} == {GPU}
    assert train(factory, 2)[-1].weights == first[-1].weights, "the same seed gives other bits"
    assert train(factory, 1)[-1].weights == plain(1, 12)[0], "one worker is not the plain solver"
    assert first[0].weights == WeightCollection.mean(plain(2, 4)), "a round is not the mean of its workers"
    host = train(MLP.factory((16,), 3, (32,), learning_rate=0.1), 2)[-1].weights
    # float32 has 2**-24 a rounding; 12 steps of sums over 64 rows in another order stay far within this
    assert first[-1].weights.to_device("cpu").allclose(host, rtol=1e-3, atol=1e-4), "far from the host's"
    w = NDArray(np.float32([0.1, 3.0, -0.0]), device=GPU)
    equal = WeightCollection.mean([WeightCollection({"ip": [w]})] * 5)
    assert equal.to_device("cpu") == WeightCollection({"ip": [w.to_host()]}), "the mean of equal weights is not these"
    return {"seconds": seconds, "loss": [r.loss for r in first]}


def _data() -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64 * 8, 16)).astype(np.float32)
    columns = {"data": x, "label": np.argmax(x[:, :3], axis=1)}
    return pack(columns, [Field("data", (16,)), Field("label", (), "int64")], batch_size=64)


CHECKS = {check.__name__: check for check in (versions, transfers, waits, pinned, fork, two_processes, rounds)}

if __name__ == "__main__":
    import json

    print(json.dumps(CHECKS[sys.argv[1]](int(sys.argv[2]))))
