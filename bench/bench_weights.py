"""Claim: on large weights, arithmetic costs what their memory costs.

On AlexNet's 244 MB, in-place arithmetic takes at most 1.1 times a loop of numpy over the same arrays, and allocates
nothing of their size. The mean of five collections takes at most 3 times as long as a plain copy of as many bytes on
one core, where two cores are idle, and less than half of what numpy's own expressions take; it allocates the result and
a few MiB. Nothing is claimed for small weights: there the calls count, some microseconds an array; the figures show them.

In each line the repetitions of all ways are interleaved; the ratio is of the minima, because a busy machine only ever
adds. *Bytes* is the time in which numpy's copyto, measured among them, moves what the mean has to read and write. *Peak*
is the most that tracemalloc sees beside the collections, result included, in units of one of them; torch does not
report its memory there. Sizes and seeds are fixed.

What not to conclude: anything about a GPU, about the accuracy of the ways (numpy's and torch's float32 means round at
each step), or about the speed of a training round, most of which is not arithmetic.

    python bench/bench_weights.py [--json FILE]
"""

import argparse
import json
import operator
import os
import platform
import time
import tracemalloc
from pathlib import Path

import numpy as np

import sparknet
from sparknet import WeightCollection

REPETITIONS = 9
COLLECTIONS = 5

LENET = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "ip1": (500, 800), "ip2": (10, 500)}
ALEXNET = {
    "conv1": (96, 3, 11, 11),
    "conv2": (256, 48, 5, 5),
    "conv3": (384, 256, 3, 3),
    "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3),
    "fc6": (4096, 9216),
    "fc7": (4096, 4096),
    "fc8": (1000, 4096),
}


def with_biases(layers):
    return {name: [shape, (shape[0],)] for name, shape in layers.items()}


NETS = {
    "lenet 1.7 MB": with_biases(LENET),
    "alexnet 244 MB": with_biases(ALEXNET),
    "2,000 x 1k": {f"layer{i}": [(1000,)] for i in range(2000)},
}


def collection(shapes, rng):
    layers = {name: [rng.random(shape, dtype=np.float32) for shape in each] for name, each in shapes.items()}
    return WeightCollection(layers)


def interleaved(ways):
    """Least seconds of each way; they take turns, and the result of each is dropped outside its time."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(REPETITIONS):
        for name, way in ways.items():
            start = time.perf_counter()
            result = way()
            best[name] = min(best[name], time.perf_counter() - start)
            del result
    return best


def peak(way):
    """Most bytes allocated at a time while ``way`` runs, its result among them."""
    tracemalloc.start()
    result = way()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return most


def in_place(w, v):
    """Name of the operation -> ours, and a loop of numpy over the same arrays."""
    mine, other = ([a.to_host() for a in c.arrays()] for c in (w, v))

    def loop(op, operands):
        for x, operand in zip(mine, operands, strict=True):
            op(x, operand)

    for symbol, op, number in (
        ("+=", operator.iadd, 1e-3),
        ("-=", operator.isub, 1e-3),
        ("*=", operator.imul, 0.999),
        ("/=", operator.itruediv, 1.001),
    ):
        numbers = [number] * len(mine)
        yield f"w {symbol} number", lambda op=op, n=number: op(w, n), lambda op=op, n=numbers: loop(op, n)
        yield f"w {symbol} v", lambda op=op: op(w, v), lambda op=op: loop(op, other)


def means(collections):
    """Name -> way to the mean of the collections; the first is ours, and *bytes* is a copy."""
    lists = [[a.to_host() for a in c.arrays()] for c in collections]
    groups = list(zip(*lists, strict=True))
    counts = [100 + i for i in range(len(lists))]
    target = [np.zeros_like(x) for x in lists[0]]

    def copy():
        for x, y in zip(target, lists[0], strict=True):
            np.copyto(x, y)

    ways = {
        "ours": lambda: WeightCollection.mean(collections),
        "ours, weighted": lambda: WeightCollection.mean(collections, counts),
        "copy": copy,
        "np.mean(np.stack)": lambda: [np.mean(np.stack(group), axis=0) for group in groups],
        "np.mean(np.stack), float64": lambda: [
            np.mean(np.stack(group), axis=0, dtype=np.float64).astype(np.float32) for group in groups
        ],
    }
    try:
        import torch
    except ImportError:
        return ways
    tensors = [[torch.from_numpy(x) for x in group] for group in groups]
    return ways | {"torch": lambda: [torch.mean(torch.stack(group), dim=0) for group in tensors]}


def row(operation, took, ours, baseline, allocated):
    return {
        "operation": operation,
        "seconds": {"ours": took[ours], baseline: took[baseline]},
        "ratio": took[ours] / took[baseline],
        "peak": allocated,
    }


def compared(rows, nbytes):
    """Measure (name, our way, numpy's way)."""
    for name, ours, plain in rows:
        yield row(name, interleaved({"ours": ours, "numpy": plain}), "ours", "numpy", peak(ours) / nbytes)


def measured_means(collections):
    ways = means(collections)
    took = interleaved(ways)
    # a copy reads and writes one collection, a mean reads all of them and writes one
    took["bytes"] = took.pop("copy") * (len(collections) + 1) / 2
    for name in [name for name in ways if name in took]:
        yield row(f"mean of {len(collections)}: {name}", took, name, "bytes", peak(ways[name]) / collections[0].nbytes)


def others(w, v):
    """Name of what reads weights without changing them -> ours, and the plain expression of numpy."""
    pairs = list(zip([a.to_host() for a in w.arrays()], [a.to_host() for a in v.arrays()], strict=True))
    yield "norm", w.norm, lambda: sum(float(np.sum(np.square(x.astype(np.float64)))) for x, _ in pairs) ** 0.5
    yield "w == v", lambda: w == v, lambda: all(x.tobytes() == y.tobytes() for x, y in pairs)
    yield "allclose", lambda: w.allclose(v), lambda: all(np.allclose(x, y, equal_nan=True) for x, y in pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    rows = []
    for name, shapes in NETS.items():
        rng = np.random.default_rng(7)
        collections = [collection(shapes, rng) for _ in range(COLLECTIONS)]
        w = collections[0]
        print(f"\n{name}: {len(w.arrays())} arrays, {w.nbytes / 1e6:.1f} MB")
        print(f"{'':40}{'ms':>10}{'against':>20}{'ratio':>8}{'peak':>10}")
        found = [
            *measured_means(collections),
            *compared(others(w.copy(), w), w.nbytes),
            *compared(in_place(w.copy(), w * 0.001 + 1), w.nbytes),  # near 1: no overflow, however often
        ]
        for result in found:
            (_, took), (baseline, against) = result["seconds"].items()
            other = f"{baseline} {against * 1e3:.3f}"
            print(f"{result['operation']:40}{took * 1e3:10.3f}{other:>20}{result['ratio']:8.2f}{result['peak']:10.4f}")
            rows.append({"net": name, **result})
    if chosen.json:
        facts = {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "sparknet": sparknet.__version__,
            "machine": platform.processor() or platform.machine(),
            "cpus": os.cpu_count(),
        }
        chosen.json.write_text(json.dumps({"facts": facts, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
