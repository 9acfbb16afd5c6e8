"""Claim: an NDArray costs at most as much again as numpy on 16 elements, and nothing that shows on 65,536.

Targets, as ratios to bare numpy in the same process: a + b at 16 elements 2.0, at 64 Ki elements 1.05; m[3], the view of a
row, 3.0. On Python 3.12 and newer they are met. Python 3.11 does not specialize the attributes of a class with `__getattr__`,
which costs 18 ns each: there a + b takes 2.3 and m[3] 3.6. a[3], of one axis, has no target: numpy reads a number, an
NDArray makes an array without axes and copies it.
Beside it array-api-strict, and torch on the CPU where it is installed. Repetitions of all of them are interleaved;
the ratio is of the minima, because a busy machine only ever adds.

What not to conclude: anything about a GPU, where a launch costs more than all of this.

    python bench/bench_ndarray.py [--json FILE]
"""

import argparse
import json
import platform
import timeit
from pathlib import Path

import array_api_strict
import numpy as np

from sparknet import nd

REPETITIONS = 15
TARGETS = {("a + b", 16): 2.0, ("a + b", 65536): 1.05, ("m[3]", 16): 3.0}


class Library:
    """A namespace, and how it makes an array of host data."""

    def __init__(self, name, xp, asarray):
        self.name, self.xp, self.asarray = name, xp, asarray


def libraries():
    found = [
        Library("numpy", np, np.asarray),
        Library("NDArray", nd, nd.asarray),
        Library("array-api-strict", array_api_strict, array_api_strict.asarray),
    ]
    try:
        import torch
    except ImportError:
        return found
    torch.set_num_threads(1)
    return [*found, Library("torch", torch, torch.asarray)]


def operations(library, size):
    """Name -> function of no argument."""
    xp, asarray = library.xp, library.asarray
    rng = np.random.default_rng(0)
    a, b = (asarray(rng.normal(size=size).astype(np.float32)) for _ in range(2))
    side = max(2, int(size**0.5))
    m, n = (asarray(rng.normal(size=(side, side)).astype(np.float32)) for _ in range(2))
    float32 = xp.float32
    row = (3, ...) if library.name == "array-api-strict" else 3  # which takes no integer alone

    def in_place():
        nonlocal a
        a += b
        a -= b

    return {
        "a + b": lambda: a + b,
        "a * 2.0": lambda: a * 2.0,
        "a += b; a -= b": in_place,
        "exp(a)": lambda: xp.exp(a),
        "a[3]": lambda: a[3],
        "m[3]": lambda: m[row],
        "a[2:9]": lambda: a[2:9],
        "sum(a)": lambda: xp.sum(a),
        "m @ n": lambda: m @ n,
        "zeros": lambda: xp.zeros(size, dtype=float32),
        "reshape": lambda: xp.reshape(m, (-1,)),
    }


def seconds(functions):
    """The least time of one call of each function; their repetitions take turns."""
    timers = {name: timeit.Timer(function) for name, function in functions.items()}
    counts = {name: max(1, int(2e-3 / (timer.timeit(3) / 3))) for name, timer in timers.items()}
    best = dict.fromkeys(timers, float("inf"))
    for _ in range(REPETITIONS):
        for name, timer in timers.items():
            best[name] = min(best[name], timer.timeit(counts[name]) / counts[name])
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    found = libraries()
    results = []
    for size in (16, 65536):
        every = {library.name: operations(library, size) for library in found}
        print(f"\n{size} float32 elements: nanoseconds for numpy, then ratios to it")
        print(f"{'':16}{'numpy':>10}" + "".join(f"{library.name:>18}" for library in found[1:]))
        for operation in every["numpy"]:
            took = seconds({name: functions[operation] for name, functions in every.items()})
            ratios = {name: took[name] / took["numpy"] for name in took}
            target = TARGETS.get((operation, size))
            print(
                f"{operation:16}{took['numpy'] * 1e9:10.0f}"
                + "".join(f"{ratios[library.name]:18.2f}" for library in found[1:])
                + (f"   target {target}" if target else "")
            )
            results.append({"size": size, "operation": operation, "numpy_seconds": took["numpy"], "ratios": ratios})
    if args.json:
        facts = {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.processor()}
        Path(args.json).write_text(json.dumps({"facts": facts, "results": results}, indent=1))


if __name__ == "__main__":
    main()
