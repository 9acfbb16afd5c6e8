"""Nets that put time before the batch: fed with (n, T, ...), equal to pycaffe fed with (T, n, ...)."""

import json

import caffe
import numpy as np
import pytest

from sparknet import DataError, Field, LocalCluster, NDArray, NetError, averaged_sgd
from sparknet.data import pack
from sparknet.data.ragged import pad_batch
from sparknet.nets import MLP
from sparknet.nets.caffe import CaffeNet, data_layer, feeding

pytestmark = pytest.mark.caffe

SOLVER = 'base_lr: 0.2 lr_policy: "fixed" momentum: 0.9'
FIELDS = [
    Field("data", (5, 3), batch_axis=1),
    Field("cont", (5,), batch_axis=1),
    Field("label", (5,), "int64", batch_axis=1),
]
SHAPES = "shape { dim: 5 dim: 4 dim: 3 } shape { dim: 5 dim: 4 } shape { dim: 5 dim: 4 }"
INPUT = f'layer {{ name: "in" type: "Input" top: "data" top: "cont" top: "label" input_param {{ {SHAPES} }} }}'
LSTM = """
layer { name: "lstm" type: "LSTM" bottom: "data" bottom: "cont" top: "lstm"
        recurrent_param { num_output: 6 weight_filler { type: "uniform" min: -0.5 max: 0.5 } } }
"""
FC = """
layer { name: "fc" type: "InnerProduct" bottom: "lstm" top: "fc"
        inner_product_param { num_output: 2 axis: 2 weight_filler { type: "xavier" } } }
"""
LOSS = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" softmax_param { axis: 2 }
        loss_param { ignore_label: -1 } }
layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" include { phase: TEST }
        accuracy_param { axis: 2 ignore_label: -1 } }
"""
NET = LSTM + FC + LOSS


def batch(n=4, seed=0, steps=5):
    """Sequences whose label says whether the sum so far is positive."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(n, steps, 3)).astype(np.float32)
    cont = np.ones((n, steps), np.float32)
    cont[:, 0] = 0
    return {"data": data, "cont": cont, "label": (data.sum(2).cumsum(1) > 0).astype(np.int64)}


def arrays(columns):
    return {name: NDArray(column) for name, column in columns.items()}


def turned(columns):
    """The batch as the layers get it."""
    return {name: NDArray(np.ascontiguousarray(np.moveaxis(column, 1, 0))) for name, column in columns.items()}


def factory(body=NET, given=INPUT, solver=SOLVER, fields=FIELDS, **options):
    return CaffeNet.factory(f"{solver}\nnet_param {{ {given} {body} }}", fields=fields, **options)


def equal(weights, expected):
    return all(
        np.array_equal(a.to_host(), b) for n, bs in weights.items() for a, b in zip(bs, expected[n], strict=True)
    )


def test_steps_have_the_bits_of_pycaffe_fed_with_time_first(plain):
    net = factory()(seed=3)
    losses = [net.step(arrays(batch(seed=i))) for i in range(6)]
    expected, theirs = plain(SOLVER, INPUT + NET, [turned(batch(seed=i)) for i in range(6)], 3)
    assert losses == theirs
    assert equal(net.get_weights(), expected)
    assert net.batch_axes == {"data": 1, "cont": 1, "label": 1}
    assert net.input_shapes == {"data": (5, 4, 3), "cont": (5, 4), "label": (5, 4)}


def test_another_number_of_rows_is_another_length_of_the_second_axis(plain):
    net = factory()(seed=3)
    for i in range(3):
        net.step(arrays(batch(n=7, seed=i)))
    given = INPUT.replace("dim: 4", "dim: 7")
    expected, _ = plain(SOLVER, given + NET, [turned(batch(n=7, seed=i)) for i in range(3)], 3)
    assert equal(net.get_weights(), expected)


@pytest.mark.parametrize("n", [4, 2, 5])  # 5: as many rows as steps
def test_what_forward_returns_has_the_batch_first(n):
    net = factory()(seed=3)
    columns = batch(n)
    found = net.forward(arrays(columns), ["data", "cont", "lstm", "fc", "loss"])
    assert {name: array.shape for name, array in found.items()} == {
        "data": (n, 5, 3), "cont": (n, 5), "lstm": (n, 5, 6), "fc": (n, 5, 2), "loss": (),
    }  # fmt: skip
    assert np.array_equal(found["data"].to_host(), columns["data"])
    for i in range(n):  # a sequence is what it is beside others
        alone = net.forward(arrays({name: column[i : i + 1] for name, column in columns.items()}), ["fc"])["fc"]
        assert np.allclose(alone.to_host()[0], found["fc"].to_host()[i], rtol=0, atol=1e-6)


