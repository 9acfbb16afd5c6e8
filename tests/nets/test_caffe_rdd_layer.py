"""RDDDataLayer: a loop of plain pycaffe is fed by it; what goes wrong in it is an exception and not the end of the process."""

import itertools
import json
from functools import partial

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from sparknet import DataError, NDArray, NetError
from sparknet.data import Field
from sparknet.data.prefetch import prefetch
from sparknet.nets.caffe import CaffeNet, data_layer, feeding
from sparknet.nets.caffe.layer_param import LayerParam
from sparknet.nets.caffe.runtime import load

pytestmark = pytest.mark.caffe

caffe = load()  # `import caffe`, but in silence and with one thread

SOLVER = 'base_lr: 0.05 lr_policy: "fixed" momentum: 0.9 random_seed: 3 snapshot_after_train: false'
TOPS = {"data": [1, 6, 6], "label": []}


def layer(more="", tops="data label", name="in", **param):
    said = json.dumps({"tops": TOPS, "batch_size": 8, **param})
    tops = " ".join(f'top: "{top}"' for top in tops.split())
    python = f'python_param {{ module: "sparknet.nets.caffe" layer: "RDDDataLayer" param_str: \'{said}\' }}'
    return f'layer {{ name: "{name}" type: "Python" {tops} {python} {more} }}\n'


@pytest.fixture
def make(tmp_path, body):
    """A function that makes a plain solver whose net begins with these layers."""

    def make(layers, solver=SOLVER):
        net, path = tmp_path / "net.prototxt", tmp_path / "solver.prototxt"
        net.write_text(layers + body, encoding="utf-8")
        path.write_text(f'net: "{net}"\n{solver}', encoding="utf-8")
        return caffe.get_solver(str(path))

    return make


def weights(net):
    return [blob.data.copy() for blobs in net.params.values() for blob in blobs]


def host(batch):
    return {name: column.to_host() for name, column in batch.items()}


# ---- feeding
def test_an_unmodified_loop_takes_the_steps_of_one_that_writes_into_input_blobs(make, tiny, plain):
    solver = make(layer())
    with prefetch(tiny.batches[:20]) as batches, feeding("train", batches):
        solver.step(20)
    expected, _ = plain(SOLVER.replace("random_seed: 3", ""), tiny.net_text, tiny.batches[:20], 3)
    flat = [array for arrays in expected.values() for array in arrays]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(weights(solver.net), flat, strict=True))


def test_a_net_or_its_solver_may_be_fed_without_a_name(make, tiny):
    first, second = make(layer()), make(layer())
    net = second.net
    with feeding(first, tiny.batches), feeding(net, tiny.batches[:5]):
        first.step(5)
        second.step(5)
    assert all(np.array_equal(a, b) for a, b in zip(weights(first.net), weights(net), strict=True))


def test_train_and_test_nets_of_one_solver_have_their_own_sources(make, tiny):
    solver = make(layer(), f"{SOLVER} test_iter: 2 test_interval: 3 max_iter: 6 display: 0")
    taken = []
    test = (taken.append(i) or tiny.batches[i] for i in itertools.count())
    with feeding("train", tiny.batches), feeding("test", test):
        solver.solve()  # tests at 0, 3 and 6
    assert solver.iter == 6
    assert taken == list(range(6))
    assert np.array_equal(solver.test_nets[0].blobs["label"].data, tiny.batches[5]["label"].to_host())


def test_several_layers_of_a_net_have_their_own_sources(make, tiny):
    images = layer(tops="data", source="images").replace(', \\"label\\": []', "")
    images = images.replace(', "label": []', "")
    labels = layer(tops="label", name="in2", source="labels").replace('"data": [1, 6, 6], ', "")
    solver, usual = make(images + labels), make(layer())
    with feeding("images", tiny.batches), feeding("labels", tiny.batches), feeding("train", tiny.batches):
        solver.step(4)
        usual.step(4)
    assert all(np.array_equal(a, b) for a, b in zip(weights(solver.net), weights(usual.net), strict=True))


@pytest.mark.parametrize("ragged", ["reshape", "drop", "pad"])
def test_a_short_batch_leaves_no_stale_rows(make, tiny, ragged):
    solver = make(layer(ragged=ragged, padding={"label": 4}))
    short = tiny.batch(3)
    with feeding("train", [tiny.batches[0], short, tiny.batches[1]]):
        solver.step(2)
    net = solver.net
    labels = net.blobs["label"].data.tolist()
    expected = {
        "reshape": short["label"].to_host().tolist(),
        "drop": tiny.batches[1]["label"].to_host().tolist(),
        "pad": [*short["label"].to_host().tolist(), *[4] * 5],
    }
    assert labels == expected[ragged]
    assert net.blobs["data"].shape[0] == net.blobs["conv1"].shape[0] == len(labels)
    assert not (ragged == "pad" and net.blobs["data"].data[3:].any())


