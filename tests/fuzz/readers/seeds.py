"""Valid inputs of the readers, small ones, and changes that only one of them knows."""

import functools
import gzip
import io
import json
import pickle
import struct
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from fuzz import corpus, mutations
from fuzz.readers import hdf5, pictures
from fuzz.readers.calls import SETTINGS
from fuzz.readers.inputs import Fifo, Files, Link
from fuzz.readers.words import change_json

from sparknet import NDArray, WeightCollection
from sparknet.checkpoint import Checkpoint, Position
from sparknet.clusters.spark.packed.manifest import Manifest
from sparknet.data.fields import Field
from sparknet.data.layout import Layout
from sparknet.serialization import dumps

_ROOT = Path(__file__).parents[3]
_LAYER = '{"tops": {"data": [3, 4, 4], "label": []}, "batch_size": 5'


# ---- weights
def messages() -> list[bytes]:
    return [seed.data for seed in corpus.seeds("plain")]


def change_message(chance: Any, data: bytes, _: bytes) -> bytes:
    """Change a message where it is taken apart; of other bytes make one of the seeds."""
    seeds = corpus.seeds("plain")
    try:
        one = corpus.seed_of("", data)
    except Exception:  # noqa: BLE001 - it was changed before, and is no message any more
        one = chance.choice(seeds)
    return mutations.mutate(chance, one, chance.choice(seeds))[0]


def change_metadata(chance: Any, data: bytes, _: bytes) -> bytes:
    """Change what a message says of itself, as JSON has it; all else stays right."""
    seed = corpus.seed_of("", data)
    said = change_json(chance, json.dumps(seed.columns.get("metadata", {"a": 1})).encode(), b"")
    columns = seed.columns | {"metadata": json.loads(said)}
    return mutations.framed(msgpack.packb(columns), seed.payloads)


@functools.cache
def weights(suffix: str) -> list[bytes]:
    """Return the files with this suffix among the weights of other programs."""
    return [seed.data for seed in corpus.seeds("files") if seed.name.partition(".")[2] == suffix[1:]]


@functools.cache
def files_of_all() -> list[bytes]:
    """Return a file of each format, and some of none."""
    suffixes = (".npy", ".npz", ".safetensors", ".caffemodel", ".solverstate", ".binaryproto")
    found = [data for suffix in suffixes for data in weights(suffix)]
    found += (
        messages()[:6]
        + prototxts()
        + hdf5.seeds("data")[:2]
        + hdf5.seeds("history")[:2]
        + [b"", b"GIF89a", pickle.dumps({"a": 1})]
    )
    return found


# ---- prototxts
@functools.cache
def prototxts() -> list[bytes]:
    folders = (_ROOT / "examples", _ROOT / "tests" / "nets" / "tiny", _ROOT / "tests" / "formats" / "golden")
    return [path.read_bytes() for folder in folders for path in sorted(folder.rglob("*.prototxt"))] + [
        _OLD,
        _SOLVER + _NET,
    ]


_SOLVER = b'base_lr: 0.1 lr_policy: "multistep" stepvalue: 3 stepvalue: 9 momentum: 0.9 snapshot: 1 snapshot_prefix: "/etc/x" weights: "w.caffemodel"\n'
_NET = b"""net_param { name: "n"
layer { name: "images" type: "ImageData" top: "data" top: "label" image_data_param { source: "list.txt" batch_size: 4 new_height: 8 new_width: 8 } transform_param { crop_size: 6 mirror: true mean_file: "mean.binaryproto" scale: 0.5 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } include { phase: TRAIN not_stage: "x" } }
layer { name: "own" type: "Python" bottom: "ip" top: "own" python_param { module: "stranger" layer: "Own" param_str: "{}" } }
layer { name: "out" type: "HDF5Output" bottom: "ip" bottom: "label" hdf5_output_param { file_name: "../written.h5" } }
layer { name: "loss" type: "InfogainLoss" bottom: "ip" bottom: "label" top: "loss" infogain_loss_param { source: "mean.binaryproto" } }
}
"""
_OLD = b"""layers { layer { name: "c" type: "conv" num_output: 3 kernelsize: 3 weight_filler { type: "xavier" } } bottom: "data" top: "c" }
layers { name: "r" type: RELU bottom: "c" top: "c" } input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
"""
_FED = b"""layer { name: "d" type: "Python" top: "data" top: "label" python_param { module: "sparknet.nets.caffe" layer: "RDDDataLayer" param_str: '%s, "ragged": "drop"}' } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
""" % _LAYER.encode()


