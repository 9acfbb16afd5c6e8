"""Any prototxt becomes a net that is fed by batches, or is refused with a message that says where and what."""

import pickle
import re

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from sparknet import DataError, LocalCluster, NDArray, NetError, averaged_sgd
from sparknet.data import Field, pack
from sparknet.nets.caffe import CaffeNet

pytestmark = pytest.mark.caffe

SOLVER = 'base_lr: 0.05 lr_policy: "fixed" momentum: 0.9'
FIELDS = [Field("data", (1, 6, 6)), Field("label")]
DATA = {
    "Data": 'data_param { source: "/none/train_lmdb" backend: LMDB batch_size: 8 }',
    "ImageData": 'image_data_param { source: "/none/list.txt" batch_size: 8 }',
    "HDF5Data": 'hdf5_data_param { source: "/none/h5.txt" batch_size: 8 }',
    "MemoryData": "memory_data_param { batch_size: 8 channels: 1 height: 6 width: 6 }",
    "WindowData": 'window_data_param { source: "/none/windows.txt" batch_size: 8 }',
}


def data_layer(kind, more=""):
    return f'layer {{ name: "input" type: "{kind}" top: "data" top: "label" {DATA[kind]} {more} }}\n'


@pytest.fixture
def trained(tiny):
    def trained(net):
        return [net.step(batch) for batch in tiny.batches[:3]]

    return trained


# ---- inputs
@pytest.mark.parametrize("kind", DATA)
def test_a_data_layer_becomes_inputs(tiny, write, body, trained, kind):
    net = CaffeNet(write(SOLVER, data_layer(kind) + body), fields=FIELDS, seed=1)
    assert net.input_shapes == {"data": (8, 1, 6, 6), "label": (8,)}
    assert trained(net) == trained(CaffeNet(write(SOLVER, tiny.net_text), seed=1))


def test_each_phase_has_its_own_data_layer(write, body, tiny):
    train = data_layer("Data", "include { phase: TRAIN }")
    test = data_layer("Data", "include { phase: TEST }").replace("batch_size: 8", "batch_size: 50")
    net = CaffeNet(write(SOLVER, train + test + body), fields=FIELDS)
    assert net.input_shapes["data"] == (8, 1, 6, 6)
    assert net._evaluation().feeder.shapes["data"] == (50, 1, 6, 6)
    assert net.forward(tiny.batch(7))["prob"].shape == (7, 5)


def test_memory_data_says_its_shapes_itself(write, body):
    assert CaffeNet(write(SOLVER, data_layer("MemoryData") + body)).input_shapes == {
        "data": (8, 1, 6, 6),
        "label": (8,),
    }


def test_dummy_data_is_left_alone(write, body, tiny):
    dummy = 'layer { name: "d" type: "DummyData" top: "label" dummy_data_param { shape { dim: 8 } } }\n'
    image = 'layer { name: "i" type: "Input" top: "data" input_param { shape { dim: 8 dim: 1 dim: 6 dim: 6 } } }\n'
    net = CaffeNet(write(SOLVER, dummy + image + body))
    assert net.input_shapes == {"data": (8, 1, 6, 6)}
    assert net.step({"data": tiny.batch()["data"]}) > 0


def test_a_column_that_dummy_data_makes_instead_is_refused_before_round_0(write, body, tiny):
    dummy = (
        'layer { name: "d" type: "DummyData" top: "label" dummy_data_param { shape { dim: 8 } } include { phase: %s } }'
    )
    inputs = 'layer { name: "i" type: "Input" top: "data" top: "label" input_param { shape { dim: 8 dim: 1 dim: 6 dim: 6 } shape { dim: 8 } } include { phase: %s } }'
    image = 'layer { name: "j" type: "Input" top: "data" input_param { shape { dim: 8 dim: 1 dim: 6 dim: 6 } } include { phase: %s } }'
    data = pack({name: array.to_host() for name, array in tiny.batch().items()}, FIELDS, 8)
    for phase, other in (("TRAIN", "TEST"), ("TEST", "TRAIN")):
        factory = CaffeNet.factory(write(SOLVER, dummy % phase + image % phase + inputs % other + body))
        with pytest.raises(
            NetError, match=r"layer 'd' \(DummyData\) makes 'label' itself, so what is packed .* not be used"
        ):
            next(averaged_sgd(factory, data, cluster=LocalCluster(), workers=1, tau=1, rounds=1, evaluate=(data, 1)))


