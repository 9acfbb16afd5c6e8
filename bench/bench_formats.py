"""Claim: a ``.caffemodel`` is read and written in tens of copies of its weights, not in the hundreds that lists of numbers take.

Weights of AlexNet's size (244 MB) go through every format, and through what users of numpy, safetensors and Caffe have
without sparknet. Every method is run in turn, round after round, in one process, and its minimum is divided by that of a
copy (`numpy.copyto` between two warm buffers) of the same size. Ours are synced to the disk, the peers' are not: name a
directory in memory (/dev/shm) to compare them. Protobuf reads lists fast from version 7 on, and writes them fast in none.

    python bench/bench_formats.py [--rounds 3] [--directory DIR] [--json FILE]
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from bench_serialization import ALEXNET, machine, measure, optional, tensors_of

import sparknet
from sparknet import formats

SUFFIXES = ("sparknet", "npz", "safetensors", "caffemodel")
SMALL = 8  # the lists are timed on so small a part of the elements, and their time is multiplied


def weights():
    """Layer -> weights and bias."""
    arrays = list(tensors_of(ALEXNET).values())
    return sparknet.WeightCollection({f"layer{i}": arrays[2 * i : 2 * i + 2] for i in range(len(arrays) // 2)})


def ours(collection, folder):
    """Method -> a call of ours."""
    found = {}
    for suffix in SUFFIXES:
        path = folder / f"weights.{suffix}"
        formats.write(path, collection)
        found[f"write .{suffix}"] = lambda path=path: formats.write(path, collection)
        found[f"read .{suffix}"] = lambda path=path: formats.read(path)
    return found


def peers(collection, folder):
    """Method -> a call of a package that is installed."""
    named = {f"{name}_{i}": array.to_host() for name, arrays in collection.items() for i, array in enumerate(arrays)}
    np.savez(folder / "peer.npz", **named)
    found = {
        "numpy.savez": lambda: np.savez(folder / "peer.npz", **named),
        "numpy.load of .npz": lambda: dict(np.load(folder / "peer.npz")),
    }
    safetensors = optional("safetensors.numpy")
    if safetensors:
        safetensors.save_file(named, folder / "peer.safetensors")
        found["safetensors save_file"] = lambda: safetensors.save_file(named, folder / "peer.safetensors")
        found["safetensors load_file"] = lambda: safetensors.load_file(folder / "peer.safetensors")
    return found


def lists(collection, folder):
    """Method -> a call of Caffe's own messages, whose elements are lists, for 1/SMALL of the elements."""
    messages = optional("caffe.proto.caffe_pb2")
    if not messages:
        return {}
    part = np.concatenate([array.to_host().ravel() for array in collection.arrays()])[::SMALL]
    path = folder / "lists.caffemodel"

    def write():
        path.write_bytes(messages.BlobProto(data=part).SerializeToString())

    def read():
        return np.array(messages.BlobProto.FromString(path.read_bytes()).data, np.float32)

    return {"write lists": write, "read lists": read}


def main():
    """Run and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where the files lie, 2 GB of them")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    collection = weights()
    source, target = np.ones(collection.nbytes, np.uint8), np.zeros(collection.nbytes, np.uint8)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        folder = Path(directory)
        copy = {"copy": lambda: np.copyto(target, source)}
        seconds = measure(copy | ours(collection, folder) | peers(collection, folder), options.rounds)
        seconds |= {name: SMALL * least for name, least in measure(lists(collection, folder), options.rounds).items()}
    facts = machine() | {
        name: module.__version__ for name in ("google.protobuf", "safetensors") if (module := optional(name))
    }
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for name, value in seconds.items():
        print(f"  {name:<24} {value * 1e3:>10.1f} ms {value / seconds['copy']:>9.1f} copies")
    if options.json:
        result = {"machine": facts, "bytes": collection.nbytes, "seconds": seconds}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