@functools.cache
def solvers() -> list[Files]:
    """Return solvers with their nets, and the files that these name."""
    beside = {"mean.binaryproto": weights(".binaryproto")[0], "w.caffemodel": weights(".caffemodel")[0]}
    found = []
    for folder in (
        _ROOT / "examples" / "lenet",
        _ROOT / "examples" / "cifar10_quick",
        _ROOT / "tests" / "nets" / "tiny",
    ):
        paths = sorted(folder.glob("*.prototxt"))
        found.append({("solver.prototxt" if "solver" in path.name else path.name): path.read_bytes() for path in paths})
    named = b'net: "net.prototxt"\n' + _SOLVER
    found += [
        {"solver.prototxt": _SOLVER + _NET, **beside},
        {"solver.prototxt": named, "net.prototxt": _FED, **beside},
        {"solver.prototxt": named, "net.prototxt": _OLD, **beside},
    ]
    return found


def param_strs() -> list[bytes]:
    rest = (
        "}",
        ', "ragged": "pad", "padding": {"label": -1}, "classes": {"label": 9}}',
        ', "batch_axis": {"data": 1}, "source": "x"}',
    )
    return [f"{_LAYER}{end}".encode() for end in rest]


# ---- images
@functools.cache
def tars() -> list[bytes]:
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as tar:
            for name, data in (
                ("a/", None),
                ("a/1.jpg", b"x" * 700),
                ("a/é.PNG", b""),
                ("notes.txt", b"x"),
                ("d" * 90 + "/" + "e" * 90 + ".gif", b"y"),
            ):
                member = tarfile.TarInfo(name)
                member.type, member.size = (tarfile.DIRTYPE, 0) if data is None else (tarfile.REGTYPE, len(data))
                tar.addfile(member, io.BytesIO(data or b""))
            link = tarfile.TarInfo("a/2.txt")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
        found.append(file.getvalue()[: 512 * 22])
    return found


def label_files() -> list[bytes]:
    return [b"a/1.jpg 0\na b.png 12\n./c.gif -1\r\n\n", b"\xef\xbb\xbfcat 3\ndog\t4", "é/ü.jpg 7\u2028x 8\n".encode()]


def folders() -> list[Files]:
    picture = pictures.seeds("GIF")[0]
    return [
        {"a/1.gif": picture, "b/2.jpg": b"", "b/notes.txt": b"x"},
        {"a/1.gif": picture, "link": Link("a"), "a/up": Link("..")},
        {"a/1.gif": Link("/etc/passwd"), "b.png": Link("nowhere"), "pipe.jpg": Fifo()},
    ]


def tree(chance: Any) -> Files:
    """Return a folder with links, FIFOs, and names that no encoding has."""
    names = [
        "a",
        "b",
        "c.jpg",
        "d.png",
        "_hidden",
        ".git",
        "é.gif",
        "\udcff\udcfe.jpg",
        "\x1b[2J.png",
        "a\nb.jpg",
        "x" * 250 + ".jpg",
        " ",
    ]
    targets = [".", "..", "a", "../b", "/etc", "/dev/zero", "nowhere", "../../beside", "c.jpg", "self", "\udcff"]
    found: Files = {}
    for _ in range(chance.choice((1, 4, 12))):
        name = "/".join(chance.choices(names, k=chance.choice((1, 1, 2, 3, 9))))
        found[name] = chance.choice((b"x", b"", Link(chance.choice(targets)), Link(chance.choice(targets)), Fifo()))
    return found


