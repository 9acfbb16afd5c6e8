"""Claim: on a CUDA device an NDArray costs what cupy costs, and moves at the speed of page-locked memory.

An operation that is queued takes a few microseconds longer than cupy's own, and one that fills the device takes the same
time. To the host an array comes as fast as into cupy's own page-locked memory, once the pool is warm; to the device, ordinary
host memory goes as fast as cupy sends it.

Each pair is run in turn, round after round, in one process; the ratio is that of the two minima. *Queue* is the time until the
call returns, *run* the time until the device is done. Sizes and seeds are fixed. Do not read from it how fast one library
is against another, nor what a transfer costs while the device computes.

    python bench/bench_gpu.py [--rounds 20] [--json FILE] [--quick]

It needs cupy and a CUDA device, and stops with a plain message where they are not.
"""

import argparse
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

import sparknet
from sparknet import NDArray, nd
from sparknet.backends import get_backend

SIZES = {"16": 16, "64 Ki": 1 << 16, "1 Mi": 1 << 20, "64 Mi": 1 << 26}  # elements of float32
SIDES = {"256": 256, "4096": 4096}  # of square matrices
TRANSFERS = {"1 MiB": 1 << 20, "16 MiB": 1 << 24, "256 MiB": 1 << 28}  # bytes
SEED = 7


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--json", type=Path)
    options.add_argument("--quick", action="store_true", help="the smaller sizes, to see that the bench itself works")
    chosen = options.parse_args()
    if chosen.quick:
        for table in (SIZES, SIDES, TRANSFERS):
            table.popitem()
    try:
        get_backend("cupy")
    except sparknet.SparknetError as error:
        sys.exit(f"bench_gpu: {error}")
    import cupy

    rows = [*operations(cupy, chosen.rounds), *transfers(cupy, chosen.rounds)]
    for row in rows:
        print(
            "  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value:32}" for key, value in row.items())
        )
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps({"machine": machine(cupy), "results": rows}, indent=1) + "\n")


def machine(cupy):
    """Device and versions: what the figures depend on."""
    runtime = cupy.cuda.runtime
    return {
        "device": runtime.getDeviceProperties(0)["name"].decode(),
        "cuda_runtime": runtime.runtimeGetVersion(),
        "cuda_driver": runtime.driverGetVersion(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "array-api-compat")},
        "cupy": cupy.__version__,
        "sparknet": sparknet.__version__,
    }


def operations(cupy, rounds):
    """Rows of (name, ours, bare, ratio): seconds until the call returns, and until the device is done."""
    rng = cupy.random.default_rng(SEED)
    pairs = {}
    for size, count in SIZES.items():
        x, y = (rng.random(count, dtype=cupy.float32) for _ in range(2))
        pairs |= elementwise(cupy, size, x, y)
    for size, side in SIDES.items():
        x = rng.random((side, side), dtype=cupy.float32)
        a = NDArray(x)
        pairs[f"a @ b, {size} x {size}"] = (lambda a=a: a @ a, lambda x=x: x @ x)
    for name, pair in pairs.items():
        for what, finish in (("queue", None), ("run", cupy.cuda.Device().synchronize)):
            ours, bare = paired(cupy, pair, finish, rounds)
            yield {"name": f"{name}: {what}", "ours_us": ours * 1e6, "bare_us": bare * 1e6, "ratio": ours / bare}


def elementwise(cupy, size, x, y):
    a, b = NDArray(x), NDArray(y)
    return {
        f"a + b, {size}": (lambda: a + b, lambda: x + y),
        f"a += b, {size}": (lambda: a.__iadd__(b), lambda: x.__iadd__(y)),
        f"exp(a), {size}": (lambda: nd.exp(a), lambda: cupy.exp(x)),
        f"sum(a), {size}": (lambda: nd.sum(a), x.sum),
        f"a[3], {size}": (lambda: a[3], lambda: x[3]),
    }


def transfers(cupy, rounds):
    """Rows of GB/s: ours, cupy with page-locked memory that is there already, cupy with ordinary memory."""
    import cupyx

    for size, nbytes in TRANSFERS.items():
        host = np.random.default_rng(SEED).random(nbytes // 4, dtype=np.float32)
        locked = cupyx.empty_pinned(host.shape, host.dtype)
        locked[...] = host
        own = cupy.asarray(host)
        array = NDArray(own)
        down = {"ours": array.to_host, "locked": lambda o=own, p=locked: o.get(out=p), "ordinary": own.get}
        up = {
            "ours": lambda h=host: nd.asarray(h, device="cuda:0"),
            "locked": lambda o=own, p=locked: o.set(p),
            "ordinary": lambda h=host: cupy.asarray(h),
        }
        for direction, ways in (("device to host", down), ("host to device", up)):
            best = paired(cupy, ways.values(), cupy.cuda.Device().synchronize, rounds)
            rates = {f"{name}_GB_s": nbytes / seconds / 1e9 for name, seconds in zip(ways, best, strict=True)}
            yield {"name": f"{direction}, {size}", **rates}


def paired(cupy, calls, finish, rounds):
    """Least seconds of each call, run in turn; ``finish`` is waited for within the time, else after it."""
    calls = list(calls)
    best = [float("inf")] * len(calls)
    for _ in range(rounds + 2):  # compiled, and memory pooled, in the first two
        for i, call in enumerate(calls):
            cupy.cuda.Device().synchronize()
            start = time.perf_counter()
            kept = call()
            if finish:
                finish()
            best[i] = min(best[i], time.perf_counter() - start)
            del kept
    return best


if __name__ == "__main__":
    main()
