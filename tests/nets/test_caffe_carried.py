"""What a net reads from files travels with its factory: to a process that has none of them, in another folder."""

import logging
import pickle
import subprocess
import sys

import numpy as np
import pytest

from sparknet import NDArray, NetError
from sparknet.formats import binaryproto, write
from sparknet.nets.caffe import CaffeNet
from sparknet.weights import WeightCollection

pytestmark = pytest.mark.caffe

SOLVER = 'base_lr: 0.05 lr_policy: "fixed" momentum: 0.9'
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 8 dim: 1 dim: 6 dim: 6 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 8 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""
LOSS = 'layer { name: "loss" type: "InfogainLoss" bottom: "ip" bottom: "label" top: "loss" infogain_loss_param { source: "H" } }'
TRAIN = """
import pickle, sys
import numpy as np
from sparknet import NDArray
factory, batches = pickle.load(sys.stdin.buffer)
net = factory(seed=3)
losses = [net.step(batch) for batch in batches]
net.forward(batches[0])
sys.stdout.buffer.write(pickle.dumps((losses, net.get_weights())))
"""


def matrix(path, value):
    """Write an infogain matrix, as the tools of Caffe do: in the old fields."""
    blob = np.asarray(value, np.float32)
    binaryproto.write(path, NDArray(blob.reshape(1, 1, *blob.shape)), {})


