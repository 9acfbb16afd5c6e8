"""MLP: its gradients against finite differences, its solver against the written-out update, its errors."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from sparknet import NDArray, NetError, SchemaError, WeightCollection, nd
from sparknet.formats import Contents, Taken
from sparknet.nets import MLP, Net

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 2, 2)).astype(np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])
BATCH = {"data": NDArray(X), "label": NDArray(Y)}


def halving(iteration):
    return 0.1 * 0.5 ** (iteration // 2)


def loss_of(net, weights):
    net.set_weights(weights)
    return float(net.forward(BATCH)["loss"])


def test_it_is_a_net_and_its_factory_pickles():
    factory = pickle.loads(pickle.dumps(MLP.factory((2, 2), 3, (4,))))
    assert isinstance(factory(seed=1), Net)
    assert factory(seed=1).get_weights() == factory(seed=1).get_weights() != factory(seed=2).get_weights()
    assert factory().get_weights().schema()["ip1"] == (((4, 4), "float32"), ((4,), "float32"))


# Central differences: error about h**2 / 6 * f''' + 2**-24 * loss / h, below 1e-3 for h = 1e-3.
@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_a_step_follows_the_gradient_of_the_loss(hidden):
    net = MLP((2, 2), 3, hidden, learning_rate=1.0, momentum=0.0)
    rng = np.random.default_rng(1)  # biases that are not zero: no ReLU sits exactly on its kink
    net.set_weights(net.get_weights().map(lambda a: rng.normal(size=a.shape).astype("float32")))
    start = net.get_weights()
    net.step(BATCH)
    gradient = start - net.get_weights()
    h = 1e-3
    for name, arrays in start.items():
        for i, array in enumerate(arrays):
            for j in range(array.size):
                shifted = [start.copy(), start.copy()]
                for w, sign in zip(shifted, (1, -1), strict=True):
                    w[name][i].to_host().reshape(-1)[j] += sign * h
                numeric = (loss_of(net, shifted[0]) - loss_of(net, shifted[1])) / (2 * h)
                assert numeric == pytest.approx(float(gradient[name][i].to_host().reshape(-1)[j]), abs=2e-3)


def test_momentum_weight_decay_and_schedule_are_caffes_update():
    plain = MLP((2, 2), 3, learning_rate=1.0, momentum=0.0)
    net = MLP((2, 2), 3, learning_rate=halving, momentum=0.9, weight_decay=0.1)
    w = net.get_weights()
    v = w * 0
    for i in range(5):
        plain.set_weights(w)
        plain.step(BATCH)
        v = v * 0.9 + (w - plain.get_weights() + w * 0.1) * halving(i)
        w = w - v
        net.step(BATCH)
    assert net.get_weights().allclose(w, rtol=1e-4, atol=1e-6)


def test_state_continues_bit_for_bit_in_another_net():
    one = MLP((2, 2), 3, (4,), learning_rate=halving)
    for _ in range(3):
        one.step(BATCH)
    two = MLP((2, 2), 3, (4,), learning_rate=halving, seed=9)
    two.set_weights(one.get_weights())
    two.set_state(one.get_state())
    assert two.iteration == 3
    for _ in range(3):
        assert one.step(BATCH) == two.step(BATCH)
    assert one.get_weights() == two.get_weights()


def test_forward_changes_nothing_and_returns_what_is_asked_for():
    net = MLP((2, 2), 3)
    before = net.get_weights()
    out = net.forward(BATCH, ["prob", "scores", "accuracy", "loss"])
    assert net.get_weights() == before
    assert net.iteration == 0
    assert list(out) == ["prob", "scores", "accuracy", "loss"]
    assert np.allclose(out["prob"].to_host().sum(axis=1), 1)
    prob = out["prob"].to_host()
    assert float(out["loss"]) == pytest.approx(-np.log(prob[np.arange(6), Y]).mean(), rel=1e-5)
    assert float(out["accuracy"]) == pytest.approx((prob.argmax(1) == Y).mean())
    assert net.forward({"data": NDArray(X)}, ["prob"])["prob"].shape == (6, 3)


def test_large_scores_stay_finite():
    net = MLP((2, 2), 3)
    net.set_weights(net.get_weights() * 1e4)
    assert np.isfinite(net.step(BATCH))


def test_weights_are_copied_both_ways():
    net = MLP((2, 2), 3)
    w = net.get_weights()
    w = w.map(nd.zeros_like)
    assert net.get_weights() != w
    net.set_weights(w)
    w += 1
    assert net.get_weights() == w - 1


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        ({"data": NDArray(X)}, r"needs the inputs \['data', 'label'\], the batch has data \(6, 2, 2\)"),
        ({**BATCH, "data": NDArray(X[:, :1])}, r"examples of shape \(1, 2\), this net needs \(2, 2\)"),
        (
            {**BATCH, "label": NDArray([0, 1, 2, 3, 0, 0])},
            r"input 'label', example 3: .* whole numbers in \[0, 3\); got 3",
        ),
        ({**BATCH, "label": NDArray([0, -1, 2, 0, 0, 0])}, r"example 1: .* whole numbers in \[0, 3\); got -1"),
        ({**BATCH, "label": NDArray([0.5, 1, 2, 0, 0, 0])}, r"whole numbers in \[0, 3\)"),
        ({**BATCH, "label": NDArray([0, 1])}, "same first length"),
        (
            {**BATCH, "data": NDArray(np.where(np.arange(6)[:, None, None] == 4, np.nan, X))},
            "'data', example 4: .* finite",
        ),
        (
            {**BATCH, "data": NDArray(np.where(np.arange(6)[:, None, None] == 2, -np.inf, X))},
            "'data', example 2: .* finite in float32",
        ),
    ],
)
def test_batches_that_do_not_fit_are_refused_and_the_net_is_unharmed(batch, text):
    net = MLP((2, 2), 3)
    before = net.get_weights()
    with pytest.raises(ValueError, match=text):
        net.step(batch)
    assert (net.get_weights(), net.iteration) == (before, 0)


def test_other_mistakes_are_named():
    net = MLP((2, 2), 3)
    with pytest.raises(NetError, match="unknown output 'conv1'; there are loss, accuracy"):
        net.forward(BATCH, ["conv1"])
    with pytest.raises(SchemaError, match="layers"):
        net.set_weights(WeightCollection({}))
    with pytest.raises(SchemaError, match="is the state from another net"):
        net.set_state({"iteration": NDArray(1)})
    with pytest.raises(NetError, match="widths"):
        MLP.factory((2, 2), 0)


@pytest.mark.parametrize("hidden", [(10**10,), (10**6, 10**7), (1 << 62, 1 << 62), (np.int64(1 << 62),)])
def test_a_net_that_is_larger_than_the_memory_is_refused(hidden):
    with pytest.raises(
        NetError, match=r"parameters, which take .* GiB; this machine has .* GiB: make the hidden"
    ) as caught:
        MLP((28, 28), 10, hidden)
    assert caught.value.got > caught.value.expected > 0


@pytest.mark.parametrize("hidden", [(1 << 63,), (10**400,), (0,), (-1,), (2.0,), (True,), ("8",), (None,)])
def test_widths_that_are_none_are_refused(hidden):
    with pytest.raises(
        NetError, match=r"got the layer widths \[784, .*, expected positive whole numbers below 2\*\*63"
    ):
        MLP((28, 28), 10, hidden)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            "lenet.caffemodel",
            r"got the path 'lenet\.caffemodel', expected a WeightCollection: sparknet\.formats\.read\(path\)\.obj",
        ),
        (Path("a.npz"), r"got the path 'a\.npz', expected a WeightCollection"),
        ({"ip1": [np.ones(2)]}, r"got dict, expected a WeightCollection: WeightCollection\(\{'layer'"),
        ([np.ones(2)], "got list, expected a WeightCollection"),
        (MLP.factory((2,), 2)(seed=0), r"got MLP, expected a WeightCollection: net\.get_weights\(\)"),
        (MLP.factory((2,), 2), r"got \w+, expected a WeightCollection: factory\(seed=0\)\.get_weights\(\)"),
        (MLP, "got the class MLP, expected a WeightCollection"),
        (
            Contents({"w": NDArray(1)}, {}),
            "got Contents, expected a WeightCollection: the file holds dict, and not layers",
        ),
    ],
    ids=["str", "Path", "dict", "list", "net", "factory", "class", "mapping of a file"],
)
def test_weights_that_are_something_else_are_told_what_they_must_be(given, text):
    with pytest.raises(SchemaError, match=rf"set_weights\(\): {text}"):
        MLP.factory((2,), 2)(seed=0).set_weights(given)


def test_what_has_weights_is_taken_for_them():
    factory = MLP.factory((2,), 2)
    weights = factory(seed=1).get_weights()
    for given in (Contents(weights, {}), Taken(weights, ("ip1",), (), (), ())):
        net = factory(seed=0)
        net.set_weights(given)
        assert net.get_weights() == weights
        assert net.get_weights().allclose(given)
