"""What is mutated: a small message of every kind, dtype, encoding and compression, and weight files of other programs.

A seed has a name of its own, by which a finding is replayed. There are three worlds: messages as they are; messages whose
chunks and payloads are so short that a small one has many of both; and files of other formats.
"""

import itertools
import tempfile
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import ml_dtypes
import msgpack
import numpy as np

from sparknet import NDArray, WeightCollection
from sparknet.formats import write
from sparknet.serialization import Codec, dumps, inspect, loads
from sparknet.serialization.message import header, layout, plans
from sparknet.serialization.payload import codes, coding, encodings

TESTS = Path(__file__).parents[1]
SHORT = {(codes, "CHUNK"): 512, (encodings, "CHUNK"): 512, (coding, "CHUNK"): 512}
# the second bounds the number of payloads, and with it what a header costs that promises more than there is
SHORT |= {(layout, "MAX_BIN"): 700, (header, "MAX_PAYLOAD"): 700 << 16}
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
)
WAYS = list(itertools.product(("raw", "float16", "bfloat16", "int8"), (None, "zstd", "lz4")))


class Seed(NamedTuple):
    """A valid message or file, and for a message what it is made of."""

    name: str
    data: bytes
    columns: dict[str, Any] = {}  # noqa: RUF012 - never changed: a header, unpacked
    payloads: tuple[bytes, ...] = ()
    live: Any = None  # arrays that the message fits
    codec: Any = None


@contextmanager
def world(name):
    """Make chunks and payloads short in the world ``short``; plans are forgotten on the way in and out."""
    with ExitStack() as stack:
        for (module, constant), value in SHORT.items() if name == "short" else ():
            stack.enter_context(mock.patch.object(module, constant, value))
        stack.callback(forget_plans)
        forget_plans()
        yield


def forget_plans():
    """Forget the plans of earlier messages: what is found must not depend on them."""
    plans._read.clear()
    plans._written.clear()


@cache
def seeds(name):
    """Return the seeds of a world."""
    with world(name):
        return {"files": _files, "short": _short, "plain": _plain}[name]()


def seed_of(name, data):
    """Return the seed that is made of a valid message."""
    obj, columns = loads(data), msgpack.unpackb(msgpack.unpackb(data)[1])
    return Seed(name, data, columns, tuple(payloads_of(data, inspect(data))), blank(obj), Codec(obj))


def payloads_of(data, info):
    """Return the stored bytes of each tensor, found by MessagePack alone; those of a split one are joined."""
    rest, found = b"".join(msgpack.unpackb(data)[3][1::2]), []
    for tensor in info.tensors:
        found.append(rest[: tensor.stored_nbytes])
        rest = rest[tensor.stored_nbytes :]
    return found


def blank(obj):
    """Return arrays of the same schema that are there already: every element 1, all of them writable."""
    if isinstance(obj, WeightCollection):
        return obj.map(blank)
    if isinstance(obj, dict):
        return {name: np.ones_like(array) for name, array in obj.items()}
    return NDArray(np.ones_like(obj))


def _plain():
    golden = TESTS / "serialization" / "golden"
    found = {f"golden {path.relative_to(golden)}": path.read_bytes() for path in sorted(golden.rglob("*.msg"))}
    found |= {f"{np.dtype(dtype)}": dumps({"a": _elements(dtype, 9), "b": _elements(dtype, 2)}) for dtype in DTYPES}
    weights = WeightCollection({"conv": [_elements("float32", 12).reshape(1, 3, 2, 2)], "": [], "é": [np.ones(())] * 2})
    many = {f"t{i}": np.full(i % 3, i, "int32") for i in range(12)}
    found |= {
        "array": dumps(np.arange(6.0).reshape(2, 3)),
        "scalar": dumps(np.array(2, "uint8")),
        "weights": dumps(weights, metadata={"round": 3}),
        "many": dumps(many),
        "many layers": dumps(WeightCollection({name: [array] for name, array in many.items()}), checksum=False),
        "no checksum": dumps({"a": np.arange(5), "flags": np.ones(3, bool)}, checksum=False),
        "metadata": dumps(
            {}, metadata=dict(zip("abcde", [2**64 - 1, [{"x": [None, [1.5]]}], b"\0", "é", -1], strict=True))
        ),
        "axes": dumps(np.zeros((1,) * 40 + (0, 300, 70_000), "int8")),
        "blocks": dumps({"a": np.arange(2100, dtype="uint32"), "b": np.arange(1030.0)}),
    }
    ways = {_named(*way): dumps(_tensors(600), encoding=way[0], compression=way[1]) for way in WAYS}
    return [seed_of(name, data) for name, data in (found | ways).items()]


def _short():
    ways = {_named(*way): dumps(_tensors(1100), encoding=way[0], compression=way[1]) for way in WAYS}
    ways |= {f"no checksum, {name}": dumps(_tensors(600), encoding=name, checksum=False) for name in ("raw", "int8")}
    weights = WeightCollection({name: [array] for name, array in _tensors(700).items()})
    ways["weights"] = dumps(weights, encoding="int8", compression="lz4")
    return [seed_of(name, data) for name, data in ways.items()]


def _named(encoding, compression):
    return f"{encoding}, {compression or 'plain'}"


def _elements(dtype, count):
    """Any bits, but for bools."""
    size = count * np.dtype(dtype).itemsize
    bits = np.random.default_rng(size).integers(0, 2 if dtype == "bool" else 256, size, np.uint8)
    return bits.view(dtype)


def _tensors(count):
    """Tensors that every encoding has a place for, and that shrink when they are compressed."""
    ramp = np.linspace(-2, 2, count)
    return {
        "ramp": ramp.astype("float32"),
        "double": np.round(ramp[: count // 2], 1),
        "flags": np.arange(count // 2) % 50 == 0,
        "complex": np.zeros(count // 8, "complex64"),
        "one": np.ones((), "int16"),
    }


def _files():
    """Files of other programs; the suffix is part of the name."""
    weights = WeightCollection(
        {"ip/x": [np.arange(6, dtype="f4").reshape(2, 3), np.ones((1, 1, 1, 2))], "b": [np.ones(())]}
    )
    flags = {"flags": np.array([True, False]), "a": np.arange(4, dtype=">i2"), "empty": np.zeros((0, 2), "complex64")}
    image = np.arange(12, dtype="f4").reshape(3, 2, 2)
    state = {"iteration": np.array(7), "history/0": image}
    objects = {
        ".npz": (weights, flags),
        ".safetensors": (weights, flags),
        ".caffemodel": (weights,),
        ".npy": (image, np.asfortranarray(image), flags["flags"]),
        ".binaryproto": (image,),
        ".caffemodel.h5": (WeightCollection({"ip": [image, image[0]], "b": [np.ones(())]}),),
        ".solverstate": (state,),
        ".solverstate.h5": (state,),
    }
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, sources in objects.items():
            for number, obj in enumerate(sources):
                path = Path(folder) / f"{number}{suffix}"
                write(path, obj)
                found[path.name] = path.read_bytes()
            path = Path(folder) / "deflated.npz"
        np.savez_compressed(path, a=np.zeros(3000, "f4"), b=flags["a"])
        found[path.name] = path.read_bytes()
    for name, suffix in ("net", ".caffemodel"), ("old", ".caffemodel"), ("mean", ".binaryproto"):
        found[f"{name}{suffix}"] = (TESTS / "formats" / "golden" / f"{name}.golden").read_bytes()
    return [Seed(name, data) for name, data in found.items()]
