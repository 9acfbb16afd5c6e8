"""What the patches of the wheel's layers promise beside the values of test_bvlc_cases.py: what is refused, kept and said."""

import os
import subprocess
import sys

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2

pytestmark = pytest.mark.caffe


def shaped(name, *dims, kind="Input", param="input_param"):
    """Return a layer that makes a blob of this name and shape."""
    shape = " ".join(f"dim: {dim}" for dim in dims)
    return f'layer {{ name: "{name}" type: "{kind}" top: "{name}" {param} {{ shape {{ {shape} }} }} }}\n'


IMAGE = shaped("x", 1, 1, 4, 4)
POOL = 'layer {{ name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param {{ {} }} }}'
NORM = 'layer { name: "b" type: "BatchNorm" bottom: "x" top: "b" }'
GAIN = shaped("x", 2, 3) + shaped("y", 2)
INFOGAIN = 'layer {{ name: "l" type: "InfogainLoss" bottom: "x" bottom: "y" {} top: "l" }}'
SLOPE = shaped("w", 1, kind="Parameter", param="parameter_param") + (
    'layer { name: "sum" type: "Reduction" bottom: "w" top: "sum" loss_weight: 1 }'
)


@pytest.fixture
def net_of(tmp_path):
    """Return a function that makes a net of its text, with gradients for its inputs."""

    def make(text):
        (tmp_path / "net.prototxt").write_text("force_backward: true\n" + text)
        return caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)

    return make


# ------------------------------------------------------------------------------------------ max pooling


def test_the_gradient_of_an_empty_window_is_refused_with_the_way_out(net_of):
    net = net_of(IMAGE + POOL.format("kernel_size: 1 stride: 2"))
    net.forward()
    with pytest.raises(RuntimeError, match=r"layer 'p': window \(0, 2\) lies beyond the input .* round_mode: FLOOR"):
        net.backward()
    net = net_of(IMAGE + POOL.format("kernel_size: 1 stride: 2 round_mode: FLOOR"))
    net.forward()
    net.blobs["p"].diff[...] = 1
    net.backward()
    assert net.blobs["x"].diff.sum() == net.blobs["p"].count == 4


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_window_that_is_not_empty_but_has_no_maximum_is_told_apart(net_of, value):
    net = net_of(IMAGE + POOL.format("kernel_size: 2 stride: 2"))
    net.blobs["x"].data[...] = value
    net.forward()
    with pytest.raises(
        RuntimeError, match=r"NaN or -inf in the input of max pooling layer 'p', in all of window \(0, 0\)"
    ):
        net.backward()


# ------------------------------------------------------------------------------------------ BatchNorm


@pytest.mark.parametrize(
    "field", ["weight_filler { }", "bias_filler { }", "use_alpha_beta: true", "do_all_reduce: true"]
)
def test_batch_norm_refuses_what_it_does_not_read(net_of, field):
    with pytest.raises(RuntimeError, match=r"Failed to parse|BatchNorm has no weights.*Scale layer"):
        net_of(IMAGE + NORM.replace('top: "b"', f'top: "b" batch_norm_param {{ {field} }}'))


@pytest.mark.parametrize("given", ["", 'param { name: "m" lr_mult: 0 }', "param { lr_mult: 0 } " * 3])
def test_saved_batch_norms_say_that_their_statistics_are_not_learned(net_of, tmp_path, given):
    net_of(IMAGE + NORM.replace('top: "b"', f'top: "b" {given}')).save(str(tmp_path / "w.caffemodel"))
    saved = caffe_pb2.NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    specs = saved.layer[-1].param
    assert [spec.lr_mult for spec in specs] == [0, 0, 0]
    assert [spec.name for spec in specs] == ["m" if '"m"' in given else "", "", ""]


# ------------------------------------------------------------------------------------------ InfogainLoss


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (shaped("H", 2, 3) + INFOGAIN.format('bottom: "H"'), "must have a row and a column for each class"),
        (INFOGAIN.format(""), "Infogain matrix source must be specified"),
        (INFOGAIN.format('infogain_loss_param { source: "no/such" }'), "no/such"),
        (INFOGAIN.format('infogain_loss_param { source: "net.prototxt" }'), "no infogain matrix in net.prototxt"),
        (shaped("H", 9) + INFOGAIN.format('bottom: "H" loss_param { normalize: true }'), "not normalize"),
        (
            shaped("H", 9) + INFOGAIN.format('bottom: "H" infogain_loss_param { axis: 0 }'),
            "Number of labels must match",
        ),
    ],
)
def test_an_infogain_loss_says_what_it_lacks(net_of, tmp_path, monkeypatch, layers, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match=message):
        net_of(GAIN + layers)


def test_an_infogain_loss_reads_its_matrix_from_a_file(net_of, tmp_path):
    matrix = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[3, 3]), data=np.eye(3).ravel())
    (tmp_path / "H.binaryproto").write_bytes(matrix.SerializeToString())
    net = net_of(GAIN + INFOGAIN.format(f'infogain_loss_param {{ source: "{tmp_path}/H.binaryproto" }}'))
    net.blobs["y"].data[...] = 2
    # the identity makes it the loss of a softmax: log 3 for equal scores, to the rounding of float32
    assert float(net.forward()["l"]) == pytest.approx(np.log(3), rel=1e-6)