def test_blobs_without_an_axis_of_the_batch_stay_and_a_batch_behind_one_step_is_found():
    more = """
    layer { name: "flat" type: "Reshape" bottom: "lstm" top: "flat" reshape_param { shape { dim: -1 dim: 6 } } }
    layer { name: "cut" type: "Slice" bottom: "lstm" top: "first" top: "last" slice_param { axis: 0 slice_point: 4 } }
    layer { name: "one" type: "Reshape" bottom: "last" top: "one" reshape_param { shape { dim: -1 dim: 6 } } }
    """
    net = factory(LSTM + FC + LOSS + more)(seed=3)
    found = {k: v.to_host() for k, v in net.forward(arrays(batch(3)), ["lstm", "flat", "first", "last", "one"]).items()}
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes == {"lstm": (3, 5, 6), "flat": (15, 6), "first": (3, 4, 6), "last": (3, 1, 6), "one": (3, 6)}
    assert np.array_equal(found["one"], found["lstm"][:, 4])
    assert np.array_equal(found["flat"].reshape(5, 3, 6), found["lstm"].swapaxes(0, 1))


def test_a_net_that_fixes_its_rows_besides_gives_the_batch_first_too():
    fixed = FC.replace('bottom: "lstm"', 'bottom: "same"')
    same = 'layer { name: "same" type: "Reshape" bottom: "lstm" top: "same" reshape_param { shape { dim: 5 dim: 4 dim: 6 } } }'
    net = factory(LSTM + same + fixed + LOSS)
    found = net(seed=3).forward(arrays(batch()), ["same", "fc"])
    assert (found["same"].shape, found["fc"].shape) == ((4, 5, 6), (4, 5, 2))
    with pytest.raises(
        NetError, match=r"the last minibatch, of 2 rows .* layer 'same' \(Reshape\), with a batch of 2 rows where .* 4"
    ):
        next(averaged_sgd(net, pack(batch(6), FIELDS, 4), cluster=LocalCluster()))


def test_training_and_evaluation_count_sequences():
    data, test = pack(batch(10), FIELDS, 4), pack(batch(6, seed=9), FIELDS, 4)
    rounds = list(averaged_sgd(factory(), data, cluster=LocalCluster(), tau=3, rounds=12, seed=3, evaluate=(test, 12)))
    assert rounds[-1].examples == 10
    net = factory()(seed=0)
    net.set_weights(rounds[-1].weights)
    whole = net.forward(arrays(batch(6, seed=9)), ["acc", "loss"])
    assert rounds[-1].metrics["acc"] == pytest.approx(float(whole["acc"].to_host()), abs=1e-6)
    assert rounds[-1].metrics["acc"] > 0.8
    # BatchSize and Valid normalisations are means over steps, and each minibatch has as many for each row
    assert rounds[-1].metrics["loss"] == pytest.approx(float(whole["loss"].to_host()), rel=1e-5)


def test_padded_sequences_change_nothing_because_a_recurrent_layer_mixes_steps_alone():
    padded, own = factory()(seed=3), factory()(seed=3)
    assert padded.padding() == padded.padding(train=False) == {"label": -1.0}
    for i in range(4):
        short = batch(3, seed=i)
        losses = padded.step(pad_batch(arrays(short), 4, padded.padding())), own.step(arrays(short))
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert padded.get_weights().allclose(own.get_weights(), rtol=0, atol=1e-6)
    with pytest.raises(NetError, match=r"layer 'lstm' \(LSTM\) mixes the rows"):
        factory(fields=None)(seed=3).padding()


def test_iter_size_parts_the_sequences():
    net = factory(solver=SOLVER + " iter_size: 2")(seed=3)
    two, one = factory()(seed=3), net
    loss = one.step(arrays(batch(8)))
    halves = [two.forward(arrays({k: v[i : i + 4] for k, v in batch(8).items()}), ["loss"])["loss"] for i in (0, 4)]
    assert loss == pytest.approx(np.mean([float(half.to_host()) for half in halves]), rel=1e-6)


