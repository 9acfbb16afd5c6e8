"""Claim: a message costs what its memory traffic costs.

Parts without checksums and views take the same time whatever the size of the tensors. Writing into a kept buffer costs a
copy, and checksums cost at most one more reading of the tensors. Large weights are written and read faster than by
safetensors and msgpack-numpy. Many small tensors cost Python's time for each, not memory traffic.

Every method is run in turn, round after round, in one process, and its minimum is divided by that of a copy
(`numpy.copyto` between two warm buffers) of the same size. Peers that are not installed are left out. How fresh
memory is given out decides much of what makes new bytes, so the mode of transparent huge pages is printed.

    python bench/bench_serialization.py [--sizes lenet,alexnet,many] [--rounds 7] [--json FILE]
"""

import argparse
import importlib
import json
import os
import pickle
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import sparknet
from sparknet.serialization import verify

SEED = 7
LENET = [(20, 1, 5, 5), (20,), (50, 20, 5, 5), (50,), (500, 800), (500,), (10, 500), (10,)]
ALEXNET = [
    *((96, 3, 11, 11), (96,), (256, 48, 5, 5), (256,), (384, 256, 3, 3), (384,), (384, 192, 3, 3), (384,)),
    *((256, 192, 3, 3), (256,), (4096, 9216), (4096,), (4096, 4096), (4096,), (1000, 4096), (1000,)),
]
SIZES = {"lenet": LENET, "alexnet": ALEXNET, "many": [(1000,)] * 2000}


def tensors_of(shapes):
    """Float32 tensors of these shapes, by name."""
    rng = np.random.default_rng(SEED)
    return {f"layer{i}": rng.standard_normal(shape, dtype=np.float32) for i, shape in enumerate(shapes)}


def ours(tensors, directory):
    """Method -> a call of ours."""
    message = sparknet.dumps(tensors)
    kept = np.zeros(len(message) + 64, np.uint8)
    path = Path(directory) / "weights.msg"
    sparknet.save(path, tensors)
    return {
        "dump_parts": lambda: sparknet.dump_parts(tensors),
        "dump_parts, no checksum": lambda: sparknet.dump_parts(tensors, checksum=False),
        "dumps_into": lambda: sparknet.dumps_into(tensors, kept),
        "dumps_into, no checksum": lambda: sparknet.dumps_into(tensors, kept, checksum=False),
        "dumps": lambda: sparknet.dumps(tensors),
        "dumps, no checksum": lambda: sparknet.dumps(tensors, checksum=False),
        "loads": lambda: sparknet.loads(message),
        "loads, verified": lambda: sparknet.loads(message, verify=True),
        "loads, copied": lambda: sparknet.loads(message, copy=True, verify=False),
        "loads, copied and verified": lambda: sparknet.loads(message, copy=True),
        "load, mapped": lambda: sparknet.load(path),
        "load, owned": lambda: sparknet.load(path, mmap=False, verify=False),
        "verify": lambda: verify(message),
        "fresh bytes()": lambda: bytes(memoryview(message)[1:]),
    }


def peers(tensors):
    """Method -> a call of a peer that is installed."""
    buffers = []
    outside = pickle.dumps(tensors, protocol=5, buffer_callback=buffers.append)
    inside = pickle.dumps(tensors, protocol=5)
    found = {
        "pickle 5 dumps": lambda: pickle.dumps(tensors, protocol=5),
        "pickle 5 loads": lambda: pickle.loads(inside),
        "pickle 5 out of band dumps": lambda: pickle.dumps(tensors, protocol=5, buffer_callback=[].append),
        "pickle 5 out of band loads": lambda: pickle.loads(outside, buffers=buffers),
    }
    safetensors = optional("safetensors.numpy")
    if safetensors:
        saved = safetensors.save(tensors)
        found["safetensors save"] = lambda: safetensors.save(tensors)
        found["safetensors load"] = lambda: safetensors.load(saved)
    msgpack, msgpack_numpy = optional("msgpack"), optional("msgpack_numpy")
    if msgpack_numpy:
        packed = msgpack.packb(tensors, default=msgpack_numpy.encode)
        found["msgpack-numpy packb"] = lambda: msgpack.packb(tensors, default=msgpack_numpy.encode)
        found["msgpack-numpy unpackb"] = lambda: msgpack.unpackb(packed, object_hook=msgpack_numpy.decode)
    return found


def optional(name):
    """Return a module, or None where its package is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def measure(methods, rounds):
    """Return the least seconds of each method; all methods run in turn in each round."""
    least = dict.fromkeys(methods, float("inf"))
    for _ in range(rounds):
        for name, call in methods.items():
            begin = time.perf_counter()
            result = call()
            least[name] = min(least[name], time.perf_counter() - begin)
            del result
    return least


def run(size, rounds, directory):
    """Return what the methods take for one size."""
    tensors = tensors_of(SIZES[size])
    nbytes = sum(array.nbytes for array in tensors.values())
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    copy = {"copy": lambda: np.copyto(target, source)}
    least = measure(copy | ours(tensors, directory) | peers(tensors), rounds if nbytes > 1 << 26 else 20 * rounds)
    overhead = (len(sparknet.dumps(tensors)) - nbytes) / len(tensors)
    return {
        "size": size,
        "bytes": nbytes,
        "tensors": len(tensors),
        "overhead_bytes_per_tensor": overhead,
        "seconds": least,
    }


def machine():
    """Return versions and what of the machine matters here."""
    thp = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "thp": thp.read_text(encoding="ascii").strip() if thp.exists() else "unknown",
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "sparknet": sparknet.__version__,
        "machine": platform.machine(),
    }


def show(result):
    """Print one size as a table."""
    seconds = result["seconds"]
    print(f"\n{result['size']}: {result['tensors']} tensors, {result['bytes'] / 1e6:,.1f} MB, "
          f"{result['overhead_bytes_per_tensor']:.0f} bytes more for each tensor")  # fmt: skip
    for name, value in seconds.items():
        print(f"  {name:<30} {value * 1e3:>10.3f} ms {value / seconds['copy']:>9.3f} copies")


def main():
    """Run the sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(SIZES), help="comma-separated, of: " + ", ".join(SIZES))
    parser.add_argument("--rounds", type=int, default=7, help="20 times as many for small sizes")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    facts = machine()
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    results = []
    with tempfile.TemporaryDirectory() as directory:
        for size in options.sizes.split(","):
            results.append(run(size, options.rounds, directory))
            show(results[-1])
    if options.json:
        options.json.write_text(json.dumps({"machine": facts, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
