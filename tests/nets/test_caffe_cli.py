"""The command with a Caffe solver: what it writes, and mistakes as one line with exit code 2."""

from pathlib import Path

import pytest

import sparknet
from sparknet.cli import main
from sparknet.data import image_sets
from sparknet.nets import CaffeNet

pytestmark = pytest.mark.caffe

LENET = Path(__file__).parents[2] / "examples" / "lenet" / "lenet_solver.prototxt"
CIFAR = Path(__file__).parents[2] / "examples" / "cifar10_quick" / "cifar10_quick_solver.prototxt"
# Debian's Fashion-MNIST where it is installed, which the sessions of nox see to where they may.
DATA = "fashion-mnist" if image_sets.FASHION_MNIST.is_dir() else "mnist"
FAST = ["--master", "none", "--rounds", "2", "--tau", "2"]


def run(capsys, *arguments):
    code = main(["train", *FAST, *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_lenet_is_trained_and_saved_in_our_format_and_as_a_caffemodel(capsys, tmp_path):
    out = tmp_path / "out"
    code, text, err = run(capsys, "--solver", LENET, "--out", out, "--seed", 3, "--data", DATA)
    assert (code, err) == (0, "")
    assert "round 2/2  loss " in text
    weights = sparknet.load(out / "weights.sparknet")
    net = CaffeNet.factory(solver=LENET)(seed=0)
    assert net.get_weights() != weights
    net.copy_trained_layers_from(out / "weights.caffemodel")
    assert net.get_weights() == weights


def test_the_learning_rate_can_be_given_on_the_command_line(capsys, tmp_path):
    for name, options in (("a", []), ("b", ["--learning-rate", "0.01"]), ("c", ["--learning-rate", "0.02"])):
        assert run(capsys, "--solver", LENET, "--out", tmp_path / name, *options)[0] == 0
    own, same, other = ((tmp_path / name / "weights.sparknet").read_bytes() for name in "abc")
    assert own == same != other  # the solver file says 0.01


def test_the_minibatch_is_the_nets_own_unless_asked_for(capsys, tmp_path):
    assert run(capsys, "--solver", LENET, "--batch-size", "2001", "--out", tmp_path / "a")[0] == 0
    code, _, err = run(capsys, "--solver", LENET, "--batch-size", "4000", "--workers", "2")
    assert code == 2
    assert "2 workers for 1 minibatches of 4000 examples" in err


def test_iter_size_makes_minibatches_of_so_many_passes_and_says_so(capsys, tmp_path):
    solver = tmp_path / "solver.prototxt"
    text = LENET.read_text(encoding="utf-8").replace('net: "', f'net: "{LENET.parent}/')
    solver.write_text(text + "\niter_size: 2\n", encoding="utf-8")
    code, out, _ = run(capsys, "--solver", solver, "--out", tmp_path / "a")
    assert (code, "iter_size 2: minibatches of 128 images, each in 2 passes of 64\n" in out) == (0, True)
    code, out, _ = run(capsys, "--solver", solver, "--out", tmp_path / "b", "--batch-size", 32)
    assert (code, "minibatches of 32 images, each in 2 passes of 16" in out) == (0, True)
    code, _, err = run(capsys, "--solver", solver, "--out", tmp_path / "c", "--batch-size", 33)
    assert (code, "--batch-size 33: expected a multiple of the solver's iter_size, 2" in err) == (2, True)


@pytest.mark.parametrize(
    ("solver", "text"),
    [
        ("missing.prototxt", "missing.prototxt"),
        ('net: "no_such_net.prototxt"\nbase_lr: 0.1 lr_policy: "fixed"', "no_such_net.prototxt"),
        ('net: "net.prototxt\nbase_lr', "1:6: not a prototxt"),
        (CIFAR, "data"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2_and_write_nothing(capsys, tmp_path, monkeypatch, solver, text):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "solver.prototxt"
    if isinstance(solver, str) and "\n" in solver:
        path.write_text(solver, encoding="utf-8")
    else:
        path = solver
    code, _, err = run(capsys, "--solver", path, "--out", "out")
    assert code == 2
    assert err.startswith("sparknet train: error: ")
    assert text in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
