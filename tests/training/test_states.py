"""What becomes of solver states between rounds, histories that are made late among them."""

import numpy as np
import pytest

from sparknet import Field, LocalCluster, NDArray, averaged_sgd
from sparknet.averaging import Mean, WeightedMean
from sparknet.data import pack
from sparknet.data.preprocess import Scale
from sparknet.nets import MLP
from sparknet.training.states import next_states

NEW = {"iteration": NDArray(np.int64(0))}


def state(iteration, **history):
    return {"iteration": NDArray(np.int64(iteration))} | {n: NDArray(np.float32(v)) for n, v in history.items()}


def values(states):
    return [{name: array.to_host().tolist() for name, array in s.items()} for s in states]


def test_a_history_that_a_worker_has_not_made_yet_counts_as_zero():
    late = [state(2, a=[4.0]), state(0), state(4, b=[3.0])]
    assert values(next_states("average", late, [1, 1, 2], NEW)) == [{"iteration": 2, "a": [1.0], "b": [1.5]}]
    assert values(next_states("average", late[::-1], [2, 1, 1], NEW)) == [{"iteration": 2, "b": [1.5], "a": [1.0]}]
    assert next_states("local", late, [1, 1, 2], NEW) == late
    assert values(next_states("reset", late, [1, 1, 2], NEW)) == [{"iteration": 2}]


def test_a_net_that_counts_no_iterations_may_start_each_round_with_a_new_state():
    assert next_states("reset", [{"a": NDArray([1.0])}, {}], [1, 1], {}) == [{}]


def test_what_no_worker_brings_back_stays_that_of_a_new_solver():
    assert values(next_states("average", [state(1), state(3)], [1, 1], state(0, a=[7.0]))) == [
        {"iteration": 2, "a": [7.0]}
    ]


class Late(MLP):
    """Has an array of its history only once there is something in it, as solvers that make it at the first step."""

    def get_state(self):
        return {name: a for name, a in super().get_state().items() if name == "iteration" or a.to_host().any()}

    def set_state(self, state):
        empty = {name: NDArray(np.zeros_like(a.to_host())) for name, a in super().get_state().items()}
        super().set_state({**empty, **state})


class Dropping(Scale):
    """Drops the rows with the label 2, as Decode does those of bad images."""

    def __call__(self, batch, rng, *, train):
        del rng, train
        good = batch["label"].to_host() != 2
        return {name: NDArray(column.to_host()[good]) for name, column in batch.items()}


RNG = np.random.default_rng(3)
LABELS = np.where(np.arange(120) // 6 % 2, np.arange(120) % 2, 2)  # of every second minibatch all rows are dropped
COLUMNS = {"data": RNG.normal(size=(120, 4)), "label": LABELS}
DATA = pack(COLUMNS, [Field("data", (4,)), Field("label", (), "int64")], 6, Dropping("data", 1.0))


@pytest.mark.parametrize("policy", ["average", "local", "reset"])
@pytest.mark.parametrize("rule", [Mean(), WeightedMean()])
@pytest.mark.parametrize("workers", [2, 3])
def test_a_solver_that_makes_its_history_late_gives_the_bits_of_one_that_begins_with_zeros(policy, rule, workers):
    """Of two workers, one never takes a step; of three, each begins with a step or without."""
    options = {"workers": workers, "tau": 1, "rounds": 4, "rule": rule, "solver_state": policy, "seed": 7}
    runs = [
        [r.weights for r in averaged_sgd(make, DATA, cluster=LocalCluster(), **options)]
        for make in (MLP.factory((4,), 2, (3,)), Late.factory((4,), 2, (3,)))
    ]
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][-1]
