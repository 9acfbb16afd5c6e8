"""What happens to the values of a net's inputs: done once, told in a line, and warned of where a net could not learn."""

import logging
from pathlib import Path

import numpy as np
import pytest

from sparknet import Field, LocalCluster, NDArray, averaged_sgd
from sparknet.cli import main
from sparknet.data import load_image_set, pack
from sparknet.data.preprocess import Scale, SubtractMean
from sparknet.nets import CaffeNet
from sparknet.nets.caffe import feeding
from sparknet.nets.caffe.runtime import load

pytestmark = pytest.mark.caffe

SOLVER = 'base_lr: 0.01 lr_policy: "inv" gamma: 0.0001 power: 0.75 momentum: 0.9 weight_decay: 0.0005'
DATA = """
layer { name: "digits" type: "Data" top: "data" top: "label" include { phase: %s }
  data_param { source: "digits_lmdb" backend: LMDB batch_size: 64 }
  transform_param {
    %s
  }
}
"""
BODY = """
layer { name: "ip" type: "InnerProduct" bottom: "%s" top: "ip" inner_product_param {
  num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
INPUTS = """
layer { name: "in" type: "Input" top: "data" top: "label"
        input_param { shape { dim: 64 dim: 1 dim: 28 dim: 28 } shape { dim: 64 } } }
"""
POWER = 'layer { name: "scaled" type: "Power" bottom: "data" top: "scaled" power_param { scale: 0.00390625 } }\n'


def as_lmdb(train, test=None):
    """A net as Caffe's own examples are written: a data layer for each phase, with these transform_params."""
    return DATA % ("TRAIN", train) + DATA % ("TEST", test or train) + BODY % "data"


@pytest.fixture
def run(capsys, tmp_path, write):
    """A function that trains a net with the command: exit code, lines, standard error, bytes of the weights."""

    def run(net, *options):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        training = ["--master", "none", "--rounds", "3", "--tau", "20", "--seed", "7", "--out", str(out)]
        code = main(["train", "--solver", str(write(SOLVER, net)), *training, *options])
        captured = capsys.readouterr()
        weights = (out / "weights.sparknet").read_bytes() if out.exists() else b""
        return code, captured.out.splitlines(), captured.err, weights

    return run


# ---- the command
def test_pixels_are_scaled_once_by_the_data_layer_and_a_line_says_where(run):
    code, lines, err, _ = run(as_lmdb("scale: 0.00390625"))
    assert (code, err) == (0, "")
    assert lines[1].startswith("data: uint8 0..255 -> x 0.00390625 (net.prototxt:5) -> 0..0.99")
    assert lines[2] == "label: int64 0..9 -> as it is"
    # a softmax regression on 4,000 digits is at 80 % after 120 steps; scaled twice it is at some 10 %
    last = [line for line in lines if line.startswith("round ")][-1]
    assert float(last.partition("test accuracy")[2].partition("%")[0]) > 70


def test_a_scale_in_the_data_layer_and_in_a_layer_of_the_net_train_the_same_bits(run):
    in_data_layer = run(as_lmdb("scale: 0.00390625"))
    in_power_layer = run(INPUTS + POWER + BODY % "scaled")
    assert in_data_layer[3] == in_power_layer[3]
    assert in_power_layer[1][1].startswith("data: uint8 0..255 -> x 0.00390625 (net.prototxt:4) -> 0..0.99")


def test_a_net_that_says_nothing_gets_the_bytes_as_they_are(run):
    _, lines, _, _ = run(INPUTS + BODY % "data")
    assert lines[1] == "data: uint8 0..255 -> as it is"
    assert run(INPUTS + BODY % "data", "--scale", "0.00390625")[3] == run(as_lmdb("scale: 0.00390625"))[3]


def test_crop_and_mean_are_told_in_the_order_in_which_they_are_done(run):
    _, lines, _, _ = run(as_lmdb("mirror: true\n    crop_size: 24 mean_value: 33\n    scale: 0.0125"))
    assert lines[1].startswith(
        "data: uint8 0..255 -> crop 24 (net.prototxt:6) -> mirror (net.prototxt:5) -> - 33 (net.prototxt:6) -> "
        "x 0.0125 (net.prototxt:7) -> "
    )


def test_a_test_phase_that_computes_something_else_has_a_line_of_its_own(run):
    _, lines, _, _ = run(as_lmdb("scale: 0.00390625 mirror: true", "scale: 0.5"))
    assert lines[2] == "data, in test: uint8 0..255 -> x 0.5 (net.prototxt:12)"
    _, lines, _, _ = run(as_lmdb("scale: 0.00390625 mirror: true", "scale: 0.00390625"))
    assert not any("in test" in line for line in lines)


def test_a_net_of_2013_is_told_by_its_lines_too(run):
    old = 'layers { layer { name: "d" type: "data" source: "x" batchsize: 64\n  cropsize: 20\n  scale: 0.5 } top: "data" top: "label" }'
    ip = 'layers { layer { name: "ip" type: "innerproduct" num_output: 10 } bottom: "data" top: "ip" }'
    loss = 'layers { layer { name: "l" type: "softmax_loss" } bottom: "ip" bottom: "label" }'
    _, lines, _, _ = run(old + ip + loss)
    assert lines[1].startswith("data: uint8 0..255 -> crop 20 (net.prototxt:2) -> x 0.5 (net.prototxt:3) -> ")


def test_a_net_inside_the_solver_is_told_by_its_line_there(tmp_path, capsys):
    path = tmp_path / "solver.prototxt"
    path.write_text(f"{SOLVER}\nnet_param {{{as_lmdb('scale: 0.00390625')}}}")
    assert (
        main(["train", "--solver", str(path), "--master", "none", "--rounds", "1", "--out", str(tmp_path / "o")]) == 0
    )
    assert "-> x 0.00390625 (solver.prototxt:6) ->" in capsys.readouterr().out


