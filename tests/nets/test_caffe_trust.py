"""A prototxt from elsewhere writes no file and runs no code, unless the user trusts it with that."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparknet import LocalCluster, NDArray, averaged_sgd
from sparknet.cli import main
from sparknet.data import pack
from sparknet.data.fields import Field
from sparknet.errors import NetError
from sparknet.nets import CaffeNet
from sparknet.nets.caffe.inputs import DATA_LAYERS
from sparknet.nets.caffe.runtime import load, messages
from sparknet.nets.caffe.trust import COMPUTES, check_trust

pytestmark = pytest.mark.caffe

SOLVER = 'base_lr: 0.1 lr_policy: "fixed"\n'
DATA = """layer { name: "in" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 4 dim: 3 } shape { dim: 4 } } }
"""
OWN = """layer { name: "own" type: "Python" bottom: "data" top: "own"
  python_param { module: "a_strangers_module" layer: "Own" } }
"""
BODY = """layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
FIELDS = [Field("data", (3,)), Field("label", (), "int64")]
COLUMNS = {"data": np.ones((8, 3), np.float32), "label": np.arange(8) % 2}
BATCH = {name: NDArray(column) for name, column in COLUMNS.items()}
MODULE = """
import pathlib
import caffe
pathlib.Path({mark!r}).touch()
class Own(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top): top[0].data[...] = bottom[0].data
    def backward(self, top, down, bottom): pass
"""
REFUSED = (
    r"net.prototxt, TRAIN phase: layer 'own' of type Python \(net.prototxt:4\) imports the module 'a_strangers_module' and runs its "
    r"code\. A prototxt may do so only where you trust it: pass trust=\('Python',\), in the command --trust Python$"
)


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A module in a folder of sys.path; yields the file that its import leaves behind."""
    mark = tmp_path / "imported"
    (tmp_path / "a_strangers_module.py").write_text(MODULE.format(mark=str(mark)), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield mark
    sys.modules.pop("a_strangers_module", None)


@pytest.fixture
def solver(write, stranger):
    """The path of a solver whose net has a Python layer."""
    del stranger
    return write(SOLVER, DATA + OWN + BODY)


# ---- what is refused
@pytest.mark.parametrize("make", [CaffeNet, CaffeNet.factory])
def test_a_python_layer_is_refused_before_its_module_is_imported(solver, stranger, make):
    with pytest.raises(NetError, match=REFUSED) as caught:
        make(solver)
    assert (caught.value.layer, caught.value.got) == ("own", "Python")
    assert not stranger.exists()
    assert "a_strangers_module" not in sys.modules


def test_a_python_layer_of_the_test_phase_alone_is_refused_too(write, stranger):
    solver = write(SOLVER, DATA + OWN.replace("python_param", "include { phase: TEST } python_param") + BODY)
    with pytest.raises(NetError, match=r"TEST phase: layer 'own' of type Python \(net.prototxt:4\) imports"):
        CaffeNet.factory(solver)
    assert not stranger.exists()


def test_only_the_rdd_data_layer_itself_needs_no_trust(stranger):
    param = """param_str: '{"tops": {"data": [3]}, "batch_size": 4}'"""
    mine = (
        'layer {{ name: "own" type: "Python" bottom: "label" top: "x" python_param {{ module: "{}" layer: "{}" {} }} }}'
    )
    for module, name in (("sparknet.nets.caffe", "LayerParam"), ("sparknet.nets.caffe.python_layer", "RDDDataLayer")):
        with pytest.raises(NetError, match=rf"layer 'own' of type Python .*the module '{module}'"):
            CaffeNet(SOLVER + "net_param { " + DATA + mine.format(module, name, param) + BODY + "}")
    twice = mine.format("sparknet.nets.caffe", "RDDDataLayer", param + ' module: "a_strangers_module"')
    with pytest.raises(NetError, match='should not have multiple "module" fields'):
        CaffeNet(SOLVER + "net_param { " + DATA + twice + BODY + "}")
    assert not stranger.exists()


def test_all_that_is_not_trusted_is_in_one_message():
    layers = [messages().LayerParameter(name=f"l{i}", type="Python") for i in range(6)]
    layers.append(messages().LayerParameter(name="d", type="DetectionOutput"))
    with pytest.raises(NetError, match=r"'l0'.*'l3'.*; and 3 more\. .*trust=\('Python', 'DetectionOutput'\)"):
        check_trust(layers, ())
    with pytest.raises(NetError, match=r"layer 'd' of type DetectionOutput may open files or run code\."):
        check_trust(layers, ("Python",))
    check_trust(layers, ("Python", "DetectionOutput"))


# ---- what is trusted
def test_a_trusted_python_layer_runs_here_and_on_every_worker(solver, stranger):
    factory = pickle.loads(pickle.dumps(CaffeNet.factory(solver, trust=("Python",))))
    assert stranger.exists()
    data = pack(COLUMNS, FIELDS, 4)
    run = averaged_sgd(factory, data, cluster=LocalCluster(), workers=2, tau=1, rounds=1, evaluate=(data, 1))
    assert next(run).metrics["loss"] > 0


def test_a_definition_is_trusted_with_what_it_says_alone(solver):
    definition = CaffeNet.factory(solver, trust=("Python",)).definition
    CaffeNet(definition)
    with pytest.raises(NetError, match=r"layer 'own' of type Python imports"):
        CaffeNet(replace(definition, trust=()))


@pytest.mark.parametrize(
    ("trust", "said"),
    [
        ("Python", r"trust is 'Python', expected types of layers, as in trust=\('Python',\)"),
        ((1,), r"trust is \(1,\), expected types of layers"),
        (None, "trust is None, expected types of layers"),
        (("python",), "trust has 'python', a type of layer that this Caffe has not; 'Python'?"),
    ],
)
def test_what_is_no_type_of_layer_is_refused(tiny, trust, said):
    with pytest.raises(NetError, match=said):
        CaffeNet(tiny.solver, trust=trust)


# ---- the table
def test_every_type_of_layer_computes_or_becomes_an_input_or_is_left_out_or_needs_trust():
    assert set(load().layer_type_list()) - DATA_LAYERS.keys() - {"HDF5Output"} - COMPUTES == {"Python"}


@pytest.mark.parametrize(("kind", "needed"), [("DetectionEvaluate", 2), ("PriorBox", 2), ("Proposal", 3)])
def test_layers_of_other_caffes_that_read_bottoms_without_asking_for_them_get_as_many(kind, needed):
    layer = messages().LayerParameter(name="x", type=kind, bottom=["data"] * needed)
    check_trust([layer], (kind,))
    layer.bottom.pop()
    match = rf"layer 'x' of type {kind} \(here\) has {needed - 1} bottoms, expected {needed}: it reads so many"
    with pytest.raises(NetError, match=match):
        check_trust([layer], (kind,), lambda _: " (here)")


def test_a_layer_of_another_caffe_that_reads_beside_its_bottom_is_refused_whatever_is_trusted():
    layer = messages().LayerParameter(name="x", type="BilinearInterpolate", bottom=["data"])
    with pytest.raises(
        NetError, match=r"layer 'x' of type BilinearInterpolate is refused: it reads memory beside a bottom"
    ):
        check_trust([layer], ("BilinearInterpolate",))


# ---- solvers
STEPS = """
import logging, sys
from test_caffe_trust import BATCH, CaffeNet