@pytest.mark.parametrize("label", [-1, 3])
def test_an_infogain_loss_checks_the_range_of_labels(net_of, label):
    net = net_of(GAIN + shaped("H", 3, 3) + INFOGAIN.format('bottom: "H"'))
    net.blobs["y"].data[...] = label
    with pytest.raises(RuntimeError, match="label"):
        net.forward()


# ------------------------------------------------------------------------------------------ fields and files


@pytest.mark.parametrize(
    "layer",
    [
        POOL.format("kernel_size: 2 ceil_mode: true"),
        'layer { name: "x" type: "Split" inception_param { } }',
        'layer { name: "x" type: "Split" bn_param { } }',
        'layer { name: "x" type: "Split" video_data_param { } }',
        'layer { name: "x" type: "Split" transform_param { noise_param { } } }',
        'layer { name: "x" type: "Convolution" convolution_param { width_group: 2 } }',
        'layers { name: "x" type: SPLIT batch_norm_param { } }',
    ],
)
def test_fields_that_would_be_ignored_do_not_parse(net_of, layer):
    with pytest.raises(RuntimeError, match="Failed to parse NetParameter"):
        net_of(layer)


def test_weights_of_more_than_512_mib_are_read(net_of, tmp_path):
    net = net_of(SLOPE)
    net.params["w"][0].data[...] = 3
    net.save(str(tmp_path / "w.caffemodel"))
    with (tmp_path / "large.caffemodel").open("wb") as file:
        file.write(b"\x0a\x80\x80\x80\x80\x02")  # the net's name, of 2**29 bytes, which stay a hole of the file
        file.seek(2**29, os.SEEK_CUR)
        file.write((tmp_path / "w.caffemodel").read_bytes())
    net.params["w"][0].data[...] = 0
    net.copy_from(str(tmp_path / "large.caffemodel"))
    assert net.params["w"][0].data.item() == 3


@pytest.mark.parametrize(("prefix", "name"), [(None, "my.solver"), ("{folder}/shots", "shots/my.solver")])
def test_snapshots_without_a_prefix_are_named_after_the_solver(tmp_path, prefix, name):
    (tmp_path / "shots").mkdir()
    (tmp_path / "net.prototxt").write_text(SLOPE)
    given = f'snapshot_prefix: "{prefix.format(folder=tmp_path)}"' if prefix else ""
    text = f'net: "{tmp_path}/net.prototxt" base_lr: 1 lr_policy: "fixed" {given}'
    (tmp_path / "my.solver.prototxt").write_text(text)
    caffe.get_solver(str(tmp_path / "my.solver.prototxt")).snapshot()
    assert (tmp_path / f"{name}_iter_0.caffemodel").exists()


def test_debug_info_layers_that_are_left_out_and_a_prefix_that_was_chosen_are_logged(net_of, tmp_path):
    net_of(SLOPE.replace('"w"', '"v"')).save(str(tmp_path / "w.caffemodel"))
    (tmp_path / "debug.prototxt").write_text("debug_info: true\n" + SLOPE)
    (tmp_path / "my.prototxt").write_text(f'net: "{tmp_path}/debug.prototxt" base_lr: 1 lr_policy: "fixed"')
    code = (
        f"import caffe; net = caffe.Net('{tmp_path}/debug.prototxt', caffe.TRAIN); net.forward(); net.backward(); "
        f"net.copy_from('{tmp_path}/w.caffemodel'); caffe.get_solver('{tmp_path}/my.prototxt')"
    )
    environment = {**os.environ, "GLOG_minloglevel": "0", "GLOG_logtostderr": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "[Forward] Layer w, top blob w" in done.stderr
    assert "[Backward] Layer w" in done.stderr
    assert "Ignoring source layer v" in done.stderr
    assert f"the prefix of snapshots is {tmp_path}/my\n" in done.stderr


PAIRS = shaped("a", 2, 3) + shaped("b", 2, 3)
CONTRAST = 'layer { name: "l" type: "ContrastiveLoss" bottom: "a" bottom: "b" bottom: "s" top: "l" }'


def test_a_contrastive_loss_takes_more_rows_than_it_was_made_for(net_of):
    net = net_of(PAIRS + shaped("s", 2) + CONTRAST)
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(size=(500, 3)), "b": rng.normal(size=(500, 3)), "s": rng.integers(0, 2, 500)}
    for name, value in values.items():
        net.blobs[name].reshape(*value.shape)
        net.blobs[name].data[...] = value
    distance = ((values["a"] - values["b"]) ** 2).sum(axis=1)
    apart = np.maximum(1 - np.sqrt(distance), 0) ** 2
    # the mean of 500 float32 terms: 500 roundings of 2 ** -24 each
    assert np.isclose(float(net.forward()["l"]), np.where(values["s"], distance, apart).mean() / 2, rtol=500 * 2.0**-24)
    net.backward()
    assert np.isfinite(net.blobs["a"].diff).all()


def test_a_contrastive_loss_refuses_fewer_labels_than_pairs(net_of):
    with pytest.raises(RuntimeError, match=r"bottom\[0\]->num\(\) == bottom\[2\]->num\(\) \(2 vs. 1\)"):
        net_of(PAIRS + shaped("s", 1) + CONTRAST)
