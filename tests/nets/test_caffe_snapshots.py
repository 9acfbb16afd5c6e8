"""Snapshots: what plain Caffe wrote is gone on from here, and what is written here plain Caffe goes on from, with its bits."""

import numpy as np
import pytest

from sparknet import NetError, SchemaError, WeightCollection
from sparknet.formats import read
from sparknet.formats import write as write_file
from sparknet.nets.caffe import CaffeNet
from sparknet.nets.caffe.runtime import load

pytestmark = pytest.mark.caffe

SOLVERS = {
    "SGD": 'base_lr: 0.05 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 4 momentum: 0.9 weight_decay: 0.004',
    "Adam": 'base_lr: 0.01 lr_policy: "step" gamma: 0.5 stepsize: 2 momentum: 0.9 momentum2: 0.99 type: "Adam"',
    "AdaDelta": 'base_lr: 1 lr_policy: "fixed" momentum: 0.9 delta: 1e-6 type: "AdaDelta"',
}
FORMATS = ["BINARYPROTO", "HDF5"]


@pytest.fixture(params=SOLVERS)
def solver_text(request):
    return SOLVERS[request.param]


@pytest.fixture
def plain_solver(tmp_path, tiny):
    """A function that makes a solver of plain pycaffe; and one that trains it."""

    def make(text):
        (tmp_path / "plain_net.prototxt").write_text(tiny.net_text, encoding="utf-8")
        path = tmp_path / "plain_solver.prototxt"
        prefix = f'snapshot_prefix: "{tmp_path}/plain" random_seed: 1'
        path.write_text(f'net: "{tmp_path}/plain_net.prototxt" {prefix} {text}', encoding="utf-8")
        return load().get_solver(str(path))

    return make


def step_plain(solver, batches):
    net = solver.net
    for batch in batches:
        for name, column in batch.items():
            net.blobs[name].data[...] = column.to_host()
        solver.step(1)
    return arrays_of(net)


def arrays_of(net):
    return [blob.data.copy() for blobs in net.params.values() for blob in blobs]


def same(arrays, weights):
    return all(np.array_equal(a, b.to_host()) for a, b in zip(arrays, weights.arrays(), strict=True))


@pytest.mark.parametrize("snapshot_format", FORMATS)
def test_what_plain_caffe_wrote_is_gone_on_from_with_its_bits(
    tmp_path, tiny, plain_solver, solver_text, write, snapshot_format
):
    solver = plain_solver(f"{solver_text} snapshot_format: {snapshot_format}")
    step_plain(solver, tiny.batches[:3])
    solver.snapshot()
    state = next(tmp_path.glob("plain_iter_3.solverstate*"))
    net = CaffeNet(write(solver_text, tiny.net_text), seed=9)
    net.restore(state)
    assert net.iteration == 3
    for batch in tiny.batches[3:6]:
        net.step(batch)
    assert same(step_plain(solver, tiny.batches[3:6]), net.get_weights())


@pytest.mark.parametrize("snapshot_format", FORMATS)
def test_what_is_written_here_plain_caffe_goes_on_from_with_the_same_bits(
    tmp_path, tiny, plain_solver, solver_text, write, snapshot_format
):
    net = CaffeNet(write(solver_text, tiny.net_text), seed=9)
    for batch in tiny.batches[:3]:
        net.step(batch)
    weights, state = net.snapshot(tmp_path / "ours", snapshot_format=snapshot_format)
    end = ".h5" if snapshot_format == "HDF5" else ""
    assert (weights.name, state.name) == (f"ours_iter_3.caffemodel{end}", f"ours_iter_3.solverstate{end}")
    solver = plain_solver(solver_text)
    solver.restore(str(state))
    assert solver.iter == 3
    for batch in tiny.batches[3:6]:
        net.step(batch)
    assert same(step_plain(solver, tiny.batches[3:6]), net.get_weights())