H = np.eye(5, dtype=np.float32) + 0.25


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A solver in one folder, its net in another, and a third to work in."""
    nets, work = tmp_path / "nets", tmp_path / "work"
    nets.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    (nets / "net.prototxt").write_text(NET + LOSS, encoding="utf-8")
    (tmp_path / "solver.prototxt").write_text(f'{SOLVER}\nnet: "nets/net.prototxt"', encoding="utf-8")
    return tmp_path, nets, work


def elsewhere(factory, batches, folder):
    """Train in another process, whose working folder is empty."""
    data = pickle.dumps((factory, batches))
    done = subprocess.run([sys.executable, "-c", TRAIN], input=data, capture_output=True, cwd=folder, check=True)
    return pickle.loads(done.stdout)


@pytest.mark.usefixtures("folders")
def test_a_net_that_reads_a_matrix_trains_where_there_is_no_such_file(tiny, plain, tmp_path):
    matrix(tmp_path / "H", H)
    factory = CaffeNet.factory(tmp_path / "solver.prototxt")
    reference = plain(SOLVER, (NET + LOSS).replace('"H"', f'"{tmp_path / "H"}"'), tiny.batches[:4], 3)
    (tmp_path / "H").unlink()
    empty = tmp_path / "empty"
    empty.mkdir()
    losses, weights = elsewhere(factory, tiny.batches[:4], empty)
    assert losses == pytest.approx(reference[1], rel=1e-6)
    assert weights == WeightCollection(reference[0])
    assert list(empty.iterdir()) == []


def test_a_matrix_is_beside_the_solver_or_the_net_or_in_the_working_folder(folders, tiny):
    for value, folder in enumerate(folders, start=1):
        matrix(folder / "H", value * H)
    losses = []
    for folder in folders:
        losses.append(CaffeNet(folders[0] / "solver.prototxt", seed=1).step(tiny.batches[0]))
        (folder / "H").unlink()
    assert np.array(losses) == pytest.approx(losses[0] * np.array([1, 2, 3]), rel=1e-5)
    with pytest.raises(FileNotFoundError) as raised:
        CaffeNet(folders[0] / "solver.prototxt")
    assert "layer 'loss' (InfogainLoss): no infogain matrix (source) at " in str(raised.value)
    assert f"looked in '{folders[0]}', '{folders[1]}' and the working folder '{folders[2]}'" in str(raised.value)


@pytest.mark.parametrize(
    ("fill", "text"),
    [
        (lambda path: path.write_bytes(b"no matrix"), "the infogain matrix .*damaged, or no"),
        (lambda path: path.write_bytes(b""), r"the infogain matrix .* has shape .*; expected a matrix|has 0 bytes"),
        (
            lambda path: matrix(path, np.ones((2, 3))),
            r"has shape \(1, 1, 2, 3\); expected a matrix, a row and a column",
        ),
        (lambda path: matrix(path, np.full((5, 5), np.nan)), "holds a value that is not finite"),
        (lambda path: matrix(path, np.ones((4, 4))), "Caffe refuses it"),
    ],
)
def test_a_matrix_is_checked_before_it_travels(folders, fill, text):
    fill(folders[0] / "H")
    with pytest.raises(NetError, match=text):
        CaffeNet.factory(folders[0] / "solver.prototxt")


def test_a_matrix_that_nobody_names_is_asked_for_and_one_that_comes_as_a_blob_is_not(tiny):
    nameless = LOSS.replace('source: "H"', "")
    with pytest.raises(
        NetError, match=r"has no matrix; give it one by infogain_loss_param \{ source: \} or as a third bottom"
    ):
        CaffeNet(f"{SOLVER}\nnet_param {{ {NET} {nameless} }}")
    blob = (
        'layer { name: "h" type: "DummyData" top: "h" dummy_data_param { shape { dim: 1 dim: 1 dim: 5 dim: 5 } '
        'data_filler { type: "constant" value: 0.5 } } }'
    )
    loss = LOSS.replace('bottom: "label"', 'bottom: "label" bottom: "h"')
    assert CaffeNet(f"{SOLVER}\nnet_param {{ {NET} {blob} {loss} }}").step(tiny.batches[0]) > 0


def test_the_bytes_that_travel_are_told(folders, caplog):
    matrix(folders[0] / "H", H)
    caplog.set_level(logging.INFO, "sparknet.nets.caffe")
    factory = CaffeNet.factory(folders[0] / "solver.prototxt")
    size = (folders[0] / "H").stat().st_size
    assert f"H: {size} bytes travel with the net, for layer 'loss'" in caplog.text
    assert [len(data) for data in factory.definition.files.values()] == [size]
    assert f"<{size} bytes>" in repr(factory)


def test_a_layer_that_writes_a_file_is_left_out_with_a_note(tiny, caplog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = (
        'layer { name: "out" type: "HDF5Output" bottom: "ip" bottom: "label" hdf5_output_param { file_name: "x.h5" } }'
    )
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }'
    text = f"{SOLVER}\nnet_param {{ {NET} {output} {loss} }}"
    losses = [CaffeNet(each, seed=1).step(tiny.batches[0]) for each in (text, text.replace(output, ""))]
    assert losses[0] == losses[1]
    assert "left out layer 'out' (HDF5Output), which writes a file" in caplog.text
    assert not list(tmp_path.rglob("*.h5"))


# ---- the solver's weights
@pytest.fixture
def pretrained(tmp_path):
    """Two files of layers: one has the net's `ip` and more, the other a layer of the TEST phase alone."""
    rng = np.random.default_rng(2)
    ip = [rng.normal(size=(5, 36)).astype("f4"), rng.normal(size=5).astype("f4")]
    one = WeightCollection({"ip": ip, "other": [np.ones(3, "f4")]})
    two = WeightCollection({"probe": [np.full((2, 5), 0.5, "f4"), np.full(2, 0.25, "f4")]})
    write(tmp_path / "one.caffemodel", one)
    write(tmp_path / "two.caffemodel.h5", two)
    return one, two


PROBE = 'layer { name: "probe" type: "InnerProduct" bottom: "ip" top: "probe" include { phase: TEST } inner_product_param { num_output: 2 } }'
SOFTMAX = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }'


def solver_with(tmp_path, weights):
    (tmp_path / "net.prototxt").write_text(NET + SOFTMAX + PROBE, encoding="utf-8")
    path = tmp_path / "solver.prototxt"
    path.write_text(f'net: "net.prototxt"\n{weights}\n{SOLVER}', encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "weights",
    [
        'weights: "one.caffemodel, two.caffemodel.h5"',
        "weights: 'one.caffemodel' weights: 'two.caffemodel.h5'",
        'weights: ["one.caff" "emodel", "two.caffemodel.h5"]  # both',
    ],
)
def test_a_solver_starts_from_its_weights_where_the_files_are_gone(tmp_path, tiny, pretrained, weights):
    factory = CaffeNet.factory(solver_with(tmp_path, weights))
    for path in tmp_path.iterdir():
        path.unlink()
    one, two = pretrained
    net = pickle.loads(pickle.dumps(factory))(seed=5)
    assert net.get_weights() == WeightCollection({"ip": one["ip"]})
    scores = net.forward(tiny.batches[0], ["probe", "ip"])
    expected = scores["ip"].to_host() @ two["probe"][0].to_host().T + two["probe"][1].to_host()
    np.testing.assert_allclose(scores["probe"].to_host(), expected, rtol=1e-5)
    losses, _ = elsewhere(factory, tiny.batches[:2], tmp_path)
    assert losses == [net.step(batch) for batch in tiny.batches[:2]]


