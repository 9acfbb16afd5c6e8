"""The command with a Caffe solver: what it writes, and mistakes as one line with exit code 2."""

import json
from pathlib import Path

import numpy as np
import pytest

import sparknet
from sparknet import main_job
from sparknet.cli import main
from sparknet.data.images import sets
from sparknet.formats import write
from sparknet.nets import CaffeNet

pytestmark = pytest.mark.caffe

LENET = Path(__file__).parents[2] / "examples" / "lenet" / "lenet_solver.prototxt"
CIFAR = Path(__file__).parents[2] / "examples" / "cifar10_quick" / "cifar10_quick_solver.prototxt"
# Debian's Fashion-MNIST where it is installed, which the sessions of nox see to where they may.
DATA = "fashion-mnist" if sets.FASHION_MNIST.is_dir() else "mnist"
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
    settings = json.loads((out / "events.jsonl").read_text().splitlines()[0])["settings"]
    assert (settings["net"], settings["solver"]) == (None, str(LENET))
    weights = sparknet.load(out / "weights.sparknet")
    net = CaffeNet.factory(solver=LENET)(seed=0)
    assert net.get_weights() != weights
    net.copy_trained_layers_from(out / "weights.caffemodel")
    assert net.get_weights() == weights


def test_a_link_that_comes_during_a_run_in_the_place_of_the_caffemodel_is_not_followed(capsys, tmp_path, monkeypatch):
    out, precious = tmp_path / "out", tmp_path / "precious"
    precious.write_text("mine")

    def linking(*arguments, **options):
        (out / "weights.caffemodel").symlink_to(precious)
        return opened(*arguments, **options)

    opened = main_job.EventLog
    monkeypatch.setattr(main_job, "EventLog", linking)
    code, _, err = run(capsys, "--solver", LENET, "--out", out, "--data", DATA)
    assert (code, precious.read_text()) == (1, "mine")
    assert "Is a symbolic link, which is not followed; remove it" in err
    assert (out / "weights.caffemodel").is_symlink()


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


NET = """
layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 64 } %s }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 10 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
BASE = 'base_lr: 0.01 lr_policy: "fixed"'
WRONG = {
    "a top that no field has": (
        NET.replace('top: "label"', 'top: "lable"'),
        [],
        "--data has 'data', 'label': call the top so",
    ),
    "no batch size": (NET.replace("batch_size: 64", ""), [], "does not say its batch size; give --batch-size"),
    "no step": (
        NET.replace("%s", "transform_param { resize_param { } }"),
        [],
        "take it out of the prototxt|has no field",
    ),
    "a rate that no float has": (NET, ["--learning-rate", "1e39"], "base_lr inf, expected a finite number"),
    "a crop larger than the images": (NET.replace("%s", "transform_param { crop_size: 40 }"), [], "images of --data"),
    "a field of a fork": (NET + "layer { layer_of_a_fork: 1 }", [], "--drop-unknown-fields"),
    "a shape of other images": (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 32 dim: 32 } } }',
        [],
        "--data has 'data' uint8 (1, 28, 28)",
    ),
    "channels of other images": (
        NET.replace("%s", "transform_param { force_color: true }"),
        [],
        "so its images have 3 channels; --data has 'data' uint8 (1, 28, 28). Give --data such images",
    ),
    "padding where no label is ignored": (
        NET,
        ["--ragged", "pad", "--batch-size", "900"],
        "or use --ragged drop or reshape",
    ),
    "no whole minibatch": (
        NET,
        ["--ragged", "drop", "--batch-size", "4001", "--workers", "1"],
        "--ragged drop leaves out all",
    ),
    "a short minibatch that cannot run": (
        NET.replace(
            'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip"',
            'layer { name: "r" type: "Reshape" bottom: "ip" top: "r" reshape_param { shape { dim: 900 dim: -1 } } } '
            'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "r"',
        ),
        ["--batch-size", "900"],
        "(--ragged drop leaves it out, --ragged pad fills it up where the net ignores a label)",
    ),
    "time before the batch": (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 28 dim: 28 } } }'
        + NET[NET.index('layer { name: "ip"') :],
        [],
        "train by a program: the command feeds images with the batch first|--data has",
    ),
}


@pytest.mark.parametrize(("net", "options", "text"), WRONG.values(), ids=WRONG)
def test_errors_are_in_the_words_of_the_command(capsys, tmp_path, net, options, text):
    path = tmp_path / "solver.prototxt"
    path.write_text(f"{BASE}\nnet_param {{ {net.replace('%s', '')} }}", encoding="utf-8")
    code, _, err = run(capsys, "--solver", path, "--out", tmp_path / "out", *options)
    assert code == 2
    assert any(each in err for each in text.split("|"))
    for word in (
        "fields=",
        "batch_size=",
        "ignore_transform",
        "unknown_fields",
        "max_bytes",
        "solver_overrides",
        "Field(",
    ):
        assert word not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", "the solver is ''; expected the path"),
        ("s" * 300, "no solver prototxt at 'sss"),
        (LENET.parent, "it is a folder; name a file in it; it has lenet_solver.prototxt"),
        (LENET.with_name("lenet_train_test.prototxt"), "It is a net ("),
        ("w.npz", "It is of the format npz, which holds arrays"),
    ],
)
def test_what_is_no_solver_is_named(capsys, tmp_path, monkeypatch, given, text):
    monkeypatch.chdir(tmp_path)
    write("w.npz", {"a": np.ones(3)})
    code, _, err = run(capsys, "--solver", given)
    assert code == 2
    assert text in err
    assert err.count("\n") == 1


def test_a_caffe_net_is_fine_tuned_and_its_solvers_own_weights_give_way(capsys, tmp_path):
    net = CaffeNet(LENET, seed=5)
    weights = {name: list(arrays) for name, arrays in net.get_weights().items()}
    weights["old"] = weights.pop("ip2")
    write(tmp_path / "w.caffemodel.h5", sparknet.WeightCollection(weights))
    path = tmp_path / "solver.prototxt"
    path.write_text(
        f'weights: "none.caffemodel"\nnet: "{LENET.with_name("lenet_train_test.prototxt")}"\n{BASE}', encoding="utf-8"
    )
    assert run(capsys, "--solver", path)[0] == 2
    code, out, _ = run(
        capsys, "--solver", path, "--out", tmp_path, "--weights", tmp_path / "w.caffemodel.h5", "--learning-rate", 1e-30
    )
    assert code == 0
    assert "taken: conv1, conv2, ip1\n  skipped, not in this net: old\n  new, not in the file: ip2\n" in out
    trained = sparknet.load(tmp_path / "weights.sparknet")
    assert trained["conv1"][0].allclose(weights["conv1"][0], 1e-6)
    assert not trained["ip2"][0].allclose(weights["old"][0], 1e-6)


FIXED = """
layer { name: "in" type: "Input" top: "data" top: "label" include { phase: TRAIN }
        input_param { shape { dim: 30 dim: 1 dim: 28 dim: 28 } shape { dim: 30 } } }
