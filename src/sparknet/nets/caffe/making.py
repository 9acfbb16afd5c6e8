"""Making solvers and nets of Caffe from a Definition, by temporary files, because Caffe reads them from files."""

import tempfile
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.errors import SparknetError
from sparknet.nets.caffe.carried import with_files
from sparknet.nets.caffe.names import check_names
from sparknet.nets.caffe.prototxt import Definition
from sparknet.nets.caffe.runtime import load, messages, text_format, translated

__all__ = ["new_solver", "new_test_net"]

_SEEDS = 1 << 32  # Caffe's generator takes a seed of 32 bits


def new_solver(definition: Definition, seed: int) -> Any:
    """Return a ``caffe.Solver`` whose weights depend on ``seed`` alone; a NetError if they cannot be kept by name."""
    with tempfile.TemporaryDirectory(prefix="sparknet-") as folder, translated("the net of the TRAIN phase"):
        net, solver = Path(folder) / "train.prototxt", Path(folder) / "solver.prototxt"
        net.write_text(with_files(definition.train, definition.files, Path(folder)), encoding="utf-8")
        extra = f'net: "{net}"\nrandom_seed: {_seed_of_weights(seed)}\n'
        solver.write_text(definition.solver + extra, encoding="utf-8")
        with _layer_named(net, messages().TRAIN):
            made = load().get_solver(str(solver))
        check_names(made.net)
        return made


def new_test_net(definition: Definition, net: Any) -> Any:
    """Return the ``caffe.Net`` of the test phase; its weights are the memory of the training ``net``."""
    with tempfile.TemporaryDirectory(prefix="sparknet-") as folder, translated("the net of the TEST phase"):
        path = Path(folder) / "test.prototxt"
        path.write_text(with_files(definition.test, definition.files, Path(folder)), encoding="utf-8")
        with _layer_named(path, messages().TEST):
            made = load().Net(str(path), messages().TEST)
        check_names(made)
        made.share_with(net)
        return made


@contextmanager
def _layer_named(path: Path, phase: int) -> Iterator[None]:
    """Let the error of the block, which makes the net in the file ``path``, begin with the layer that Caffe refuses."""
    try:
        yield
    except Exception as error:  # a Python layer may raise anything
        layer = _refused(path, phase)
        if layer is None or isinstance(error, SparknetError) or repr(layer.name) in str(error):
            raise
        said = str(error) if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}"
        msg = f"layer {layer.name!r} ({layer.type}): {said}"
        raise RuntimeError(msg) from error


def _refused(path: Path, phase: int) -> Any | None:
    """Return the first layer that Caffe cannot make, None if it makes all; the net's file is written over."""
    net = text_format().Parse(path.read_text(encoding="utf-8"), messages().NetParameter())
    layers = list(net.layer)

    def makes(count: int) -> bool:
        net.ClearField("layer")
        net.layer.extend(layers[:count])
        path.write_text(text_format().MessageToString(net), encoding="utf-8")
        try:
            load().Net(str(path), phase)
        except Exception:  # noqa: BLE001 - as above
            return False
        return True

    # A net with the refused layer is refused, whatever follows it: so bisection finds the layer.
    good = bisect_left(range(len(layers)), True, key=lambda i: not makes(i + 1))
    return layers[good] if good < len(layers) else None


def _seed_of_weights(seed: int) -> int:
    """Return a seed for Caffe: ``seed`` itself if Caffe can take it, so that ``random_seed: 7`` and seed 7 agree."""
    return seed if seed < _SEEDS else int(np.random.SeedSequence(seed).generate_state(1)[0])
