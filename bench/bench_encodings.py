"""Claim: int8 and bfloat16 cost at most three copies of the float32 weights, each way.

A copy is `numpy.copyto` of the float32 input between two warm buffers. Sizes are those of AlexNet's weights as one tensor
(244 MB) and of a small net (1.7 MB); warm memory. Large tensors are encoded and decoded on up to four cores, the copy is made by
one; what one core does alone is printed too. Each method runs in turn, round after round, in one process, and
the least time of each is divided by that of the copy. Beside them numpy's own conversion to float16, ml_dtypes' to bfloat16
where it is installed, and compression, which is not cheap: what it gains on weights is printed with what it takes. The
error of int8 is printed for several lengths of block, on weights that are normally distributed and on some with heavy tails.

What small tensors cost is printed too: 4 MB of float32 as 1,000 and as 4,000 of them, written by ``dumps`` and read by
``loads(copy=True)`` in each encoding, with checksums, against the same bytes as one tensor.

What not to conclude: anything about a machine whose cores share their memory with others at work; the ratios of what
computes grow there, because a copy has to wait for memory anyway. How well weights compress depends on the weights.

    python bench/bench_encodings.py [--rounds 9] [--json FILE]
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from sparknet import dumps, loads
from sparknet.serialization.payload import quantization
from sparknet.serialization.payload.codes import NAMES, RAW, encoded_size
from sparknet.serialization.payload.coding import compress, decode_payload, encode_elements
from sparknet.serialization.payload.encodings import decode_into, encode_into, scratch_for
from sparknet.serialization.payload.form import Form

SEED = 7
FLOAT32 = 0x42
SIZES = {"lenet": 431_080, "alexnet": 60_965_224}  # parameters
PIECES, PIECES_BYTES = (1, 1000, 4000), 4_096_000
TARGETS = {f"{name} {way}": 3.0 for name in ("bfloat16", "int8") for way in ("encode", "decode")}


def weights_of(count):
    """Float32 weights, and room for as many."""
    weights = np.random.default_rng(SEED).standard_normal(count, dtype=np.float32) * np.float32(0.02)
    return weights, np.zeros_like(weights)


def encodings(weights, back):
    """Method -> a call, for each encoding both ways."""
    room, found = scratch_for(len(weights)), {}
    for code, name in NAMES.items():
        if code == RAW:
            continue
        stored, form = (
            np.zeros(encoded_size(code, len(weights)), np.uint8),
            Form("weights", FLOAT32, weights.shape, code),
        )
        found |= {
            f"{name} encode": lambda form=form, stored=stored: encode_elements(form, weights.view(np.uint8), stored),
            f"{name} decode": lambda form=form, stored=stored: decode_payload(form, [stored], None, back, 0),
            f"{name} encode, one core": lambda code=code, stored=stored: encode_into(code, weights, stored, room),
            f"{name} decode, one core": lambda code=code, stored=stored: decode_into(code, stored, back, room),
        }
        found[f"{name} encode"]()
    return found


def casts(weights, back):
    """Method -> a call of the conversions there are elsewhere."""
    half = weights.astype(np.float16)
    found = {
        "numpy float16 encode": lambda: np.copyto(half, weights, casting="unsafe"),
        "numpy float16 decode": lambda: np.copyto(back, half),
    }
    try:
        bfloat16 = importlib.import_module("ml_dtypes").bfloat16
    except ImportError:
        return found
    brain = weights.astype(bfloat16)
    found["ml_dtypes bfloat16 encode"] = lambda: np.copyto(brain, weights, casting="unsafe")
    found["ml_dtypes bfloat16 decode"] = lambda: np.copyto(back, brain)
    return found


def compressions(weights, back):
    """Method -> a call; and what compression leaves of each encoding."""
    found, left = {}, {}
    for encoding, name in NAMES.items():
        form = Form("weights", FLOAT32, weights.shape, encoding)
        for method in ("zstd", "lz4"):
            parts = compress(form, [weights.view(np.uint8)], method)
            left[f"{name} + {method}"] = sum(map(len, parts)) / weights.nbytes if parts else None
            found[f"{name} + {method} encode"] = lambda form=form, method=method: compress(
                form, [weights.view(np.uint8)], method
            )
            if parts:
                found[f"{name} + {method} decode"] = lambda form=form, method=method, parts=parts: decode_payload(
                    form, parts, method, back, 0
                )
    return found, left


def errors_of_int8():
    """Block length -> root mean square error of int8 over that of the weights, for two distributions."""
    rng, count = np.random.default_rng(SEED), 1 << 22
    weights = {"normal": rng.standard_normal(count), "heavy tails (t, 3)": rng.standard_t(3, count)}
    table = {}
    for name, values in weights.items():
        for block in (64, 256, 1024, 4096):
            rows = values.reshape(-1, block)
            scale = np.abs(rows).max(axis=1, keepdims=True) / 127
            error = np.rint(rows / scale) * scale - rows
            table[f"{name}, blocks of {block}"] = float(np.sqrt(np.mean(error**2) / np.mean(values**2)))
    return table


def measure(methods, rounds):
    """Return the least seconds of each method; all methods run in turn in each round."""
    least = dict.fromkeys(methods, float("inf"))
    for _ in range(rounds):
        for name, call in methods.items():
            begin = time.perf_counter()
            call()
            least[name] = min(least[name], time.perf_counter() - begin)
    return least


def run(size, rounds):
    """Return what the methods take for one size."""
    weights, back = weights_of(SIZES[size])
    target = np.zeros_like(weights)
    cheap = {"copy": lambda: np.copyto(target, weights)} | encodings(weights, back) | casts(weights, back)
    seconds = measure(cheap, rounds if size == "alexnet" else 20 * rounds)
    found, left = compressions(weights, back)
    seconds |= measure(found, 2)
    return {"size": size, "bytes": weights.nbytes, "seconds": seconds, "left": left}


def in_pieces(rounds):
    """Encoding and way -> number of tensors -> seconds, of messages of as many bytes."""
    count = PIECES_BYTES // 4
    weights = weights_of(count)[0]
    calls = {}
    for pieces in PIECES:
        tensors = {f"layer{i}": part for i, part in enumerate(weights.reshape(pieces, -1))}
        for name in NAMES.values():
            message = dumps(tensors, encoding=name)
            calls[f"{name} dumps", pieces] = lambda tensors=tensors, name=name: dumps(tensors, encoding=name)
            calls[f"{name} loads", pieces] = lambda message=message: loads(message, copy=True)
    found = {}
    for (what, pieces), seconds in measure(calls, rounds).items():
        found.setdefault(what, {})[pieces] = seconds
    return found


def show_pieces(found):
    """Print what a message costs in pieces, and how many times that is what it costs as one tensor."""
    print(f"\n{PIECES_BYTES / 1e6:.1f} MB of float32, in tensors: " + ", ".join(f"{pieces:,}" for pieces in PIECES))
    for what, seconds in found.items():
        ratios = ", ".join(f"{seconds[pieces] / seconds[1]:.1f}" for pieces in PIECES[1:])
        print(f"  {what:<28} " + " ".join(f"{seconds[pieces] * 1e3:>8.2f} ms" for pieces in PIECES) + f"   x {ratios}")


def show(result):
    """Print one size as a table."""
    seconds, left = result["seconds"], result["left"]
    print(f"\n{result['size']}: {result['bytes'] / 1e6:.1f} MB of float32")
    for name, value in seconds.items():
        ratio = value / seconds["copy"]
        target = f"   target {TARGETS[name]}" if name in TARGETS else ""
        print(f"  {name:<28} {value * 1e3:>9.2f} ms {ratio:>8.2f} copies{target}")
    for name, share in left.items():
        print(f"  {name:<28} {'not smaller' if share is None else f'{share:.3f} of the bytes'}")


def machine():
    """Return versions and what of the machine matters here."""
    packages = {}
    for name in ("numpy", "ml_dtypes", "backports.zstd", "lz4"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "none"
    facts = {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}
    return facts | packages | {"machine": platform.machine(), "block": quantization.BLOCK}


def main():
    """Run both sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="20 times as many for the small size")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    facts, errors = machine(), errors_of_int8()
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    print("\nint8: root mean square error over that of the weights")
    for name, error in errors.items():
        print(f"  {name:<36} {error:.4f}")
    results = []
    for size in SIZES:
        results.append(run(size, options.rounds))
        show(results[-1])
    pieces = in_pieces(5 * options.rounds)
    show_pieces(pieces)
    if options.json:
        content = {"machine": facts, "int8_errors": errors, "results": results, "seconds_in_pieces": pieces}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