def test_later_files_come_over_earlier_ones_and_an_override_over_all(tmp_path, pretrained):
    other = WeightCollection({"ip": [np.zeros((5, 36), "f4"), np.ones(5, "f4")]})
    write(tmp_path / "three.npz", other)
    path = solver_with(tmp_path, 'weights: "one.caffemodel,three.npz"')
    assert CaffeNet(path).get_weights() == other
    given = CaffeNet(path, solver_overrides={"weights": "one.caffemodel"})
    assert given.get_weights()["ip"][1].to_host().tolist() == pretrained[0]["ip"][1].to_host().tolist()
    assert CaffeNet(path, solver_overrides={"weights": []}, seed=1).get_weights()["ip"][1].to_host().any() == np.False_


@pytest.mark.usefixtures("pretrained")
def test_what_starts_and_what_is_skipped_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO, "sparknet.nets.caffe")
    CaffeNet(solver_with(tmp_path, 'weights: "one.caffemodel"'))
    assert f"starts from {tmp_path / 'one.caffemodel'}, 740 bytes; skipped, not in this net: other" in caplog.text


@pytest.mark.usefixtures("pretrained")
@pytest.mark.parametrize(
    ("weights", "kind", "text"),
    [
        (
            '"none.caffemodel"',
            FileNotFoundError,
            r"no weights file \(weights: 'none.caffemodel'\) at '.*none.caffemodel'; looked in",
        ),
        ('"one.caffemodel,"', FileNotFoundError, r"no weights file \(weights: 'one.caffemodel,'\) at ''"),
        (
            '"wide.npz"',
            NetError,
            r"layer 'ip' has arrays of the shapes \[\(5, 35\), \(5,\)\]; this net needs \[\(5, 36\), \(5,\)\]",
        ),
        ('"strange.npz"', NetError, "has weights for the layers ip9; the nets have none of them"),
        ('"solver.prototxt"', NetError, "is a prototxt of a solver; expected trained weights"),
        ("3", NetError, "weights is 3; expected the name of a file"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_the_factory(tmp_path, weights, kind, text):
    write(tmp_path / "wide.npz", WeightCollection({"ip": [np.ones((5, 35), "f4"), np.ones(5, "f4")]}))
    write(tmp_path / "strange.npz", WeightCollection({"ip9": [np.ones(5, "f4")]}))
    with pytest.raises(kind, match=text):
        CaffeNet.factory(solver_with(tmp_path, f"weights: {weights}"))


@pytest.mark.usefixtures("pretrained")
def test_a_test_net_that_is_made_later_leaves_what_was_learned(tmp_path, tiny):
    net = CaffeNet(solver_with(tmp_path, 'weights: "one.caffemodel,two.caffemodel.h5"'))
    net.step(tiny.batches[0])
    learned = net.get_weights()
    net.forward(tiny.batches[0])
    assert net.get_weights() == learned


@pytest.mark.usefixtures("pretrained")
def test_workers_are_not_sent_what_their_weights_are_set_to(tmp_path, tiny):
    factory = CaffeNet.factory(solver_with(tmp_path, 'weights: "one.caffemodel,two.caffemodel.h5"'))
    sent = factory.for_workers()
    assert [list(layers) for _, layers in factory.definition.initial] == [["ip"], ["probe"]]
    assert [list(layers) for _, layers in sent.definition.initial] == [["probe"]]
    net, other = factory(seed=1), sent(seed=2)
    other.set_weights(net.get_weights())
    batch = tiny.batches[0]
    assert (
        net.forward(batch, ["probe"])["probe"].to_host().tolist()
        == other.forward(batch, ["probe"])["probe"].to_host().tolist()
    )
    assert net.step(batch) == other.step(batch)