@pytest.mark.parametrize(
    "old",
    [
        'input: "data" input: "label" input_dim: [8, 1, 6, 6, 8, 1, 1, 1]\n',
        'input: "data" input: "label" input_shape { dim: 8 dim: 1 dim: 6 dim: 6 } input_shape { dim: 8 }\n',
    ],
)
def test_inputs_in_the_old_way(tiny, write, body, trained, old):
    assert trained(CaffeNet(write(SOLVER, old + body), seed=1)) == trained(
        CaffeNet(write(SOLVER, tiny.net_text), seed=1)
    )


def test_an_old_input_without_a_shape_has_that_of_its_field(tiny, write, body, trained):
    old = 'input: "data" input: "label"\n'
    net = CaffeNet(write(SOLVER, old + body), fields=FIELDS, batch_size=8, seed=1)
    assert net.input_shapes == {"data": (8, 1, 6, 6), "label": (8,)}
    assert trained(net) == trained(CaffeNet(write(SOLVER, tiny.net_text), seed=1))


def test_an_old_input_without_a_shape_means_nothing_beside_a_layer_that_makes_it(tiny, write, trained):
    relu = 'layer { type: "ReLU" bottom: "data" top: "data" }'  # changes it, and does not make it
    assert trained(CaffeNet(write(SOLVER, 'input: "data"\n' + tiny.net_text), seed=1)) == trained(
        CaffeNet(write(SOLVER, tiny.net_text), seed=1)
    )
    net = CaffeNet(f'{SOLVER}\nnet_param {{ input: "data" {relu} }}', fields=FIELDS, batch_size=2)
    assert net.input_shapes == {"data": (2, 1, 6, 6)}


OLD_TYPES = ("Convolution", "Pooling", "ReLU", "InnerProduct", "Softmax", "Accuracy", "SoftmaxWithLoss")


def test_layers_in_the_old_format(write, body, tiny, trained):
    old = body.replace("layer {", "layers {").replace("param { lr_mult: 1 } param { lr_mult: 2 }", "blobs_lr: [1, 2]")
    for kind in OLD_TYPES:
        name = {"InnerProduct": "INNER_PRODUCT", "SoftmaxWithLoss": "SOFTMAX_LOSS"}.get(kind, kind.upper())
        old = old.replace(f'"{kind}"', name)
    data = 'layers { name: "in" type: HDF5_DATA top: "data" top: "label" hdf5_data_param { batch_size: 8 } }\n'
    net = CaffeNet(write(SOLVER, data + old), fields=FIELDS, seed=1)
    assert trained(net) == trained(CaffeNet(write(SOLVER, tiny.net_text), seed=1))
    assert "prob" in net.blob_names


def test_every_old_type_has_a_new_one():
    from sparknet.nets.caffe.old_format import upgraded
    from sparknet.nets.caffe.runtime import load, messages

    without = {"None", "ImageData", "WindowData"}  # the last two need OpenCV in Caffe; here they become inputs
    old = messages().V1LayerParameter
    types = {upgraded(old(type=number)).type for number in old.LayerType.values()}
    assert types - without <= set(load().layer_type_list())


def test_one_input_layer_for_several_tops_and_one_without_a_shape(write, body):
    both = 'layer { name: "in" type: "Input" top: "data" top: "label" input_param { shape { dim: 8 dim: 1 dim: 6 dim: 6 } } }'
    more = body.replace('bottom: "label"', 'bottom: "target"')
    none = 'layer { name: "t" type: "Input" top: "target" }\n'
    net = CaffeNet(write(SOLVER, both + none + more), fields=[Field("target")], batch_size=8)
    assert net.input_shapes == {"data": (8, 1, 6, 6), "label": (8, 1, 6, 6), "target": (8,)}