def test_the_first_batch_after_a_short_one_is_whole_again(make, tiny):
    solver, usual = make(layer()), make(layer())
    with feeding(solver, [tiny.batch(3), *tiny.batches]), feeding(usual, tiny.batches):
        solver.net.forward()
        solver.step(3)
        usual.step(3)
    assert all(np.array_equal(a, b) for a, b in zip(weights(solver.net), weights(usual.net), strict=True))


def test_any_number_of_tops_losses_and_labels(tmp_path, tiny):
    tops = {"data": [1, 6, 6], "label": [], "other": [2], "tags": [5]}
    text = (
        layer(tops="data label other tags").replace(json.dumps(TOPS), json.dumps(tops))
        + """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "ip2" type: "InnerProduct" bottom: "data" top: "ip2" inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "many" type: "SigmoidCrossEntropyLoss" bottom: "ip" bottom: "tags" top: "many" }
layer { name: "l2" type: "EuclideanLoss" bottom: "ip2" bottom: "other" top: "l2" loss_weight: 0.5 }
"""
    )
    (tmp_path / "net.prototxt").write_text(text)
    (tmp_path / "s.prototxt").write_text(f'net: "{tmp_path / "net.prototxt"}" {SOLVER}')
    rng = np.random.default_rng(1)
    batches = [
        {**batch, "other": rng.normal(size=(8, 2)), "tags": rng.integers(0, 2, (8, 5))} for batch in tiny.batches[:30]
    ]
    solver = caffe.get_solver(str(tmp_path / "s.prototxt"))
    with feeding("train", batches):
        solver.step(30)
    losses = []
    net = CaffeNet(tmp_path / "s.prototxt", seed=3)  # the same prototxt, the layer as its inputs
    assert net.input_shapes == {"data": (8, 1, 6, 6), "label": (8,), "other": (8, 2), "tags": (8, 5)}
    losses = [net.step(batch) for batch in batches]
    got = solver.net.blobs
    total = got["loss"].data + got["many"].data + np.float32(0.5) * got["l2"].data
    assert losses[-1] == pytest.approx(float(total), rel=1e-6)
    mine = [array.to_host() for array in net.get_weights().arrays()]
    assert all(np.array_equal(a, b) for a, b in zip(weights(solver.net), mine, strict=True))


# ---- what goes wrong
def raising(batches):
    yield from batches
    msg = "the disk is gone"
    raise OSError(msg)


