"""Write the golden messages of format 1 to golden/. Run by hand when a case is added, never by a test.

A file that exists is not written again: what a released version wrote is never changed.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np

from sparknet import WeightCollection, dumps

GOLDEN = Path(__file__).with_name("golden")
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
    *("bfloat16", "float8_e4m3fn", "float8_e5m2"),
)


def array_of(name):
    """Six elements of shape (2, 3), whose bits count up from 0; every bool is 0 or 1."""
    if importlib.util.find_spec("ml_dtypes"):
        importlib.import_module("ml_dtypes")  # registers bfloat16 and float8
    dtype = np.dtype(name)
    bits = np.arange(6 * dtype.itemsize, dtype=np.uint8)
    return (bits % 2 if name == "bool" else bits).view(dtype).reshape(2, 3)


def cases():
    """Name of the file -> (object, options of dumps)."""
    float32 = array_of("float32")
    weights = WeightCollection(
        {"conv1": [float32, np.arange(3, dtype="float64")], "relu1": [], "ip": [np.ones((), "f4")]}
    )
    metadata = {
        "epoch": 3,
        "loss": 0.5,
        "note": "é",
        "raw": b"\x00\xff",
        "ok": True,
        "none": None,
        "list": [1, {"a": -1}],
    }
    found = {f"array_{name}": (array_of(name), {}) for name in DTYPES}
    found |= {
        "mapping": ({"label": np.array([7, -1], "int32"), "data": float32, "": np.zeros((0, 4), "uint8")}, {}),
        "mapping_empty": ({}, {}),
        "mapping_metadata": ({"a": float32}, {"metadata": metadata}),
        "mapping_no_checksum": ({"a": float32}, {"checksum": False}),
        "mapping_large": ({"blocks": np.arange(2100, dtype="uint32"), "wide": np.zeros((1, 300), "bool")}, {}),
        "weights": (weights, {}),
        "weights_empty": (WeightCollection({}), {}),
    }
    return found


def encoded_cases():
    """The same of encoded and compressed messages. What compresses is a library's, and may change: they are only read."""
    ramp = np.linspace(-2, 2, 700, dtype="float32").reshape(7, 100)
    obj = {"ramp": ramp, "double": ramp[:3].astype("float64"), "count": np.arange(600, dtype="int16")}
    ways = [(encoding, None) for encoding in ("float16", "bfloat16", "int8")]
    ways += [("raw", "zstd"), ("raw", "lz4"), ("int8", "zstd"), ("bfloat16", "lz4")]
    return {
        f"encoded/{encoding}_{compression or 'plain'}": (obj, {"encoding": encoding, "compression": compression})
        for encoding, compression in ways
    }


def main():
    """Write what is missing."""
    for name, (obj, options) in (cases() | encoded_cases()).items():
        path = GOLDEN / f"{name}.msg"
        if path.exists():
            print(f"{path.name}: kept")
        else:
            path.write_bytes(dumps(obj, **options))
            print(f"{path.name}: written")


if __name__ == "__main__":
    sys.exit(main())