def test_stages_levels_and_excludes_choose_layers(write, tiny):
    extra = (
        'layer { name: "a" type: "Softmax" bottom: "ip1" top: "a" include { stage: "deploy" } }\n'
        'layer { name: "b" type: "Softmax" bottom: "ip1" top: "b" exclude { phase: TRAIN } }\n'
        'layer { name: "c" type: "Softmax" bottom: "ip1" top: "c" include { min_level: 2 } }\n'
        'layer { name: "d" type: "Softmax" bottom: "ip1" top: "d" include { not_stage: "deploy" phase: TEST } }\n'
    )
    path = write(
        SOLVER + ' test_state { stage: "deploy" level: 2 } test_iter: 1 test_interval: 1', tiny.net_text + extra
    )
    assert CaffeNet(path).blob_names[-3:] == ["a", "b", "c"]


# ---- solvers
def test_the_net_is_found_beside_the_solver_then_in_the_working_folder(tiny, write, tmp_path, monkeypatch):
    path = write(SOLVER, tiny.net_text)
    monkeypatch.chdir(tmp_path.parent)
    CaffeNet(path)
    folder = tmp_path / "solvers"
    folder.mkdir()
    path.rename(folder / "solver.prototxt")
    with pytest.raises(FileNotFoundError, match=r"no net prototxt \(net: 'net.prototxt'\)"):
        CaffeNet(folder / "solver.prototxt")
    monkeypatch.chdir(tmp_path)
    CaffeNet(folder / "solver.prototxt")


def test_a_solver_may_be_a_text_with_its_net_in_it(tiny, trained):
    text = f"{SOLVER}\nnet_param {{\n{tiny.net_text}\n}}"
    assert trained(CaffeNet(text, seed=1)) == trained(
        CaffeNet(tiny.solver, seed=1, solver_overrides={"lr_policy": "fixed", "weight_decay": 0})
    )


def test_train_and_test_nets_may_be_two(tiny, write, tmp_path):
    (tmp_path / "test.prototxt").write_text(tiny.net_text.replace('top: "prob"', 'top: "other"'))
    path = write(f'{SOLVER} test_net: "test.prototxt" test_iter: 1 test_interval: 5', tiny.net_text)
    path.write_text(path.read_text().replace("net:", "train_net:", 1))
    net = CaffeNet(path)
    assert "other" in net.blob_names
    before = float(net.forward(tiny.batch(), outputs=["loss"])["loss"])
    assert before > 0


def test_the_old_solver_type(tiny, write):
    net = CaffeNet(write(f"{SOLVER} solver_type: ADAM", tiny.net_text))
    net.step(tiny.batch())
    assert len(net.get_state()) == 1 + 2 * 4


def test_overrides_replace_what_the_solver_says(tiny):
    rate = {"base_lr": 0.0, "weight_decay": 0.0}
    net = CaffeNet(tiny.solver, solver_overrides=rate)
    before = net.get_weights()
    net.step(tiny.batch())
    assert net.get_weights() == before