logging.disable()  # sparknet warns of what it leaves out; Caffe's log is meant here
net = CaffeNet(sys.argv[1])
for _ in range(3):
    net.step(BATCH)
net.forward(BATCH)
"""
PATH = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
PATH.pop("GLOG_minloglevel", None)  # other tests set it


def test_a_solver_writes_no_file_and_its_log_says_nothing(write, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (tmp_path / "precious").write_text("kept")
    outputs = "".join(
        f'layer {{ name: "out" type: "HDF5Output" bottom: "data" bottom: "label" hdf5_output_param {{ file_name: "{name}" }} }}\n'
        for name in ("x.h5", tmp_path / "precious")
    )
    writing = "snapshot: 1 snapshot_after_train: true debug_info: true display: 1 test_interval: 1 test_iter: 1"
    for prefix in ("x", "", f"{tmp_path}/x", f"{tmp_path}/"):
        path = write(f'{SOLVER} {writing} snapshot_prefix: "{prefix}"', f"debug_info: true\n{DATA}{outputs}{BODY}")
        before = sorted(tmp_path.rglob("*"))
        # in a process of its own: what imports Caffe first decides on its log
        done = subprocess.run(
            [sys.executable, "-c", STEPS, path], env=PATH, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "precious").read_text() == "kept"


# ---- the command
def test_the_command_has_the_option(capsys, write, stranger, tmp_path):
    net = (DATA + OWN + BODY).replace("dim: 3", "dim: 1 dim: 28 dim: 28").replace("num_output: 2", "num_output: 10")
    arguments = ["train", "--solver", str(write(SOLVER, net)), "--master", "none", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "imports the module 'a_strangers_module' and runs its code" in said
    assert said.endswith("only where you trust it: give --trust Python\n")
    assert not stranger.exists()
    assert main([*arguments, "--trust", "Pyton"]) == 2
    assert "--trust has 'Pyton', a type of layer that this Caffe has not; 'Python'?" in capsys.readouterr().err
    assert main([*arguments, "--rounds", "1", "--tau", "1", "--trust", "Python"]) == 0
    assert stranger.exists()