def test_a_state_says_what_plain_caffes_own_says(tmp_path, tiny, plain_solver, write):
    solver = plain_solver(SOLVERS["SGD"])
    step_plain(solver, tiny.batches[:3])
    solver.snapshot()
    net = CaffeNet(write(SOLVERS["SGD"], tiny.net_text))
    net.restore(tmp_path / "plain_iter_3.solverstate")
    _, state = net.snapshot(tmp_path / "ours")
    expected = (tmp_path / "plain_iter_3.solverstate").read_bytes()
    assert read(state).metadata == {"learned_net": f"{tmp_path}/ours_iter_3.caffemodel", "current_step": 1}
    write_as = read(state)
    write_as.metadata["learned_net"] = f"{tmp_path}/plain_iter_3.caffemodel"
    write_file(tmp_path / "again.solverstate", write_as.obj, metadata=write_as.metadata)
    assert (tmp_path / "again.solverstate").read_bytes() == expected


def test_weights_are_looked_for_where_the_state_says_and_then_beside_it(tmp_path, tiny, write):
    net = CaffeNet(write(SOLVERS["SGD"], tiny.net_text), seed=9)
    net.step(tiny.batches[0])
    net.snapshot(tmp_path / "a")
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in tmp_path.glob("a_iter_1.*"):
        path.rename(moved / path.name)
    other = CaffeNet(write(SOLVERS["SGD"], tiny.net_text), seed=1)
    other.restore(moved / "a_iter_1.solverstate")
    assert other.get_weights() == net.get_weights()
    (moved / "a_iter_1.caffemodel").unlink()
    before = other.get_weights(), other.iteration
    with pytest.raises(
        FileNotFoundError, match=r"no weights file of the solver state .* \(learned_net\) at '.*a_iter_1.caffemodel'"
    ):
        other.restore(moved / "a_iter_1.solverstate")
    assert (other.get_weights(), other.iteration) == before


def test_a_state_without_weights_leaves_them_alone(tmp_path, tiny, write):
    net = CaffeNet(write(SOLVERS["SGD"], tiny.net_text), seed=9)
    net.step(tiny.batches[0])
    state = net.get_state()
    write_file(tmp_path / "a.solverstate.h5", state)
    other = CaffeNet(write(SOLVERS["SGD"], tiny.net_text), seed=1)
    weights = other.get_weights()
    other.restore(tmp_path / "a.solverstate.h5")
    assert (other.iteration, other.get_weights() == weights) == (1, True)
    assert all(
        np.array_equal(a.to_host(), b.to_host())
        for a, b in zip(state.values(), other.get_state().values(), strict=True)
    )


def test_a_state_is_told_by_its_contents(tmp_path, tiny, write):
    net = CaffeNet(write(SOLVERS["SGD"], tiny.net_text), seed=9)
    _, state = net.snapshot(tmp_path / "a", snapshot_format="HDF5")
    net.step(tiny.batches[0])
    net.restore(state.rename(tmp_path / "renamed"))
    assert net.iteration == 0


def test_what_does_not_fit_changes_nothing(tmp_path, tiny, write):
    net = CaffeNet(write(SOLVERS["SGD"], tiny.net_text), seed=9)
    net.step(tiny.batches[0])
    wide = tmp_path / "wide"
    wide.mkdir()
    text = tiny.net_text.replace("num_output: 5", "num_output: 6")
    _, state = CaffeNet(write(SOLVERS["SGD"], text)).snapshot(wide / "w")
    _, adam = CaffeNet(write(SOLVERS["Adam"], tiny.net_text)).snapshot(tmp_path / "adam")
    own, _ = net.snapshot(tmp_path / "own")
    (tmp_path / "garbage.solverstate").write_bytes(b"garbage")
    before = net.get_weights(), net.iteration
    cases = {
        state: (SchemaError, "'history/2' is float32 of shape"),
        adam: (SchemaError, "Does it come from another type of solver"),
        tmp_path / "garbage.solverstate": (NetError, "garbage.solverstate"),
        own: (NetError, "no .solverstate|neither an iteration|expected"),
        tmp_path / "none.solverstate": (FileNotFoundError, "no solver state at"),
    }
    for path, (kind, message) in cases.items():
        with pytest.raises(kind, match=message):
            net.restore(path)
        assert (net.get_weights(), net.iteration) == before
    with pytest.raises(NetError, match=r"snapshot_format is 'h5', expected 'BINARYPROTO' or 'HDF5'"):
        net.snapshot(tmp_path / "a", snapshot_format="h5")
    with pytest.raises(FileNotFoundError, match=r"there is no folder"):
        net.snapshot(tmp_path / "none" / "a")