# ---- mistakes
NET_MISTAKES = [
    (
        "Convolution",
        "Convolutoin",
        r"net\.prototxt, TRAIN phase: layer 'conv1' has the unknown type 'Convolutoin'; did you mean",
    ),
    (
        'bottom: "pool1" top: "ip1"',
        'bottom: "pol1" top: "ip1"',
        "layer 'ip1' reads 'pol1', which no layer before it makes; .*'pool1'",
    ),
    ('name: "relu1"', 'name: "ip1"', "2 layers are called 'ip1'"),
    (
        'bottom: "pool1" top: "pool1" }',
        'bottom: "pool1" top: "conv1" }',
        "makes 'conv1', which a layer before it makes too",
    ),
    (
        "kernel_size: 3",
        "kernel_sise: 3",
        r"net\.prototxt:\d+:\d+: not a prototxt of a NetParameter: .*no field named \"kernel_sise\"",
    ),
    ('name: "tiny"', "name: tiny", r"net\.prototxt:2:7: .*"),
    ("dim: 8 } }", "dim: -8 } }", r"input 'label' is declared with shape \(-8,\)"),
    ("include { phase: TEST }", "include { phase: TEST } exclude { phase: TRAIN }", "both include and exclude"),
    # what only Caffe itself knows
    (
        "dim: 8 } }",
        "dim: 7 } }",
        r"net of the TRAIN phase: Caffe refuses it: layer '(loss|accuracy)' .*same first dimension",
    ),
    ("kernel_size: 3", "kernel_size: 30", r"Caffe refuses it: layer 'conv1' \(Convolution\): "),
    ("num_output: 5", "num_output: 0", r"Caffe refuses it: layer 'ip1' \(InnerProduct\): "),
    ('type: "xavier"', 'type: "xaviar"', "Caffe refuses it: .*xaviar"),
]


@pytest.mark.parametrize(
    ("old", "new", "match"), NET_MISTAKES, ids=[new or f"no {old}" for old, new, _ in NET_MISTAKES]
)
def test_mistakes_in_a_net_are_named(tiny, write, old, new, match):
    assert old in tiny.net_text
    path = write(SOLVER, tiny.net_text.replace(old, new))
    for make in (CaffeNet, CaffeNet.factory):
        with pytest.raises(NetError, match=match):
            make(path)


def test_a_mistake_in_the_test_phase_shows_in_the_factory(tiny, write):
    odd = 'layer { name: "odd" type: "EuclideanLoss" bottom: "ip1" bottom: "data" include { phase: TEST } }'
    path = write(SOLVER, tiny.net_text + odd)
    CaffeNet(path).step(tiny.batch())
    with pytest.raises(NetError, match=r"net of the TEST phase: Caffe refuses it: layer 'odd' \(EuclideanLoss\): "):
        CaffeNet.factory(path)


SOLVER_MISTAKES = [
    ('lr_policy: "fixed"', 'lr_policy: "fixt"', "lr_policy 'fixt'; Caffe has fixed, step, exp"),
    ('lr_policy: "fixed"', "", "lr_policy ''"),
    ('lr_policy: "fixed"', 'lr_policy: "step" gamma: 0.1 stepsize: 0', "has stepsize 0, expected more than 0"),
    ('lr_policy: "fixed"', 'lr_policy: "step"', "lr_policy 'step' needs gamma and stepsize"),
    ('lr_policy: "fixed"', 'lr_policy: "poly" power: 1 max_iter: 0', "max_iter 0"),
    ("base_lr: 0.05", "", "base_lr is not given"),
    ("base_lr: 0.05", "base_lr: x", r"solver\.prototxt:2:10: not a prototxt of a SolverParameter"),
    ("base_lr: 0.05", "base_rl: 0.05", r"solver\.prototxt:2:\d+: .*no field named \"base_rl\""),
    ("momentum", 'type: "SDG" momentum', "solver type 'SDG'; Caffe has SGD, Nesterov"),
    ("momentum", 'type: "AdaGrad" momentum', "'AdaGrad' takes no momentum, got 0.9"),
    ("momentum", "iter_size: 0 momentum", "iter_size 0, expected at least 1"),
    ("momentum", 'regularization_type: "L3" momentum', "regularization_type 'L3'"),
    ("momentum", 'train_net: "net.prototxt" momentum', "names its net once.*got .*net.prototxt"),
    ("momentum", 'test_net: "none.prototxt" momentum', r"no net prototxt \(test_net: 'none.prototxt'\)"),
]


@pytest.mark.parametrize(
    ("old", "new", "match"), SOLVER_MISTAKES, ids=[new or f"no {old}" for old, new, _ in SOLVER_MISTAKES]
)
def test_mistakes_in_a_solver_are_named(tiny, write, old, new, match):
    with pytest.raises(NetError, match=match):
        CaffeNet(write(SOLVER.replace(old, new), tiny.net_text))


