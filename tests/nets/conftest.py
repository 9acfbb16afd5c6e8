"""Nets and batches that the tests of Caffe share."""

import pathlib
from types import SimpleNamespace

import numpy as np
import pytest

from sparknet import NDArray

TINY = pathlib.Path(__file__).parent / "tiny"


def _batch(rng, rows=8):
    """Return a batch of the tiny net that can be learned: the label is where the image is bright."""
    label = rng.integers(0, 5, rows)
    data = rng.normal(0, 0.3, (rows, 1, 6, 6))
    data[np.arange(rows), 0, label] += 1
    return {"data": NDArray(data.astype(np.float32)), "label": NDArray(label)}


@pytest.fixture
def tiny():
    """The tiny net: its files, their texts, and batches."""
    solver, net = TINY / "tiny_solver.prototxt", TINY / "tiny_train_test.prototxt"
    rng = np.random.default_rng(5)
    return SimpleNamespace(
        solver=solver,
        solver_text=solver.read_text(encoding="utf-8"),
        net_text=net.read_text(encoding="utf-8"),
        batch=lambda rows=8: _batch(rng, rows),
        batches=[_batch(np.random.default_rng(i)) for i in range(100)],
    )


@pytest.fixture
def body(tiny):
    """The tiny net without its inputs."""
    return tiny.net_text[tiny.net_text.index('layer {\n  name: "conv1"') :]


@pytest.fixture
def write(tmp_path):
    """A function that writes a solver and a net to files, and returns the solver's path."""

    def write(solver_text, net_text, name="net.prototxt"):
        (tmp_path / name).write_text(net_text, encoding="utf-8")
        path = tmp_path / "solver.prototxt"
        path.write_text(f'net: "{name}"\n{solver_text}', encoding="utf-8")
        return path

    return write


@pytest.fixture
def plain(tmp_path):
    """A function that trains with pycaffe and nothing else: the loop that a user of Caffe writes."""

    def plain(solver_text, net_text, batches, seed):
        import caffe

        net_file, solver_file = tmp_path / "plain_net.prototxt", tmp_path / "plain_solver.prototxt"
        net_file.write_text(net_text, encoding="utf-8")
        solver_file.write_text(f'net: "{net_file}"\nrandom_seed: {seed}\n{solver_text}', encoding="utf-8")
        solver = caffe.get_solver(str(solver_file))
        net = solver.net
        losses = []
        for batch in batches:
            for name, column in batch.items():
                net.blobs[name].data[...] = column.to_host()
            solver.step(1)
            losses.append(float(net.blobs["loss"].data))
        return {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}, losses

    return plain
