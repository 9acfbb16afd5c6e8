"""How each reader is called, and what is looked at of the value that it gives."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.readers.hdf5 import CANARY

from sparknet import NDArray, WeightCollection
from sparknet.checkpoint import Checkpoint
from sparknet.clusters.spark.packed.manifest import Manifest
from sparknet.data import read_cifar10, read_idx
from sparknet.data.images.decoder import SUFFIXES, ImageDecoder
from sparknet.data.images.folders import check_folders
from sparknet.data.images.labels import label_of, parse_labels
from sparknet.data.images.sets import load_image_set
from sparknet.data.images.tars import images_of_tar
from sparknet.errors import DataError, SparknetError
from sparknet.files.regular import open_regular
from sparknet.formats import describe, format_of, read
from sparknet.formats.layers import layers_of
from sparknet.formats.outline import cut, outline
from sparknet.nets.caffe import CaffeNet, carried, model_file, snapshots, transform
from sparknet.nets.caffe import prototxt as definitions
from sparknet.nets.caffe.files import solver_text
from sparknet.nets.caffe.layer_param import LayerParam
from sparknet.serialization import inspect, iter_load, load, loads, verify
from sparknet.serialization.payload.dtypes import NAMES

MAX_BYTES = 1 << 20  # that what is compressed may inflate to
MAX_PIXELS = 1 << 18
_DECODERS = (
    ImageDecoder(8, 8, max_pixels=MAX_PIXELS),
    ImageDecoder(8, 5, channels=1, fit="crop", max_pixels=MAX_PIXELS),
    ImageDecoder(30, 30, strict=True, max_pixels=MAX_PIXELS),
)
SETTINGS = {"seed": "7", "tau": "5"}


def each(first: Callable[[], Any], *others: Callable[[], Any]) -> None:
    """Call all of them; the refusal of the first is that of all."""
    refusal = None
    try:
        check(first())
    except SparknetError as error:
        refusal = error
    for call in others:
        with contextlib.suppress(SparknetError):
            check(call())
    if refusal is not None:
        raise refusal


def check(value: Any) -> None:
    """Raise an AssertionError if a value holds arrays such as ours never are, or elements of another file."""
    for array in _arrays(value):
        assert array.dtype.name in NAMES.values(), array.dtype
        assert array.dtype.isnative, array.dtype
        assert array.dtype != bool or not array.size or array.view("uint8").max() < 2
        assert array.dtype != np.float64 or CANARY not in array


def _arrays(value: Any) -> list[Any]:
    if isinstance(value, NDArray):
        return [value.to_host()]
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, WeightCollection):
        return [array.to_host() for array in value.arrays()]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return [array for part in parts for array in _arrays(part)]


# ---- weights
def message(path: Path) -> None:
    data = path.read_bytes()
    each(
        lambda: loads(data, max_bytes=MAX_BYTES),
        lambda: load(path, max_bytes=MAX_BYTES),
        lambda: str(inspect(path)),
        lambda: verify(path),
        lambda: _streamed(path),
    )


def _streamed(path: Path) -> list[Any]:
    with open_regular(path) as file:
        return list(iter_load(file, max_bytes=MAX_BYTES))


def weights(name: str) -> Callable[[Path], None]:
    """Return the call of the readers of weights for a format."""

    def call(path: Path) -> None:
        each(
            lambda: read(path, file_format=name, max_bytes=MAX_BYTES),
            lambda: layers_of(path, file_format=name, max_bytes=MAX_BYTES),
        )

    return call


def solver_state(path: Path) -> None:
    each(lambda: read(path, file_format="solverstate"), lambda: snapshots.read(path, {}))


def mean_image(path: Path) -> None:
    each(
        lambda: read(path, file_format="binaryproto"),
        lambda: transform._mean_image(str(path), lambda name, _: Path(name)),
        lambda: carried._checked(path),
    )


def anything(path: Path) -> None:
    """A file without a suffix, whose format is told from its contents."""
    each(
        lambda: str(describe(path, max_bytes=MAX_BYTES)),
        lambda: format_of(path),
        lambda: read(path, max_bytes=MAX_BYTES),
        lambda: model_file.read(path),
    )


# ---- prototxts
def prototxt(path: Path) -> None:
    text = path.read_bytes().decode("latin-1")
    outline(text)
    cut(text, "weights")
    each(lambda: solver_text(path), lambda: str(describe(path)))


def param_str(path: Path) -> None:
    LayerParam.from_json(path.read_bytes().decode(errors="replace")).to_json()


def solver(folder: Path) -> None:
    each(
        lambda: definitions.define(folder / "solver.prototxt") and None,
        lambda: definitions.define(folder / "solver.prototxt", unknown_fields="drop", ignore_transform=True) and None,
    )


def net(folder: Path) -> None:
    """Caffe makes the net, whose layers have the files that they ask for."""
    CaffeNet(folder / "solver.prototxt", seed=3)


# ---- images
def image(path: Path) -> None:
    data = path.read_bytes()
    each(*(lambda decoder=decoder: decoder(data) for decoder in _DECODERS))


def tar(path: Path) -> None:
    with open_regular(path) as file:
        for name, contents in images_of_tar(file, str(path)):
            assert isinstance(contents, bytes)
            name.encode()
            with contextlib.suppress(DataError):
                label_of(name, {"a": 1, "a.jpg": 2})


def labels(path: Path) -> None:
    """As Spark gives the lines of a file: what is not UTF-8 is replaced."""
    table = parse_labels(path.read_bytes().decode(errors="replace").split("\n"), str(path))
    for name in list(table)[:5]:
        label_of(f"file:/data/{name[:4096]}", {name[:4096]: 0})


def folder(path: Path) -> None:
    """As Spark's driver does it: where it does not list the folder, each image in it is looked at."""
    for encoding in ("utf-8", "ascii"):
        check_folders([str(path)], SUFFIXES, encoding)


def idx(path: Path) -> None:
    each(lambda: read_idx(path))


def cifar(path: Path) -> None:
    each(lambda: read_cifar10([path]), lambda: read_cifar10([path, path]))


def image_set(kind: str) -> Callable[[Path], None]:
    def call(path: Path) -> None:
        found = load_image_set(f"{kind}:{path}")
        check([*found.train, *found.test])
        assert found.classes > 0
        assert len(found.train[0]) == len(found.train[1])

    return call


# ---- what a training leaves
def checkpoint(path: Path) -> None:
    position = Checkpoint(path, SETTINGS, {"notes": "a"}).read()
    if position is not None:
        check([position.weights, *position.states, *position.rule_state.values()])
        assert all(type(steps) is int and steps >= 0 for steps in position.steps)


def manifest(path: Path) -> None:
    """As Spark gives the text: what is not UTF-8 is replaced."""
    said = path / "manifest"
    found = Manifest.parsed(said.read_bytes().decode(errors="replace") if said.exists() else "")
    for number, file in enumerate(sorted(path.glob("*.sparknet"))):
        found.checked((number, file.read_bytes()))