def mistakes(tiny):
    good = tiny.batches[0]
    nan = good["data"].to_host().copy()
    nan[3, 0, 2, 2] = np.nan
    return {
        "source": (raising, OSError, "the disk is gone"),
        "ended": (lambda b: b, NetError, "the source 'train' has ended after 2 batches; feed it more, or repeat it"),
        "prefetched": (lambda b: prefetch(raising(b), depth=1), DataError, "batch 2: OSError: the disk is gone"),
        "column": (lambda b: [*b, {"data": good["data"]}], DataError, "no column 'label'"),
        "shape": (lambda b: [*b, {**good, "data": np.zeros((8, 1, 5, 6))}], DataError, r"needs \(rows, \*\(1, 6, 6\)\)"),
        "label": (lambda b: [*b, {**good, "label": np.full(8, 5)}], DataError, "batch 2: .*example 0: got the label 5; .* 5 classes"),
        "finite": (lambda b: [*b, {**good, "data": nan}], NetError, "batch 2: input 'data', example 3: got nan, expected finite"),
        "empty": (lambda b: [*b, {n: c[:0] for n, c in good.items()}], DataError, "no rows"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["source", "ended", "prefetched", "column", "shape", "label", "finite", "empty"])
def test_what_goes_wrong_in_mid_training_is_an_exception_after_which_training_goes_on(make, tiny, name):
    feed, kind, match = mistakes(tiny)[name]
    solver = make(layer(classes={"label": 5}))
    batches = feed(tiny.batches[:2])
    with feeding("train", batches), pytest.raises(kind, match=match):
        solver.step(5)
    assert solver.iter == 2
    if hasattr(batches, "close"):
        batches.close()
    usual = make(layer())
    with feeding(solver, tiny.batches[2:]), feeding(usual, tiny.batches):
        solver.step(3)
        usual.step(5)
    assert all(np.array_equal(a, b) for a, b in zip(weights(solver.net), weights(usual.net), strict=True))


@pytest.mark.parametrize("name", ["column", "shape", "empty", "long"])
def test_the_good_batches_behind_a_bad_one_are_taken(make, tiny, name):
    feed = (lambda b: [*b, tiny.batch(9)]) if name == "long" else mistakes(tiny)[name][0]
    solver, usual = make(layer(ragged="drop")), make(layer())
    with feeding(solver, [*feed(tiny.batches[:2]), *tiny.batches[2:5]]), feeding(usual, tiny.batches):
        with pytest.raises(DataError, match="batch 2: "):
            solver.step(5)
        solver.step(3)
        usual.step(5)
        with pytest.raises(NetError, match="has ended after 5 batches"):
            solver.step(1)
    assert all(np.array_equal(a, b) for a, b in zip(weights(solver.net), weights(usual.net), strict=True))


def test_what_caffe_itself_refuses_is_an_exception_too(make, tiny):
    solver = make(layer())  # without classes the labels are Caffe's to check
    with feeding("train", [{**tiny.batches[0], "label": np.full(8, 7)}]), pytest.raises(RuntimeError, match="Check"):
        solver.step(1)
    with feeding("train", tiny.batches):
        solver.step(2)
    assert solver.iter == 2


def test_a_source_that_nothing_feeds_is_named_with_the_fix(make, tiny):
    solver = make(layer())
    with pytest.raises(
        NetError, match=r"nothing feeds the source 'train' \(fed: none\); .*feeding\('train', batches\)"
    ):
        solver.step(1)
    with feeding("trian", tiny.batches), pytest.raises(NetError, match=r"\(fed: 'trian'\)"):
        solver.step(1)
    with feeding("train", tiny.batches):
        solver.step(1)
    with pytest.raises(NetError, match="nothing feeds the source 'train'"):
        solver.step(1)


def test_a_source_feeds_one_layer_and_a_name_one_source(make, tiny):
    first, second = make(layer()), make(layer())
    with feeding("train", tiny.batches):
        first.step(1)
        with pytest.raises(NetError, match="the source 'train' feeds another layer; give each layer"):
            second.step(1)
        with pytest.raises(NetError, match="the source 'train' is fed already"), feeding("train", tiny.batches):
            pass
        first.step(1)
    with feeding(first, tiny.batches):
        with pytest.raises(NetError, match="this net is fed already"), feeding(first.net, tiny.batches):
            pass
        first.step(1)
    with pytest.raises(NetError, match=r"got a Net with 0 RDDDataLayers, expected one"), feeding(two_layers(0), []):
        pass
    with pytest.raises(NetError, match=r"got a Net with 2 RDDDataLayers"), feeding(two_layers(2), []):
        pass
    with pytest.raises(NetError, match=r"got a list with 0 RDDDataLayers"), feeding([], []):
        pass


def two_layers(count):
    """A net of this many RDDDataLayers."""
    spec = caffe.NetSpec()
    spec.x = caffe.layers.DummyData(shape={"dim": [1]})
    for i in range(count):
        spec[f"data{i}"] = data_layer([Field("data")], 2)
    return made(spec)


def made(spec):
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(str(spec.to_proto()))
        file.flush()
        return caffe.Net(file.name, caffe.TRAIN)


BAD_PARAMS = [
    ("no JSON", "param_str 'no JSON' is no JSON .*; expected JSON such as"),
    ("[" * 100_000, "param_str '.*' is no JSON .*recursion"),
    ("[]", r"does not say tops and batch_size; expected JSON such as {\"tops\""),
    ('{"tops": {"data": []}}', "does not say tops and batch_size"),
    ('{"tops": {"data": [], "label": []}, "batch_sise": 1, "batch_size": 1}', "unknown 'batch_sise'; did you mean 'batch_size'?"),
    ('{"tops": {}, "batch_size": 1}', "tops is {}, expected column -> shape of one example"),
    ('{"tops": {"data": [1, 0], "label": []}, "batch_size": 1}', r"tops is {'data': \[1, 0\]"),
    ('{"tops": {"data": [], "label": []}, "batch_size": 0}', "batch_size is 0, expected a whole number of at least 1"),
    ('{"tops": {"data": [], "label": []}, "batch_size": true}', "batch_size is True"),
    ('{"tops": {"data": [], "label": []}, "batch_size": 1, "ragged": "cut"}', "ragged is 'cut', expected 'drop' or 'pad' or 'reshape'"),
    ('{"tops": {"data": [], "label": []}, "batch_size": 1, "ragged": "pad"}', r"ragged is 'pad'; say what with: padding=net.padding\(\)"),
    ('{"tops": {"data": [], "label": []}, "batch_size": 1, "classes": {"lable": 2}}', "classes names 'lable'; the tops are data, label"),
    ('{"tops": {"data": [], "label": []}, "batch_size": 1, "padding": {"label": "x"}}', "padding is {'label': 'x'}, expected column -> number"),
    ('{"tops": {"data": []}, "batch_size": 1}', "has 0 bottoms and 2 tops, expected none and 1: data"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "match"), BAD_PARAMS)
def test_a_param_str_that_is_wrong_is_named_when_the_net_is_made(make, text, match):
    said = json.dumps({"tops": TOPS, "batch_size": 8})
    with pytest.raises(NetError, match=match):
        make(layer().replace(said, text))
    make(layer())


@hypothesis.given(
    tops=st.dictionaries(st.text(min_size=1), st.lists(st.integers(1, 9), max_size=3), min_size=1, max_size=3),
    batch_size=st.integers(1, 1000),
    source=st.text() | st.sampled_from(["reshape", "pad"]),
    ragged=st.sampled_from(["drop", "pad", "reshape"]),
    data=st.data(),
)
def test_parameters_survive_their_json(tops, batch_size, source, ragged, data):
    some, least = partial(st.dictionaries, st.sampled_from(list(tops)), st.integers(1, 99)), int(ragged == "pad")
    param = LayerParam(tops, batch_size, source, ragged, data.draw(some(min_size=least)), data.draw(some()))
    assert LayerParam.from_json(param.to_json()) == param


# ---- in a CaffeNet
def test_a_caffenet_takes_the_same_prototxt_with_the_layer_as_its_inputs(make, tiny, write, body):
    solver, net = make(layer()), CaffeNet(write(SOLVER, layer() + body), seed=3)
    losses = [net.step(batch) for batch in tiny.batches[:6]]
    found = []
    with feeding("train", tiny.batches):
        for _ in range(6):
            solver.step(1)
            found.append(float(solver.net.blobs["loss"].data))
    assert losses == found
    assert net.blob_names[:2] == ["data", "label"]
    assert CaffeNet(write(SOLVER, layer() + body), batch_size=3).input_shapes == {"data": (3, 1, 6, 6), "label": (3,)}


def test_a_caffenet_refuses_tops_that_are_not_called_as_the_columns_and_fields_that_differ(write, body):
    renamed = layer(tops="data label").replace('"data": [1, 6, 6]', '"pixels": [1, 6, 6]')
    with pytest.raises(NetError, match="has the tops data, label, its param_str the columns pixels, label"):
        CaffeNet(write(SOLVER, renamed + body))
    with pytest.raises(NetError, match=r"'data' is declared with examples of shape \(1, 6, 6\); the field given"):
        CaffeNet(write(SOLVER, layer() + body), fields=[Field("data", (3, 6, 6)), Field("label")])


# ---- in Python
def test_nets_in_python_have_the_layer_as_a_function(tiny, tmp_path):
    net = caffe.NetSpec()
    net.data, net.label = data_layer([Field("data", (1, 6, 6)), Field("label")], 8, classes={"label": 5})
    net.ip = caffe.layers.InnerProduct(net.data, num_output=5, weight_filler={"type": "xavier"})
    net.loss = caffe.layers.SoftmaxWithLoss(net.ip, net.label)
    first = net.to_proto().layer[0]
    assert (first.name, list(first.top)) == ("data", ["data", "label"])
    assert LayerParam.from_json(first.python_param.param_str).classes == {"label": 5}
    (tmp_path / "net.prototxt").write_text(str(net.to_proto()))
    (tmp_path / "s.prototxt").write_text(f'net: "{tmp_path / "net.prototxt"}" {SOLVER}')
    solver = caffe.get_solver(str(tmp_path / "s.prototxt"))
    with feeding("train", itertools.cycle(tiny.batches)):
        solver.step(150)
    assert solver.net.blobs["loss"].data < 0.7  # it learns
    only = data_layer([Field("data", (2,))], 4, include={"phase": caffe.TEST})
    assert only.to_proto().layer[0].include[0].phase == caffe.TEST


def test_batches_of_numpy_arrays_and_other_columns_will_do(make, tiny):
    solver, usual = make(layer()), make(layer())
    more = [{"id": np.arange(3), **host(batch)} for batch in tiny.batches[:3]]
    with feeding(solver, more), feeding(usual, tiny.batches):
        solver.step(3)
        usual.step(3)
    assert all(np.array_equal(a, b) for a, b in zip(weights(solver.net), weights(usual.net), strict=True))
    assert isinstance(tiny.batches[0]["data"], NDArray)