layer { name: "in" type: "Input" top: "data" top: "label" include { phase: TEST }
        input_param { shape { dim: 50 dim: 1 dim: 28 dim: 28 } shape { dim: 50 } } }
layer { name: "fold" type: "Reshape" bottom: "data" top: "x" include { phase: TRAIN } reshape_param { shape { dim: 30 dim: 784 } } }
layer { name: "fold" type: "Reshape" bottom: "data" top: "x" include { phase: TEST } reshape_param { shape { dim: 50 dim: 784 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" %s }
"""


def test_a_net_that_fixes_its_batch_size_is_refused_with_the_option_that_helps(capsys, tmp_path):
    solver = tmp_path / "solver.prototxt"
    text = 'net: "net.prototxt" base_lr: 0.0001 lr_policy: "fixed"'
    solver.write_text(text, encoding="utf-8")
    (tmp_path / "net.prototxt").write_text(FIXED % "", encoding="utf-8")
    # 4,000 MNIST images to train, of which 10 are left, and 1,000 to test
    options = ("--solver", solver, "--out", tmp_path / "out", "--workers", 1)
    code, _, err = run(capsys, *options)
    assert code == 2
    assert "the last minibatch, of 10 rows (--ragged drop leaves it out, --ragged pad fills it up where" in err
    assert (
        "layer 'fold' (Reshape), with a batch of 10 rows where the prototxt declares 30 (--batch-size 30 fits)" in err
    )
    code, _, err = run(capsys, *options, "--ragged", "pad")
    assert (code, "error: --ragged pad: layer 'loss' (SoftmaxWithLoss) counts every row" in err) == (2, True)
    assert "or use --ragged drop or reshape" in err
    code, out, _ = run(capsys, *options, "--ragged", "drop")
    assert (code, "\n10 of 4000 examples are left out" in out) == (0, True)
    assert "of 1000 examples" not in out  # the test net has a batch size of its own
    (tmp_path / "net.prototxt").write_text(FIXED % "loss_param { ignore_label: -1 }", encoding="utf-8")
    code, out, _ = run(capsys, *options, "--ragged", "pad")
    assert (code, "left out" in out) == (0, False)
