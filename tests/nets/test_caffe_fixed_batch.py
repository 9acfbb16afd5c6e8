"""Nets that fix their batch size inside: found out before round 0, and trained with short minibatches dropped or padded."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest

from sparknet import DataError, Field, LocalCluster, NDArray, NetError, averaged_sgd
from sparknet.data import pack
from sparknet.data.preprocess import Compose
from sparknet.nets.caffe import CaffeNet
from sparknet.worker import Task, train_round

pytestmark = pytest.mark.caffe

FIELDS = [Field("data", (6,)), Field("label", (), "int64")]
INPUT = 'layer { name: "in" type: "Input" top: "data" top: "label" input_param { shape { dim: 10 dim: 6 } shape { dim: 10 } } }'
IP = """
layer { name: "fc" type: "InnerProduct" bottom: "%s" top: "fc"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" loss_param { ignore_label: -1 } }'
ACCURACY = 'layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" include { phase: TEST } %s }'
IGNORING = "accuracy_param { ignore_label: -1 }"
FOLD = (
    'layer { name: "fold" type: "Reshape" bottom: "data" top: "x" reshape_param { shape { dim: 10 dim: 2 dim: 3 } } }'
)
SOLVER = 'base_lr: 0.1 lr_policy: "fixed" momentum: 0.9'

# What stands between the data and the layer fc, and the layer that finds out.
FIXED = {
    "Reshape": (FOLD, "fold"),
    "Reshape, one axis inferred": (FOLD.replace("dim: 2", "dim: -1"), "fold"),
    "Slice": (
        """
        layer { name: "cut" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { axis: 0 slice_point: 5 } }
        layer { name: "x" type: "Eltwise" bottom: "a" bottom: "b" top: "y" }
        layer { name: "two" type: "Concat" bottom: "y" bottom: "y" top: "x" concat_param { axis: 0 } }""",
        "cut",
    ),
    "Eltwise with DummyData": (
        """
        layer { name: "one" type: "DummyData" top: "one" dummy_data_param { shape { dim: 10 dim: 6 } } }
        layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "one" top: "x" }""",
        "sum",
    ),
    "Concat with DummyData": (
        """
        layer { name: "one" type: "DummyData" top: "one" dummy_data_param { shape { dim: 10 dim: 2 } } }
        layer { name: "join" type: "Concat" bottom: "data" bottom: "one" top: "x" }""",
        "join",
    ),
    "Crop": (
        """
        layer { name: "one" type: "DummyData" top: "one" dummy_data_param { shape { dim: 10 dim: 6 } } }
        layer { name: "crop" type: "Crop" bottom: "data" bottom: "one" top: "x" crop_param { axis: 0 } }""",
        "crop",
    ),
    "Python": (
        """
        layer { name: "mine" type: "Python" bottom: "data" top: "x"
                python_param { module: "fixed_rows_for_a_test" layer: "TenRows" } }""",
        "mine",
    ),
    "Python, on the way back": (
        """
        layer { name: "first" type: "InnerProduct" bottom: "data" top: "f" inner_product_param { num_output: 6 } }
        layer { name: "mine" type: "Python" bottom: "f" top: "x"
                python_param { module: "fixed_rows_for_a_test" layer: "TenRowsBack" } }""",
        "mine",
    ),
}
MODULE = """
import caffe
import numpy as np


class TenRows(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data + np.zeros((10, 6))

    def backward(self, top, propagate_down, bottom):
        pass


class TenRowsBack(TenRows):
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = np.zeros((10, 6))
"""


def factory(between=FOLD, *, accuracy="", solver=SOLVER, loss=LOSS, given=INPUT):
    bottom = "x" if '"x"' in between else "data"
    text = f"{solver}\nnet_param {{ {given} {between} {IP % bottom} {loss} {accuracy} }}"
    return CaffeNet.factory(text, trust=("Python",))


def columns(rows):
    rng = np.random.default_rng(rows)
    label = rng.integers(0, 3, rows)
    data = rng.normal(0, 0.3, (rows, 6))
    data[np.arange(rows), label] += 1
    return {"data": data.astype(np.float32), "label": label}


def packed(rows, batch_size=10, **options):
    return pack(columns(rows), FIELDS, batch_size, **options)


def train(net, data, **options):
    return list(averaged_sgd(net, data, cluster=LocalCluster(), **{"tau": 4, "rounds": 2, **options}))


@pytest.mark.parametrize("kind", FIXED)
def test_a_net_that_fixes_its_rows_is_refused_before_round_0_with_its_layer_and_the_fix(kind, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fixed_rows_for_a_test.py").write_text(MODULE, encoding="utf-8")
    between, layer = FIXED[kind]
    net = factory(between)
    match = rf"^the last minibatch, of 3 rows \(packed with ragged='drop' .*\): layer '{layer}' \(\w+\), with a batch of 3 rows"
    with pytest.raises(NetError, match=match):
        train(net, packed(33))
    with pytest.raises(NetError, match=r"^the first minibatch: layer '\w+' .* declares 10 \(a batch size of 10 fits\)"):
        train(net, packed(33, 11))
    whole = packed(30)
    if "back" not in kind:
        with pytest.raises(NetError, match=rf"^evaluation: the last minibatch, of 3 rows .*: layer '{layer}'"):
            train(net, whole, evaluate=(packed(33), 1))
    assert train(net, packed(33, ragged="drop"))[-1].weights == train(net, whole_of(33))[-1].weights


def whole_of(rows):
    """The whole minibatches of that many rows."""
    data = packed(rows)
    return replace(data, batches=data.batches[: rows // 10])


def test_nets_that_take_any_rows_go_on_as_they_did():
    assert [r.examples for r in train(factory(""), packed(33), tau=4)] == [33, 33]


def test_rows_that_the_net_mixes_without_a_word_are_refused():
    mixed = (
        INPUT + FOLD.replace("dim: 2 dim: 3", "dim: -1") + 'layer { name: "p" type: "Softmax" bottom: "x" top: "p" }'
    )
    net = CaffeNet(f"{SOLVER}\nnet_param {{ {mixed} }}")
    data = {name: NDArray(column[:5]) for name, column in columns(10).items()}
    with pytest.raises(
        NetError, match=r"the blob 'p' has the shape \(10, 3\) for a batch of 5 rows, and \(10, 6\) for 10"
    ):
        net.rehearse(data, train=False)


def test_dropped_rows_are_said_once_and_not_counted(caplog):
    with caplog.at_level(logging.WARNING):
        data = packed(33, ragged="drop")
        rounds = train(factory(), data, evaluate=(data, 1))
    assert [record.getMessage() for record in caplog.records] == [
        "pack(): 3 of 33 examples are left out: they make no whole minibatch of 10 (ragged='drop')"
    ]
    assert (data.count(), data.num_batches, data.ragged) == (30, 3, "drop")
    assert [r.examples for r in rounds] == [40, 40]


def test_a_padded_minibatch_teaches_its_own_rows_and_counts_them_alone():
    """The same training as that of the net without the Reshape, which takes the short minibatch as it is."""
    padded = train(factory(), packed(33, ragged="pad"), tau=4)
    free = train(factory(""), packed(33), tau=4)
    assert [r.examples for r in padded] == [r.examples for r in free] == [33, 33]
    # 7 rows of zero gradient more in a sum of float32 over 10: about 2**-24 of the largest term, over 8 steps
    for ours, theirs in zip(padded[-1].weights.arrays(), free[-1].weights.arrays(), strict=True):
        assert np.allclose(ours.to_host(), theirs.to_host(), rtol=0, atol=1e-6)


def test_an_evaluation_of_padded_minibatches_counts_own_rows_alone():
    data = packed(33, ragged="pad")
    ours = train(factory(accuracy=ACCURACY % IGNORING), packed(30), evaluate=(data, 1))[-1]
    free = train(factory("", accuracy=ACCURACY % IGNORING), packed(30), evaluate=(packed(33), 1))[-1]
    assert ours.metrics == pytest.approx(free.metrics, rel=1e-5)
    assert ours.metrics.keys() == {"loss", "acc"}


def test_padding_that_a_net_would_count_is_refused_by_name():
    data, plain = packed(33, ragged="pad"), LOSS.replace("loss_param { ignore_label: -1 }", "")
    with pytest.raises(NetError, match=r"^ragged='pad': padding\(\): layer 'loss' .* counts every row"):
        train(factory(loss=plain), data)
    with pytest.raises(
        NetError,
        match=r"^evaluation: ragged='pad': padding\(\): layer 'acc' \(Accuracy\) counts every row.*ignore_label: -1",
    ):
        train(factory(accuracy=ACCURACY % ""), packed(30), evaluate=(data, 1))
    with pytest.raises(
        DataError, match=r"got padding={'label': -2}, and the net ignores -1 in 'label'; expected the same"
    ):
        train(factory(), packed(30), evaluate=(packed(33, ragged="pad", padding={"label": -2}), 1))
    other = ACCURACY % "accuracy_param { ignore_label: 255 }"
    with pytest.raises(NetError, match=r"layer 'acc' \(Accuracy\) ignores 255 and another layer -1"):
        train(factory(accuracy=other), packed(30), evaluate=(data, 1))


def test_a_minibatch_that_lost_rows_to_the_preprocessor_is_made_even_too():
    net, data = factory(), packed(30, ragged="pad")
    lost = replace(data, preprocessor=Losing())
    padded = train(net, lost, tau=3, rounds=1)[0]
    assert padded.examples == 27
    dropped = train(net, replace(lost, ragged="drop"), tau=3, rounds=1)[0]
    assert (dropped.examples, dropped.steps) == (20, 3)
    with pytest.raises(NetError, match=re.escape("shard 0: minibatch 1: step(): layer 'fold'")):
        train(net, replace(lost, ragged=None), tau=3, rounds=1)


def test_a_step_that_may_drop_rows_is_tried_before_round_0():
    match = r"^a minibatch that loses an image to on_error='drop', of 9 rows \(packed with .*layer 'fold'"
    for losing in (Losing("drop"), Compose(Compose(Losing("drop")))):
        with pytest.raises(NetError, match=match):
            train(factory(), replace(packed(30), preprocessor=losing))
    assert train(factory(""), replace(packed(30), preprocessor=Losing("drop")), tau=3)[0].examples == 27


class Losing:
    """Loses three rows of the second minibatch, as a ``Decode(on_error="drop")`` does with images that it cannot read."""

    def __init__(self, on_error="error"):
        self.on_error = on_error

    def __call__(self, batch, *_rng, **_train):
        first = columns(30)["data"][10]
        keep = slice(3, None) if np.array_equal(batch["data"].to_host()[0], first) else slice(None)
        return {name: column[keep] for name, column in batch.items()}

    def fields(self, fields):
        return list(fields)


def test_iter_size_asks_for_whole_passes():
    net = factory(solver=SOLVER + " iter_size: 2")
    assert train(net, packed(60, 20))[-1].steps == 4
    with pytest.raises(
        NetError,
        match=r"the last minibatch, of 10 rows .*layer 'fold' \(Reshape\), with a pass of 5 rows .* size of 20 fits",
    ):
        train(net, packed(50, 20))
    with pytest.raises(
        DataError, match=r"the last minibatch, of 13 rows .*a batch of 13 rows, expected a multiple of 2"
    ):
        train(factory("", solver=SOLVER + " iter_size: 2"), packed(53, 20))
    assert train(net, packed(53, 20, ragged="drop"))[-1].steps == 4


def test_a_rehearsal_leaves_the_net_as_it_was():
    norm = 'layer { name: "norm" type: "BatchNorm" bottom: "data" top: "x" }'
    net = factory(norm)(seed=3)
    batch = {name: NDArray(column) for name, column in columns(10).items()}
    net.step(batch)
    weights, state = net.get_weights(), net.get_state()
    net.rehearse(batch, train=True)
    net.rehearse({name: column[:4] for name, column in batch.items()}, train=True)
    assert net.get_weights() == weights
    assert all(np.array_equal(net.get_state()[name].to_host(), state[name].to_host()) for name in state)
    other = factory(norm)(seed=3)
    other.step(batch)
    assert net.step(batch) == other.step(batch)
    assert net.get_weights() == other.get_weights()


# ---- what an RDDDataLayer says
RDD = """
layer { name: "in" type: "Python" top: "data" top: "label" python_param { module: "sparknet.nets.caffe" layer: "RDDDataLayer"
  param_str: '{"tops": {"data": [6], "label": []}, "batch_size": 10, %s}' } }
"""
SAYS_DROP, SAYS_PAD = '"ragged": "drop"', '"ragged": "pad", "padding": {"label": -1}'


def test_an_rdd_layers_choice_is_kept_to_where_the_data_says_none(caplog):
    drop, pad = (factory(given=RDD % said) for said in (SAYS_DROP, SAYS_PAD))
    with caplog.at_level(logging.WARNING):
        rounds = train(drop, packed(33), evaluate=(packed(25), 1))
    assert [record.getMessage() for record in caplog.records] == [
        "averaged_sgd(): 3 of 33 examples are left out: they make no whole minibatch of 10 (ragged='drop')",
        "evaluation: averaged_sgd(): 5 of 25 examples are left out: they make no whole minibatch of 10 (ragged='drop')",
    ]
    assert [r.examples for r in rounds] == [40, 40]
    assert rounds[-1].weights == train(drop, whole_of(33))[-1].weights
    assert rounds[-1].metrics == train(drop, packed(33), evaluate=(whole_of(25), 1))[-1].metrics
    assert train(pad, packed(33))[-1].weights == train(factory(), packed(33, ragged="pad"))[-1].weights
    assert train(drop, packed(33, ragged="pad"))[-1].examples == 33  # what the data says comes first


def test_a_net_whose_layer_wants_whole_batches_refuses_others_by_name():
    net = factory("", given=RDD % SAYS_DROP)(seed=1)
    batch = {name: NDArray(column) for name, column in columns(11).items()}
    match = (
        r"got 4 rows, expected 10: the RDDDataLayer says ragged 'drop', .*even_batches\(batches, 10, 'drop', \.\.\.\)"
    )
    with pytest.raises(DataError, match=match):
        net.step({name: column[:4] for name, column in batch.items()})
    with pytest.raises(DataError, match="got 11 rows, expected 10"):
        net.forward(batch)
    assert net.step({name: column[:10] for name, column in batch.items()}) > 0
    with pytest.raises(DataError, match=r"^the first minibatch: got 5 rows, expected 10"):
        train(factory("", given=RDD % SAYS_DROP), packed(33, 5))


def test_the_classes_that_a_layer_says_are_checked():
    net = factory("", given=RDD % '"classes": {"label": 2}')(seed=1)
    with pytest.raises(DataError, match=r"got the label 2; layer 'RDDDataLayer' has 2 classes"):
        net.step({name: NDArray(column) for name, column in columns(10).items()})


def test_layers_of_one_net_that_say_different_things_are_refused():
    two = RDD % SAYS_DROP + (RDD % SAYS_PAD).replace('"in"', '"in2"').replace('top: "label"', "").replace(
        '"label": []', '"more": []'
    ).replace('top: "data"', 'top: "data2" top: "more"').replace('"data": [6]', '"data2": [6]').replace(
        '"label": -1', '"more": -1'
    )
    with pytest.raises(
        NetError, match=r"one RDDDataLayer says batch_size 10, ragged 'drop', another batch_size 10, ragged 'pad'"
    ):
        factory("", given=two)


def test_a_checkpoint_goes_on_with_the_same_choice_alone(tmp_path):
    net, data = factory(), packed(33, ragged="pad")
    first = train(net, data, rounds=1, checkpoint=tmp_path / "kept")
    both = train(net, data, rounds=2)
    assert train(net, data, rounds=2, checkpoint=tmp_path / "kept")[-1].weights == both[-1].weights
    assert first[0].weights == both[0].weights
    with pytest.raises(DataError, match="got ragged=reshape, expected ragged=pad"):
        train(factory(""), packed(33), rounds=3, checkpoint=tmp_path / "kept")


def test_a_round_by_hand_takes_the_rule_with_its_task():
    net, data = factory()(seed=1), packed(13, ragged="pad", padding={"label": -1})
    task = Task(worker=0, num_batches=2, first_step=0, tau=2, seed=0, even=data.even)
    done = train_round(net, data.shard(0, 1), task, net.get_weights(), net.get_state())
    assert (done.examples, done.steps, done.updates) == (13, 2, 2)


PAIRS = """
layer { name: "in" type: "Input" top: "data" top: "other" top: "label"
        input_param { shape { dim: 4 dim: 6 } shape { dim: 4 dim: 6 } shape { dim: 4 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 6 } }
layer { name: "pairs" type: "ContrastiveLoss" bottom: "fc" bottom: "other" bottom: "label" top: "loss" }
"""


def test_a_contrastive_loss_takes_no_more_rows_than_declared_because_caffe_would_write_behind_its_memory():
    net = CaffeNet(f"{SOLVER} net_param {{ {PAIRS} }}")
    rows = {"data": np.ones((9, 6)), "other": np.zeros((9, 6)), "label": np.arange(9) % 2}
    for run in (net.step, net.forward):
        with pytest.raises(
            NetError, match=r"layer 'pairs' \(ContrastiveLoss\) has room for the 4 rows .* got 9.*batch_size="
        ):
            run({name: NDArray(column) for name, column in rows.items()})
        run({name: NDArray(column[:3]) for name, column in rows.items()})
    wide = CaffeNet(f"{SOLVER} net_param {{ {PAIRS} }}", batch_size=9)
    assert wide.step({name: NDArray(column) for name, column in rows.items()}) > 0