# ---- warnings
def test_scaling_twice_is_warned_of(run, caplog):
    assert run(as_lmdb("scale: 0.00390625"), "--scale", "0.00390625")[0] == 0
    said = caplog.text
    assert "input 'data': the preprocessor of the data computes x 0.00390625, and the net then x 0.00390625" in said
    assert "input 'data': all values of the first minibatch lie within 1/100 (0..0.0038909912)" in said
    assert said.count("all values of the first minibatch") == said.count("preprocessor of the data computes") == 1


@pytest.mark.parametrize("net", [as_lmdb("scale: 0.00390625"), INPUTS + POWER + BODY % "scaled"])
def test_the_library_warns_too_behind_data_layers_and_power_layers(write, caplog, net):
    images = load_image_set("mnist")
    columns = {"data": images.train[0][:64] / np.float32(256), "label": images.train[1][:64]}
    fields = [Field("data", (1, 28, 28)), Field("label", (), "int64")]
    factory = CaffeNet.factory(write(SOLVER, net), fields=fields)
    next(averaged_sgd(factory, pack(columns, fields, 64), cluster=LocalCluster(), workers=1, tau=1, rounds=1))
    assert "input 'data': all values of the first minibatch lie within 1/100" in caplog.text


def test_a_mean_that_is_subtracted_twice_is_warned_of(write, caplog):
    images = load_image_set("mnist")
    columns = {"data": images.train[0][:64], "label": images.train[1][:64]}
    data = pack(columns, images.fields, 64, SubtractMean("data", 33))
    factory = CaffeNet.factory(write(SOLVER, as_lmdb("mean_value: 33 scale: 0.0125")), fields=images.fields)
    next(averaged_sgd(factory, data, cluster=LocalCluster(), workers=1, tau=1, rounds=1))
    assert "computes - 33, and the net then - 33 (net.prototxt:5), x 0.0125 (net.prototxt:5); leave" in caplog.text


def test_no_warning_where_values_are_plausible(run, caplog):
    assert run(as_lmdb("scale: 0.00390625"))[0] == 0
    assert not caplog.records


def test_a_transform_param_where_caffe_does_not_look_is_told(write, caplog, tiny):
    net = tiny.net_text.replace('type: "Input"', 'type: "Input" transform_param { scale: 0.5 }', 1)
    CaffeNet(write(SOLVER, net))
    assert "(Input) has a transform_param, which Caffe uses in data layers alone" in caplog.text


# ---- the data layer in Python
def test_an_rdd_data_layer_tells_of_its_first_batch_once_and_warns(tmp_path, capsys, caplog):
    caffe = load()
    param = '{"tops": {"data": [6], "label": []}, "batch_size": 4}'
    path = tmp_path / "net.prototxt"
    path.write_text(
        f"""layer {{ name: "in" type: "Python" top: "data" top: "label" python_param {{
        module: "sparknet.nets.caffe" layer: "RDDDataLayer" param_str: '{param}' }} }}"""
    )
    net = caffe.Net(str(path), caffe.TRAIN)
    rng = np.random.default_rng(0)
    batch = {"data": NDArray(rng.random((4, 6), np.float32) / 256), "label": NDArray(np.arange(4))}
    with caplog.at_level(logging.WARNING), feeding(net, [batch, batch]):
        net.forward()
        net.forward()
    told = capsys.readouterr().err
    assert told.count("RDDDataLayer 'train': data: float32 ") == told.count("label: int64 0..3 -> as it is") == 1
    assert caplog.text.count("lie within 1/100") == 1


# ---- the examples
def test_plain_caffe_trains_the_example_on_bytes_as_the_command_does(plain):
    folder = Path(__file__).parents[2] / "examples" / "lenet"
    images = load_image_set("mnist")
    batches = [
        {"data": NDArray(images.train[0][i : i + 64]), "label": NDArray(images.train[1][i : i + 64])}
        for i in range(0, 640, 64)
    ]
    net = CaffeNet(folder / "lenet_solver.prototxt", seed=7)
    losses = [net.step(batch) for batch in batches]
    solver = (folder / "lenet_solver.prototxt").read_text().replace('net: "lenet_train_test.prototxt"', "")
    weights, plain_losses = plain(
        solver + "snapshot_after_train: false", (folder / "lenet_train_test.prototxt").read_text(), batches, 7
    )
    assert losses == plain_losses
    assert losses[-1] < 2
    for name, arrays in net.get_weights().items():
        for array, blob in zip(arrays, weights[name], strict=True):
            assert array.to_host().tobytes() == blob.tobytes()


def test_the_command_says_a_scale_of_mlp_too(capsys, tmp_path):
    assert main(["train", "--master", "none", "--rounds", "1", "--out", str(tmp_path / "o")]) == 0
    assert "data: uint8 0..255 -> x 0.00390625 (as --net mlp has it) -> 0..0.99" in capsys.readouterr().out


def test_a_preprocessor_that_only_moves_pixels_is_no_second_scale(write, caplog):
    images = load_image_set("mnist")
    columns = {"data": images.train[0][:64], "label": images.train[1][:64]}
    data = pack(columns, images.fields, 64, Scale("data", 1))
    factory = CaffeNet.factory(write(SOLVER, as_lmdb("crop_size: 24")), fields=images.fields)
    next(averaged_sgd(factory, data, cluster=LocalCluster(), workers=1, tau=1, rounds=1))
    assert not caplog.records