# ---- weights alone
def test_weights_are_copied_from_hdf5_whatever_it_is_called(tmp_path, tiny, write):
    net = CaffeNet(write(SOLVERS["SGD"], tiny.net_text), seed=9)
    net.save_weights(tmp_path / "w.caffemodel.h5")
    plain = load().Net(str(tmp_path / "net.prototxt"), load().TEST)
    plain.copy_from(str(tmp_path / "w.caffemodel.h5"))
    assert same(arrays_of(plain), net.get_weights())
    plain.save_hdf5(str(tmp_path / "plain.h5"))
    for path in (tmp_path / "w.caffemodel.h5", tmp_path / "plain.h5"):
        renamed = path.rename(tmp_path / "renamed.caffemodel")
        other = CaffeNet(write(SOLVERS["SGD"], tiny.net_text), seed=1)
        other.copy_trained_layers_from(renamed)
        assert other.get_weights() == net.get_weights()


@pytest.mark.parametrize("suffix", [".npz", ".sparknet", ".safetensors", ".caffemodel", ".h5", ".weights", ""])
def test_the_suffix_says_how_weights_are_saved(tmp_path, tiny, write, suffix):
    net = CaffeNet(write(SOLVERS["SGD"], tiny.net_text), seed=9)
    net.save_weights(tmp_path / f"w{suffix}")
    other = CaffeNet(write(SOLVERS["SGD"], tiny.net_text), seed=1)
    other.copy_trained_layers_from(tmp_path / f"w{suffix}")
    assert other.get_weights() == net.get_weights()


def test_a_folder_is_no_weights_file(tmp_path, tiny):
    net = CaffeNet(tiny.solver)
    for use in (net.copy_trained_layers_from, net.restore):
        with pytest.raises(NetError, match=r"cannot be read: it is a folder; name a file in it"):
            use(tmp_path)


def test_hdf5_that_plain_caffe_would_read_past_the_end_of_is_refused(tmp_path, tiny, write):
    net = CaffeNet(write(SOLVERS["SGD"], tiny.net_text), seed=9)
    before = net.get_weights()
    narrow = {name: [a.to_host()[:1] for a in arrays] for name, arrays in before.items()}
    write_file(tmp_path / "narrow.h5", WeightCollection(narrow))
    with pytest.raises(NetError, match=r"layer 'conv1' has arrays of the shapes"):
        net.copy_trained_layers_from(tmp_path / "narrow.h5")
    assert net.get_weights() == before


def test_arrays_that_layers_share_are_copied_once(tmp_path, write):
    ip = (
        'layer {{ name: "{0}" type: "InnerProduct" bottom: "{1}" top: "{0}" param {{ name: "w" }} '
        'inner_product_param {{ num_output: 3 weight_filler {{ type: "xavier" }} bias_filler {{ type: "xavier" }} }} }}'
    )
    data = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }'
    loss = 'layer { name: "loss" type: "EuclideanLoss" bottom: "two" bottom: "data" top: "loss" }'
    path = write(SOLVERS["SGD"], data + ip.format("one", "data") + ip.format("two", "one") + loss)
    net, other = CaffeNet(path, seed=9), CaffeNet(path, seed=1)
    plain = load().Net(str(tmp_path / "net.prototxt"), load().TEST)
    for blob, array in zip(
        (b for blobs in plain.params.values() for b in blobs), net.get_weights().arrays(), strict=True
    ):
        blob.data[...] = array.to_host()
    plain.save_hdf5(str(tmp_path / "shared.h5"))
    assert set(read(tmp_path / "shared.h5").obj) == {"one/0", "one/1", "two/1"}
    other.copy_trained_layers_from(tmp_path / "shared.h5")
    assert other.get_weights() == net.get_weights()
