"""A solver's files: its state, read by what it holds and taken over whole or not at all; `weights`; `snapshot_prefix`."""

import caffe
import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.caffe

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
IP = """layer { name: "i" type: "InnerProduct" bottom: "x" top: "i" inner_product_param { num_output: 3
    weight_filler { type: "gaussian" } } }
"""
NET = INPUT + IP + 'layer { name: "l" type: "Reduction" bottom: "i" top: "l" loss_weight: 1 }\n'
SETTINGS = 'base_lr: 0.1 momentum: 0.9 lr_policy: "fixed"'
HISTORY = {"history/0": np.ones((3, 2), np.float32), "history/1": np.ones(3, np.float32)}


@pytest.fixture
def net_of(tmp_path):
    """Return a function that makes a net of its text."""

    def make(text=NET):
        (tmp_path / "any.prototxt").write_text(text)
        return caffe.Net(str(tmp_path / "any.prototxt"), caffe.TRAIN)

    return make


@pytest.fixture
def solver_of(tmp_path):
    """Return a function that makes a solver of the settings and of a net's text."""

    def make(settings=SETTINGS, net=NET):
        (tmp_path / "net.prototxt").write_text(net)
        (tmp_path / "my_solver.prototxt").write_text(f'net: "{tmp_path}/net.prototxt" {settings}')
        return caffe.get_solver(str(tmp_path / "my_solver.prototxt"))

    return make


def weights(net):
    """Return copies of a net's weights."""
    return {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}


def same(left, right):
    """Say whether two nets' weights are equal."""
    return left.keys() == right.keys() and all(
        np.array_equal(a, b) for name in left for a, b in zip(left[name], right[name], strict=True)
    )


def write(path, datasets):
    """Write an HDF5 file of a dataset name -> value; return its name."""
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            file[name] = value
    return str(path)


# ------------------------------------------------------------------------------------------ solver states


@pytest.fixture
def trained(solver_of, tmp_path):
    """Return a function that trains, snapshots in a format, and returns solver and state file under a new name."""

    def train(form, name="state"):
        solver = solver_of(f'{SETTINGS} snapshot_prefix: "{tmp_path}/at" snapshot_format: {form}')
        solver.net.blobs["x"].data[...] = 1
        solver.step(2)
        solver.snapshot()
        suffix = ".h5" if form == "HDF5" else ""
        (tmp_path / f"at_iter_2.solverstate{suffix}").rename(tmp_path / name)
        return solver, str(tmp_path / name)

    return train


@pytest.mark.parametrize("form", ["HDF5", "BINARYPROTO"])
@pytest.mark.parametrize("name", ["state", "state.h5", "state.solverstate"])
def test_restore_reads_a_state_under_any_name(trained, solver_of, form, name):
    first, path = trained(form, name)
    second = solver_of()
    second.restore(path)
    assert second.iter == 2
    assert same(weights(first.net), weights(second.net))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(first.history, second.history, strict=True))


@pytest.mark.parametrize("form", ["HDF5", "BINARYPROTO"])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        pytest.param(NET.replace("num_output: 3", "num_output: 4"), "shape mismatch", id="of another width"),
        pytest.param(NET.replace("num_output: 3", "num_output: 3 bias_term: false"), "length", id="without a bias"),
        pytest.param(NET.replace("dim: 1 dim: 2", "dim: 1 dim: 3"), "shape mismatch", id="of another input"),
    ],
)
def test_a_state_of_another_net_raises_and_changes_nothing(trained, solver_of, form, other, message):
    _, path = trained(form)
    solver = solver_of(net=other)
    before = weights(solver.net)
    with pytest.raises(RuntimeError, match=message):
        solver.restore(path)
    assert solver.iter == 0
    assert same(weights(solver.net), before)
    assert not any(blob.data.any() for blob in solver.history)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        pytest.param({"iter": [3], "current_step": [0]}, "Error reading history", id="no history"),
        pytest.param({"current_step": [0], **HISTORY}, "Failed to find HDF5 dataset iter", id="no iteration"),
        pytest.param({"iter": [3] * 9, "current_step": [0], **HISTORY}, "must be one number", id="nine iterations"),
        pytest.param({"iter": [3], "current_step": [0], "learned_net": "w", **HISTORY}, "fixed length", id="free text"),
        pytest.param({"iter": [3], "current_step": [0], "history/0": [0.0], "history/7": [0.0]}, "1", id="a gap"),
    ],
)
def test_a_state_of_another_form_raises_and_changes_nothing(solver_of, tmp_path, datasets, message):
    solver = solver_of()
    with pytest.raises(RuntimeError, match=message):
        solver.restore(write(tmp_path / "state", datasets))
    assert solver.iter == 0
    assert not any(blob.data.any() for blob in solver.history)


def test_garbage_is_no_solver_state(solver_of, tmp_path):
    (tmp_path / "state").write_bytes(b"\xff garbage")
    with pytest.raises(RuntimeError, match="no solver state"):
        solver_of().restore(str(tmp_path / "state"))


# ------------------------------------------------------------------------------------------ a solver's own fields


def test_a_solver_starts_from_the_weights_it_names(net_of, solver_of, tmp_path):
    source = net_of()
    source.save(str(tmp_path / "w.caffemodel"))
    solver = solver_of(f'{SETTINGS} weights: "{tmp_path}/w.caffemodel" test_iter: 1 test_interval: 9')
    assert same(weights(solver.net), weights(source))
    assert same(weights(solver.test_nets[0]), weights(source))


@pytest.mark.parametrize("form", ['weights: "{a}" weights: "{b}"', 'weights: "{a},{b}"', 'weights: " {a} , {b} "'])
def test_of_several_files_of_weights_the_last_counts_for_each_layer(net_of, solver_of, tmp_path, form):
    two = NET + IP.replace('"i"', '"j"') + 'layer { type: "Silence" bottom: "j" }'
    both, one = net_of(two), net_of()
    both.save(str(tmp_path / "a.caffemodel"))
    one.save_hdf5(str(tmp_path / "b.h5"))
    names = form.format(a=tmp_path / "a.caffemodel", b=tmp_path / "b.h5")
    got = weights(solver_of(f"{SETTINGS} {names}", two).net)
    assert same(got, {"i": weights(one)["i"], "j": weights(both)["j"]})


@pytest.mark.parametrize("names", ["missing.caffemodel", "", ",", "{w},"])
def test_weights_that_are_not_there_or_without_a_name_raise(net_of, solver_of, tmp_path, names):
    net_of().save(str(tmp_path / "w"))
    with pytest.raises(RuntimeError, match="File not found"):
        solver_of(f'{SETTINGS} weights: "{names.format(w=tmp_path / "w")}"')


def test_weights_of_another_shape_raise(net_of, solver_of, tmp_path):
    net_of(NET.replace("num_output: 3", "num_output: 4")).save(str(tmp_path / "w"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        solver_of(f'{SETTINGS} weights: "{tmp_path}/w"')


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        pytest.param("", "my_solver_iter_0.caffemodel", id="none: the solver's file"),
        pytest.param('snapshot_prefix: "{folder}"', "my_solver_iter_0.caffemodel", id="a folder"),
        pytest.param('snapshot_prefix: "{folder}/at"', "at_iter_0.caffemodel", id="a prefix"),
    ],
)
def test_snapshots_are_named_after_the_solvers_file_unless_it_names_them(solver_of, tmp_path, prefix, expected):
    solver_of(f"{SETTINGS} {prefix.format(folder=tmp_path)}").snapshot()
    assert (tmp_path / expected).exists()
