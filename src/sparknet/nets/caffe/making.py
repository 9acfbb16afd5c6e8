"""Making solvers and nets of Caffe from a Definition. Caffe reads them from files, which are gone afterwards."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.nets.caffe.carried import placed
from sparknet.nets.caffe.names import check_names
from sparknet.nets.caffe.prototxt import Definition
from sparknet.nets.caffe.runtime import load, messages, translated

__all__ = ["new_solver", "new_test_net"]

_SEEDS = 1 << 32  # Caffe's generator takes a seed of 32 bits


def new_solver(definition: Definition, seed: int) -> Any:
    """Return a ``caffe.Solver`` whose weights depend on ``seed`` alone; a NetError if they cannot be kept by name."""
    with tempfile.TemporaryDirectory(prefix="sparknet-") as folder, translated("the net of the TRAIN phase"):
        net, solver = Path(folder) / "train.prototxt", Path(folder) / "solver.prototxt"
        net.write_text(placed(definition.train, definition.files, Path(folder)), encoding="utf-8")
        extra = f'net: "{net}"\nrandom_seed: {_seed_of_weights(seed)}\n'
        solver.write_text(definition.solver + extra, encoding="utf-8")
        made = load().get_solver(str(solver))
        check_names(made.net)
        return made


def new_test_net(definition: Definition, net: Any) -> Any:
    """Return the ``caffe.Net`` of the test phase; its weights are the memory of the training ``net``."""
    with tempfile.TemporaryDirectory(prefix="sparknet-") as folder, translated("the net of the TEST phase"):
        path = Path(folder) / "test.prototxt"
        path.write_text(placed(definition.test, definition.files, Path(folder)), encoding="utf-8")
        made = load().Net(str(path), messages().TEST)
        check_names(made)
        made.share_with(net)
        return made


def _seed_of_weights(seed: int) -> int:
    """Return ``seed`` itself where Caffe can take it, so that ``random_seed: 7`` and seed 7 agree."""
    return seed if seed < _SEEDS else int(np.random.SeedSequence(seed).generate_state(1)[0])