# ---- an RDDDataLayer
def test_an_rdd_layer_feeds_plain_pycaffe_and_a_caffenet_alike(tmp_path):
    spec = caffe.NetSpec()
    spec.data, spec.cont, spec.label = data_layer(FIELDS, 4, classes={"label": 2})
    layer = str(spec.to_proto())
    assert json.loads(spec.to_proto().layer[0].python_param.param_str)["batch_axis"] == {
        "data": 1,
        "cont": 1,
        "label": 1,
    }
    (tmp_path / "net.prototxt").write_text(layer + NET, encoding="utf-8")
    (tmp_path / "s.prototxt").write_text(
        f'net: "{tmp_path / "net.prototxt"}" random_seed: 3 {SOLVER}', encoding="utf-8"
    )
    solver = caffe.get_solver(str(tmp_path / "s.prototxt"))
    sizes = [4, 4, 3, 4]
    with feeding(solver, [arrays(batch(n, seed=i)) for i, n in enumerate(sizes)]):
        solver.step(4)
    net = factory(given=layer, fields=None)(seed=3)
    assert net.batch_axes == {"data": 1, "cont": 1, "label": 1}
    for i, n in enumerate(sizes):
        net.step(arrays(batch(n, seed=i)))
    assert equal(net.get_weights(), {name: [b.data for b in blobs] for name, blobs in solver.net.params.items()})
    bad = batch()
    bad["label"][2, 1] = 7
    for run in (lambda: net.step(arrays(bad)), lambda: feed_one(solver, arrays(bad))):
        with pytest.raises(DataError, match=r"input 'label', example 2: got the label 7"):
            run()
    bad = batch()
    bad["data"][3, 0, 1] = np.nan
    with pytest.raises(NetError, match="input 'data', example 3: got nan"):
        net.step(arrays(bad))


def feed_one(solver, columns):
    with feeding(solver, [columns]):
        solver.step(1)


@pytest.mark.parametrize(
    ("axes", "match"),
    [
        ({"data": -1}, r"batch_axis is {'data': -1}, expected column -> axis of the batch"),
        ({"data": 3}, r"batch_axis of 'data' is 3, expected at most 2, its axes"),
        ({"x": 1}, r"batch_axis names 'x'; the tops are data"),
    ],
)
def test_axes_that_are_none_are_refused_in_a_param_str(axes, match):
    said = json.dumps({"tops": {"data": [5, 3]}, "batch_size": 4, "batch_axis": axes})
    layer = f"""layer {{ name: "in" type: "Python" top: "data" python_param {{ module: "sparknet.nets.caffe"
                layer: "RDDDataLayer" param_str: '{said}' }} }}"""
    with pytest.raises(NetError, match=match):
        factory("", given=layer, fields=None)


# ---- data layers
def test_the_batch_size_of_a_data_layer_counts_steps_where_time_comes_first():
    given = """layer { name: "h" type: "HDF5Data" top: "data" top: "cont" top: "label"
                       hdf5_data_param { source: "list.txt" batch_size: %d } }"""
    net = factory(given=given % 5, batch_size=4)(seed=3)
    assert net.input_shapes == {"data": (5, 4, 3), "cont": (5, 4), "label": (5, 4)}
    with pytest.raises(NetError, match=r"layer 'h' \(HDF5Data\) does not say its batch size; pass batch_size="):
        factory(given=given % 5)
    with pytest.raises(
        NetError, match=r"has batch_size 4, which counts along the first axis, not the batch's; expected 5"
    ):
        factory(given=given % 4, batch_size=4)


# ---- refused
def test_fields_that_do_not_fit_say_the_axis_that_would():
    without = [Field("data", (5, 3)), *FIELDS[1:]]
    with pytest.raises(
        NetError, match=r"shape \(4, 3\); the field given is .*; if its batch is on axis 1 of \(5, 4, 3\), say"
    ):
        factory(fields=without)
    with pytest.raises(
        NetError, match=r"the inputs differ in their rows: data .* has 4 on axis 1, cont \(5, 4\) has 5 on axis 0"
    ):
        factory(fields=FIELDS[:1])


def test_sequences_of_another_length_are_refused():
    with pytest.raises(DataError, match=r"column 'data' needs \(rows, \*\(5, 3\)\)"):
        factory()(seed=3).step(arrays(batch(steps=6)))


def test_data_whose_axes_the_net_does_not_know_is_refused_before_it_is_fed():
    data = pack(batch(5), FIELDS, 5)  # as many sequences as steps, so that all shapes fit
    net = factory(given=INPUT.replace("dim: 4", "dim: 5"), fields=None)
    with pytest.raises(
        DataError, match=r"field 'data' .* with batch_axis 1 is for .* axis 1; that of this CaffeNet has it on axis 0"
    ):
        next(averaged_sgd(net, data, cluster=LocalCluster()))
    columns = {"data": np.zeros((4, 6)), "label": np.zeros(4)}
    fields = [Field("data", (6,), batch_axis=1), Field("label", (), "int64")]
    with pytest.raises(DataError, match="that of this MLP has it on axis 0"):
        next(averaged_sgd(MLP.factory((6,), 2), pack(columns, fields, 4), cluster=LocalCluster()))