@functools.cache
def idx_files() -> list[bytes]:
    images = bytes([0, 0, 8, 3]) + struct.pack(">3I", 5, 4, 3) + bytes(range(60))
    floats = bytes([0, 0, 13, 2]) + struct.pack(">2I", 2, 3) + bytes(24)
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", 5) + bytes(5)
    return [
        images,
        floats,
        labels,
        gzip.compress(images, mtime=0),
        gzip.compress(images[:9], mtime=0) + gzip.compress(images[9:], mtime=0),
    ]


def idx_folders() -> list[Files]:
    images, _, labels, *_ = idx_files()
    pairs = (
        ("train-images-idx3-ubyte", images),
        ("train-labels-idx1-ubyte", labels),
        ("t10k-images-idx3-ubyte", images),
        ("t10k-labels-idx1-ubyte", labels),
    )
    return [dict(pairs), {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in pairs}]


@functools.cache
def cifar_files() -> list[bytes]:
    """Return binary batches, and two that the reader does not take: Python's, which is a pickle, and numpy's."""
    batch = np.random.default_rng(0).integers(0, 10, (3, 3073)).astype("u1").tobytes()
    file = io.BytesIO()
    np.savez(file, data=np.zeros((2, 3072), "u1"), labels=np.zeros(2, "i8"))
    strange = b"cstranger\nOwn\n."
    return [
        batch,
        batch[:3073],
        gzip.compress(batch, mtime=0),
        pickle.dumps({b"data": batch[:3072], b"labels": [1]}),
        strange,
        file.getvalue(),
    ]


def cifar_folders() -> list[Files]:
    batch, one, *_ = cifar_files()
    return [{"data_batch_1.bin": batch, "data_batch_2.bin": one, "test_batch.bin": one}]


def change_cifar(chance: Any, data: bytes, other: bytes) -> bytes:
    """Change labels, and the number of records."""
    at = 3073 * chance.randrange(max(1, len(data) // 3073))
    label = bytes([chance.choice((0, 9, 10, 99, 255))])
    return chance.choice(
        (data[:at] + label + data[at + 1 :], data[:at], data[at:], data + data[:3073], data + other[:3073])
    )


# ---- what a training leaves
@functools.cache
def checkpoints() -> list[Files]:
    """Return folders of the last two rounds of a training, and an empty one."""
    state = {"iteration": NDArray(np.int64(5)), "history/0": NDArray(np.ones((2, 3), "f4"))}
    found: list[Files] = [{"lock": b""}]
    rule_state = {
        "velocity": WeightCollection({"ip": [np.ones((2, 3), "f8"), np.zeros(2, "f8")]}),
        "t": NDArray(np.int64(2)),
    }
    for states, of_rule in (([state], {}), ([state, state], rule_state), ([{}], {})):
        with tempfile.TemporaryDirectory() as folder:
            for rounds in (1, 2):
                weights = WeightCollection({"ip": [np.full((2, 3), rounds, "f4"), np.zeros(2, "f4")]})
                Checkpoint(folder, SETTINGS, {"notes": "b"}).write(
                    Position(rounds, weights, states, [rounds] * len(states), of_rule)
                )
            found.append(
                {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("round*/*"))}
            )
    return found[1:]


@functools.cache
def manifests() -> list[Files]:
    found = []
    for choice in ({"ragged": None, "padding": None}, {"ragged": "pad", "padding": {"x": 0.5}}):
        fields = (Field("x", (2,), "float32"), Field("label", (), "int64"))
        text, manifest = Manifest(fields, Layout(5, 3, 1), choice).written()
        files: Files = {"manifest": text.encode()}
        for number, rows in enumerate((3, 2)):
            batch = {"x": np.zeros((rows, 2), "f4"), "label": np.zeros(rows, "i8")}
            files[f"{number}.sparknet"] = manifest.signed((number, dumps(batch)))[1]
        found.append(files)
    return found
