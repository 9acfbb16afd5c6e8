"""Each field of a data layer is done as Caffe does it, or named: as being of no effect here, or as refused."""

import logging

import numpy as np
import pytest

from sparknet import Field, LocalCluster, NDArray, NetError, averaged_sgd
from sparknet.data import pack
from sparknet.data.preprocess.bilinear import resize_bilinear
from sparknet.nets.caffe import CaffeNet
from sparknet.nets.caffe.data_params import _DONE, _MOVED, _READING, _WINDOWS
from sparknet.nets.caffe.inputs import DATA_LAYERS
from sparknet.nets.caffe.runtime import messages

pytestmark = pytest.mark.caffe

SOLVER = 'base_lr: 0.1 lr_policy: "fixed"\nnet_param {{ {} {} }}'
BODY = 'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } }'
IMAGES = np.random.default_rng(5).integers(0, 256, (4, 3, 9, 10), np.uint8)
BATCH = {"data": NDArray(IMAGES), "label": NDArray(np.zeros(4))}
FIELDS = [Field("data", (3, 9, 10), "uint8"), Field("label", (), "int64")]


def layer(kind, own="", transform="", more=""):
    return (
        f'layer {{ name: "in" type: "{kind}" top: "data" top: "label" {more} {DATA_LAYERS[kind]} {{ batch_size: 4 {own} }} '
        f"transform_param {{ {transform} }} }}"
    )


def made(*said, fields=FIELDS, **more):
    return CaffeNet(SOLVER.format(layer(*said, **more), BODY), fields=fields)


def seen(net, batch=BATCH):
    return net.forward(batch, ["data"])["data"].to_host()


# ---- images
def test_image_data_is_resized_before_all_else():
    resized = resize_bilinear(IMAGES, 6, 7)
    net = made("ImageData", "new_height: 6 new_width: 7", "crop_size: 4 mean_value: 10 scale: 0.5")
    assert net.input_shapes["data"] == (4, 3, 4, 4)
    assert (seen(net) == (resized[..., 1:5, 1:5].astype(np.float32) - 10) * np.float32(0.5)).all()
    net.step(BATCH)
    assert (seen(made("ImageData", "new_height: 6 new_width: 7")) == resized).all()


@pytest.mark.parametrize("own", ["new_height: 6", "new_width: 6"])
def test_a_height_without_a_width_is_refused_as_in_caffe(own):
    with pytest.raises(NetError, match=r"got new_height . and new_width ., expected both or neither"):
        made("ImageData", own)


def test_a_crop_larger_than_the_resized_image_is_refused():
    with pytest.raises(NetError, match=r"Crop: 7x7 does not fit into 'data' of shape .3, 6, 6."):
        made("ImageData", "new_height: 6 new_width: 6", "crop_size: 7")


GRAY = [Field("data", (1, 9, 10), "uint8"), FIELDS[1]]


@pytest.mark.parametrize(
    ("kind", "own", "fields", "match"),
    [
        (
            "ImageData",
            "is_color: false",
            FIELDS,
            r"is_color: false, so its images have 1 channels; the field given is 'data'",
        ),
        ("ImageData", "is_color: true", GRAY, "is_color: true, so its images have 3 channels.*Decode and Grayscale"),
        ("Data", "force_encoded_color: true", GRAY, "force_encoded_color, so its images have 3 channels"),
    ],
)
def test_other_colors_than_the_layer_decodes_are_refused(kind, own, fields, match):
    with pytest.raises(NetError, match=match):
        made(kind, own, fields=fields)


def test_colors_that_fit_pass(caplog):
    made("ImageData", "is_color: true")
    made("ImageData", "is_color: false", fields=GRAY)
    assert not caplog.text
    made("ImageData", fields=GRAY)
    assert "does not say is_color: false, so Caffe would decode 3 channels" in caplog.text