def test_other_mistakes_are_named(tiny, write, body, tmp_path):
    whole, fed = write(SOLVER, tiny.net_text), SOLVER + f"\nnet_param {{ {data_layer('Data')} {body} }}"
    cases = [
        (lambda: CaffeNet(tmp_path / "none.prototxt"), "no solver prototxt at '.*none.prototxt'"),
        (lambda: CaffeNet(tmp_path), "cannot be read as text"),
        (lambda: CaffeNet(SOLVER + "\n"), "names its net once.*got none"),
        (lambda: CaffeNet(SOLVER + "\nnet_param { }"), "the net has no layers"),
        (lambda: CaffeNet(SOLVER + "\nnet_param { layers { } layer { } }"), "mixes layer { } and layers { }"),
        (lambda: CaffeNet(SOLVER + "\nnet_param { layers { layer { } } }"), "in Caffe's first format"),
        (
            lambda: CaffeNet(SOLVER + '\nnet_param { input: "x" layer { } }'),
            r"'input' \(Input\) does not say what shape 'x' has",
        ),
        (
            lambda: CaffeNet(SOLVER + '\nnet_param { input: "x" input_dim: [1, 2] layer { } }'),
            "1 input, 0 input_shape, 2 input_dim",
        ),
        (
            lambda: CaffeNet(fed),
            r"'input' \(Data\) does not say what shape 'data' has; pass fields=\[Field\('data'.*given: none",
        ),
        (lambda: CaffeNet(fed, fields=[Field("data", (1, 6, 6))]), r"what shape 'label' has.*\(fields given: 'data'\)"),
        (lambda: CaffeNet(fed.replace("batch_size: 8", ""), fields=FIELDS), "pass batch_size="),
        (
            lambda: CaffeNet(whole, fields=[Field("data", (3, 6, 6))]),
            r"examples of shape \(1, 6, 6\); the field given is 'data'",
        ),
        (lambda: CaffeNet(whole, batch_size=0), "batch_size 0"),
        (lambda: CaffeNet(whole, seed=-1), "seed -1"),
        (
            lambda: CaffeNet(whole, solver_overrides=["base_lr"]),
            r"got \['base_lr'\], expected a mapping from fields of the",
        ),
        (lambda: CaffeNet(whole, solver_overrides={"base_rate": 1}), "'base_rate', which no solver has; 'base_lr'"),
        (lambda: CaffeNet(whole, solver_overrides={"base_lr": "high"}), "base_lr = 'high'"),
        (lambda: CaffeNet(whole, solver_overrides={"solver_mode": "GPU"}), "CPU alone"),
    ]
    for make, match in cases:
        with pytest.raises(NetError, match=match):
            make()
    with pytest.raises(FileNotFoundError):
        CaffeNet(str(tmp_path / "none.prototxt"))
    assert np.isfinite(CaffeNet(whole).step({"data": NDArray(np.zeros((8, 1, 6, 6))), "label": NDArray(np.zeros(8))}))
    with pytest.raises(NetError) as caught:
        CaffeNet(tmp_path / "none.prototxt")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.path) == (
        type(caught.value),
        str(caught.value),
        str(tmp_path / "none.prototxt"),
    )


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])  # the texts are constant
@hypothesis.given(st.data())
def test_a_changed_word_gives_a_net_or_a_named_mistake(tiny, data):
    text = f"{SOLVER}\nnet_param {{\n{tiny.net_text}\n}}"
    words = list(re.finditer(r'"[^"]*"|\w+|[{}:]', text))
    word = data.draw(st.sampled_from(words))
    other = data.draw(
        st.sampled_from([w[0] for w in words] + ["", "0", "-1", "1e9", "nan", "2147483647", '"LSTM"', '"Slice"'])
    )
    try:
        net = CaffeNet(text[: word.start()] + other + text[word.end() :])
        net.step(tiny.batches[0])
        net.forward(tiny.batches[0])
    except (NetError, DataError) as error:
        assert str(error)  # noqa: PT017 - either outcome is right
