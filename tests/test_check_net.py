"""check_net: the nets of this package keep the laws of the Net protocol, and a net that breaks one is told which."""

import itertools
import threading
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from sparknet import Field, nd
from sparknet.data import pack
from sparknet.errors import NetError
from sparknet.nets import MLP
from sparknet.testing import _LAWS, check_net

FIELDS = [Field("data", (4,)), Field("label", (), "int64")]
COUNT = itertools.count()


def data(rows=40, fields=FIELDS):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, *fields[0].shape)).astype(np.float32)
    return pack({"data": x, "label": rng.integers(0, 2, rows)}, fields, batch_size=10)


@dataclass
class Factory:
    kind: type

    def __call__(self, *, seed=0):
        return self.kind((4,), 2, (5,), learning_rate=0.1, seed=seed)


class NoForward(MLP):
    @property
    def forward(self):
        raise AttributeError


class AnySeed(MLP):
    def __init__(self, *args, **options):
        super().__init__(*args, **{**options, "seed": next(COUNT)})


class Dict(MLP):
    def get_weights(self):
        return dict(super().get_weights())


class NumpyLoss(MLP):
    def step(self, batch):
        return np.float32(super().step(batch))


class NoCount(MLP):
    def get_state(self):
        return {**super().get_state(), "iteration": nd.asarray(0)}


class Shared(MLP):
    def get_weights(self):
        return self._weights


class Forgiving(MLP):
    """Lends weights that it has not."""

    def lend(self):
        weights, state = super().lend()
        return weights * 2, state


class Noise(MLP):
    def step(self, batch):
        loss = super().step(batch)
        self._weights *= 1 + next(COUNT) * 1e-3
        return loss


class Forgetful(MLP):
    """Keeps its momentum for itself."""

    def get_state(self):
        return {"iteration": super().get_state()["iteration"]}

    def set_state(self, state):
        self._iteration = int(state["iteration"])


class Stubborn(MLP):
    """Takes no zeros for its momentum."""

    def set_state(self, state):
        old = self.get_state()
        super().set_state({name: array if nd.any(array != 0) else old[name] for name, array in state.items()})
        self._iteration = int(state["iteration"])


class Careless(MLP):
    def set_weights(self, weights):
        for mine, theirs in zip(self._weights.arrays(), weights.arrays(), strict=True):
            if mine.shape == theirs.shape:
                mine[...] = theirs


class Counting(MLP):
    def forward(self, batch, outputs=None):
        self._iteration += 1
        return super().forward(batch, outputs)


class Greedy(MLP):
    def step(self, batch):
        loss = super().step(batch)
        column = batch["data"]
        column *= 2
        return loss


class Borrowing(MLP):
    def step(self, batch):
        np.random.rand()  # noqa: NPY002 - what is not to be done
        return super().step(batch)


class Silent(MLP):
    def step(self, batch):
        return super().step(batch) if "data" in batch else 0.5


class Trying(MLP):
    def rehearse(self, batch, *, train=True):
        if train:
            self.step(batch)


class Flushing(MLP):
    """Loses its momentum whenever it is asked for its weights."""

    def get_weights(self):
        for history in self._history.arrays():
            history[...] = 0
        return super().get_weights()


BROKEN = {
    "has_the_methods": (NoForward, "NoForward has no forward"),
    "same_seed_same_weights": (AnySeed, "The weights of layer 'ip1' have other bits"),
    "weights_can_be_averaged": (Dict, "It returned dict"),
    "step_returns_the_loss": (NumpyLoss, "It returned np.float32"),
    "state_can_be_averaged": (NoCount, "4 steps counted as NDArray"),
    "copies_are_returned": (Shared, "After a step: The weights of layer"),
    "steps_are_deterministic": (Noise, "The weights of layer 'ip1' have other bits"),
    "weights_and_state_are_all": (Forgetful, "At iteration 3 the losses differ"),
    "states_are_replaced": (Stubborn, "The weights of layer"),
    "other_weights_are_refused": (Careless, "It took weights with another name"),
    "forward_changes_nothing": (Counting, "The arrays of layer 'iteration' have other bits"),
    "minibatches_stay": (Greedy, "The arrays of layer 'data' have other bits"),
    "generators_are_left_alone": (Borrowing, "Their states have changed"),
    "missing_columns_are_told": (Silent, "The net took it"),
    "a_trial_leaves_the_net": (Trying, "The weights of layer"),
    "one_worker_is_a_plain_loop": (Flushing, "The weights of layer"),
}


def test_the_mlp_keeps_the_laws():
    check_net(MLP.factory((4,), 2, (5,)), data())


@pytest.mark.parametrize("law", BROKEN)
def test_a_net_that_breaks_a_law_is_told_which(law):
    kind, message = BROKEN[law]
    with pytest.raises(NetError, match=message) as caught:
        check_net(Factory(kind), data())
    assert caught.value.law == law


def test_a_net_that_lends_something_else_is_told():
    with pytest.raises(NetError, match=r"lend\(\) has the same. Lent: The weights of layer 'ip1' have other bits"):
        check_net(Factory(Forgiving), data())


def test_a_factory_that_cannot_be_pickled_is_told():
    factory = partial(MLP, (4,), 2, data="data")
    factory.lock = threading.Lock()
    with pytest.raises(NetError, match=r"A factory can be pickled, .*lock") as caught:
        check_net(factory, data())
    assert caught.value.law == "factory_is_pickled"


def test_each_law_has_a_net_that_breaks_it():
    assert {law.__name__.lstrip("_") for law in _LAWS} == {*BROKEN, "factory_is_pickled"}


def test_one_minibatch_is_too_few():
    with pytest.raises(NetError, match="got data of 1 minibatches, expected two at least"):
        check_net(MLP.factory((4,), 2), data(10))


@pytest.mark.caffe
def test_a_caffe_net_keeps_the_laws(tmp_path):
    from sparknet.nets import CaffeNet

    solver = tmp_path / "solver.prototxt"
    solver.write_text("""base_lr: 0.1 lr_policy: "inv" gamma: 0.01 power: 0.75 momentum: 0.9 weight_decay: 0.001
        net_param { name: "small"
        layer { name: "in" type: "Input" top: "data" top: "label"
            input_param { shape { dim: 10 dim: 4 } shape { dim: 10 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
            inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
        layer { name: "drop" type: "Dropout" bottom: "ip" top: "drop" }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "drop" bottom: "label" top: "loss" } }""")
    check_net(CaffeNet.factory(solver), data())


@pytest.mark.torch
@pytest.mark.parametrize("optimizer", ["SGD with momentum", "AdamW"])
def test_a_torch_net_keeps_the_laws(optimizer):
    import torch_plain

    options = {"optimizer": torch_plain.OPTIMIZERS[optimizer], "scheduler": torch_plain.SCHEDULERS["cosine"]}
    check_net(torch_plain.factory(**options), data())