# ---- what has no effect
READING = [
    ("Data", 'source: "x" backend: LMDB prefetch: 2 rand_skip: 5', "source, rand_skip, backend, prefetch"),
    (
        "ImageData",
        'source: "x" root_folder: "y" shuffle: true rand_skip: 5',
        "source, shuffle, rand_skip, root_folder",
    ),
    ("HDF5Data", 'source: "x" shuffle: true', "source, shuffle"),
    ("WindowData", 'source: "x" root_folder: "y" cache_images: true', "source, cache_images, root_folder"),
]


@pytest.mark.parametrize(("kind", "own", "names"), READING, ids=[kind for kind, _, _ in READING])
def test_what_is_read_and_how_has_no_effect_and_is_said_once(kind, own, names, caplog):
    with caplog.at_level(logging.INFO):
        net = made(kind, own)
    assert (seen(net) == IMAGES).all()
    said = [record.getMessage() for record in caplog.records if "without effect" in record.getMessage()]
    assert len(said) == 1  # for both phases
    text, _, listed = said[0].rpartition(": ")
    assert text == f"layer 'in' ({kind}): its rows are those that are packed or passed; without effect"
    assert set(listed.split(", ")) == set(names.split(", "))


def test_how_windows_are_chosen_and_cut_is_said_as_a_warning(caplog):
    made("WindowData", 'fg_threshold: 0.5 bg_threshold: 0.5 fg_fraction: 0.25 context_pad: 16 crop_mode: "warp"')
    assert (
        "its windows are those that are packed or passed, already cut out; without effect: fg_threshold" in caplog.text
    )


def test_a_transformation_outside_of_transform_param_has_no_effect_as_in_caffe(caplog):
    assert (seen(made("Data", "scale: 0.5 crop_size: 4")) == IMAGES).all()
    assert "scale, crop_size in data_param without effect, as in Caffe: it belongs into transform_param" in caplog.text


def test_the_scale_of_windows_is_that_of_their_own_parameters(caplog):
    assert (seen(made("WindowData", "scale: 0.5")) == IMAGES * np.float32(0.5)).all()
    assert not caplog.text
    assert (seen(made("WindowData", "", "scale: 0.5")) == IMAGES).all()
    assert (
        "scale in transform_param without effect, as in Caffe: this type takes that of window_data_param" in caplog.text
    )


def test_every_field_of_every_data_layer_has_its_place_in_the_table():
    for kind, param in DATA_LAYERS.items():
        fields = messages().LayerParameter.DESCRIPTOR.fields_by_name[param].message_type.fields_by_name
        placed = {*_DONE[kind], *_READING[kind], *_MOVED, *(_WINDOWS if kind == "WindowData" else ())}
        assert set(fields) <= placed, kind


# ---- layers that read themselves
@pytest.mark.parametrize(
    "python", ['module: "mine" layer: "Voc"', 'module: "sparknet.nets.caffe" layer: "Other" param_str: "{}"']
)
def test_a_data_layer_of_the_users_own_is_refused(python):
    own = f'layer {{ name: "own" type: "Python" top: "data" top: "label" python_param {{ {python} }} }}'
    match = r"layer 'own' \(Python: \S+\) makes its tops \('data', 'label'\) itself: each worker.*Input layer or an RDDDataLayer"
    for make in (CaffeNet, CaffeNet.factory):
        with pytest.raises(NetError, match=match):
            make(SOLVER.format(own, BODY), fields=FIELDS)


def test_layers_that_make_constants_are_left_alone():
    dummy = 'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 4 } } } '
    parameter = 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 3 } } } '
    assert CaffeNet(SOLVER.format(layer("Data"), dummy + parameter + BODY), fields=FIELDS).get_weights().keys() == {
        "p",
        "ip",
    }


PYTHON = 'layer {{ name: "own" type: "Python" bottom: "data" top: "own" python_param {{ module: "{}" layer: "{}" }} }}'


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (
            "no.such",
            r"layer 'own' \(Python\): the module 'no.such' cannot be imported .*PYTHONPATH, here and on every worker",
        ),
        ("", "the module '' cannot be imported"),
        ("json", "the module 'json' has no 'Mine'"),
    ],
)
def test_a_python_layer_whose_class_cannot_be_had_is_named(module, match):
    with pytest.raises(NetError, match=match):
        CaffeNet(SOLVER.format(layer("Data"), PYTHON.format(module, "Mine")), fields=FIELDS, trust=("Python",))


def test_steps_of_a_net_without_a_loss_are_warned_of_once(caplog):
    net = made("Data")
    for _ in range(3):
        assert net.step(BATCH) == 0
    assert caplog.text.count("no layer of the TRAIN phase is a loss") == 1


def test_a_training_without_a_loss_is_warned_of_once_and_a_net_that_only_runs_is_not(caplog):
    factory = CaffeNet.factory(SOLVER.format(layer("Data"), BODY), fields=FIELDS)
    factory().forward(BATCH)
    assert "is a loss" not in caplog.text
    data = pack({"data": IMAGES.repeat(2, axis=0)[:7], "label": np.zeros(7)}, FIELDS, 4)
    next(averaged_sgd(factory, data, cluster=LocalCluster(), workers=2, tau=2, rounds=1))
    assert caplog.text.count("no layer of the TRAIN phase is a loss") == 1


# ---- transform_param
@pytest.mark.parametrize("said", ["crop_h: 4", "crop_w: 4", "crop_size: 5 crop_h: 4 crop_w: 3"])
def test_sides_of_a_crop_come_in_pairs_and_without_a_crop_size(said):
    with pytest.raises(NetError, match=r"got crop_.*; expected crop_size alone, or crop_h and crop_w"):
        made("Data", transform=said)
    assert made("Data", transform="crop_h: 4 crop_w: 3").input_shapes["data"] == (4, 3, 4, 3)


def test_a_mirror_in_the_test_phase_is_told_to_do_nothing(caplog):
    caplog.set_level(logging.INFO)
    net = made("Data", transform="mirror: true")
    assert "layer 'in' (Data): mirror without effect in the TEST phase, where Caffe mirrors at random" in caplog.text
    assert net.input_changes()["data"] == ("mirror (solver:2)",)
    assert net.input_changes(train=False) == {}
    assert (seen(net) == IMAGES).all()


def test_a_mirror_of_the_training_phase_alone_needs_no_word(caplog):
    caplog.set_level(logging.INFO)
    both = [
        layer("Data", transform=said, more=f"include {{ phase: {phase} }}")
        for said, phase in (("mirror: true", "TRAIN"), ("", "TEST"))
    ]
    CaffeNet(SOLVER.format("".join(both), BODY), fields=FIELDS)
    assert "mirror" not in caplog.text


def test_an_evaluation_that_tells_nothing_is_warned_of(caplog):
    topless = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" %s }'
    data = pack({"data": IMAGES, "label": np.zeros(4)}, FIELDS, 3)
    for said, warned in (('top: "loss"', False), ("", True)):
        factory = CaffeNet.factory(SOLVER.format(layer("Data"), BODY + topless % said), fields=FIELDS)
        run = averaged_sgd(factory, data, cluster=LocalCluster(), workers=1, tau=1, rounds=1, evaluate=(data, 1))
        assert bool(next(run).metrics) is not warned
        assert caplog.text.count("an evaluation tells nothing") == warned


@pytest.mark.parametrize("where", ["setup", "reshape"])
def test_a_python_layer_that_fails_while_the_net_is_made_is_named(tmp_path, monkeypatch, where):
    methods = dict.fromkeys(("setup", "reshape", "forward", "backward"), "pass") | {where: 'raise KeyError("mine")'}
    body = "\n".join(f"    def {name}(self, *args): {what}" for name, what in methods.items())
    (tmp_path / f"failing_in_{where}.py").write_text(f"import caffe\nclass Mine(caffe.Layer):\n{body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    net = SOLVER.format(layer("Data"), PYTHON.format(f"failing_in_{where}", "Mine"))
    with pytest.raises(NetError, match=r"net of the TRAIN phase: .*layer 'own' \(Python\): KeyError: 'mine'"):
        CaffeNet(net, fields=FIELDS, trust=("Python",))
