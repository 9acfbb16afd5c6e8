"""``solver_state="local"``: a worker that stays goes on from the state that it has; whoever takes over is sent it."""

import os

import numpy as np
import pytest
from clusters.test_processes import children, kill, wait_until, workers_of

from sparknet import Field, LocalCluster, averaged_sgd
from sparknet.data import pack
from sparknet.nets import MLP

RNG = np.random.default_rng(0)
COLUMNS = {"data": RNG.normal(size=(96, 20)), "label": RNG.integers(0, 3, 96)}
DATA = pack(COLUMNS, [Field("data", (20,), "float32"), Field("label", (), "int64")], 8)
FACTORY = MLP.factory((20,), 3, (50,), learning_rate=0.1, momentum=0.9)
ME = os.getpid()


def train(cluster, factory=FACTORY, **options):
    options = {"workers": 2, "tau": 3, "rounds": 4, "seed": 7, "solver_state": "local", **options}
    return averaged_sgd(factory, DATA, cluster=cluster, **options)


def results(rounds):
    return [(each.weights, each.loss, each.metrics) for each in rounds]


def test_a_state_that_its_worker_has_does_not_travel_to_it():
    first, *others = train(LocalCluster(processes=2))
    size, facts = first.weights.nbytes, 2000
    assert first.bytes_down >= 4 * size  # the history of MLP is as large as its weights
    for each in others:
        assert 2 * size < each.bytes_down < 2 * (size + facts)
        assert each.bytes_up >= 4 * size
    *_, averaged = train(LocalCluster(processes=2), solver_state="average")
    assert averaged.bytes_down >= 4 * size


@pytest.mark.parametrize("when", ["between two rounds", "in a round"])
def test_a_worker_that_takes_over_is_sent_the_state(when):
    before, got = children(ME), []
    for each in train(LocalCluster(processes=2)):
        got.append(each)
        alive, _ = workers_of(before)
        if len(got) < 4:
            gone = alive[len(got) % 2]
            kill(gone)
            if when == "between two rounds":
                wait_until(lambda: len(set(workers_of(before)[0]) - {gone}) == 2)  # noqa: B023 - called here
    assert results(got) == results(train(LocalCluster()))


class Disturbed:
    """Makes a net that leaves another state behind after a forward pass, as one that keeps statistics in it may."""

    def __call__(self, *, seed=0):
        net = FACTORY(seed=seed)
        forward = net.forward

        def forgetting(*args):
            net.set_state(FACTORY(seed=seed).get_state())
            return forward(*args)

        net.forward = forgetting
        return net


def test_an_evaluation_between_two_rounds_leaves_the_state_as_it_was():
    options = {"evaluate": (DATA, 1)}
    expected = results(train(LocalCluster(), **options))
    assert results(train(LocalCluster(processes=2), Disturbed(), **options)) == expected
    assert results(train(LocalCluster(processes=2), **options)) == expected


def test_a_state_that_was_not_taken_is_sent():
    """Worker 1 is left out of the second round: its own state is not the one that it goes on from."""
    data = pack({name: column.copy() for name, column in COLUMNS.items()}, DATA.fields, 8)
    data.shard(1, 2)[1]["data"][0, :] = 3e38
    found = []
    for cluster in LocalCluster(), LocalCluster(processes=2):
        with np.errstate(all="ignore"):
            options = {"cluster": cluster, "workers": 2, "tau": 2, "rounds": 5, "solver_state": "local", "seed": 7}
            found.append(list(averaged_sgd(FACTORY, data, on_nonfinite="leave_out", **options)))
    assert any(each.workers == (0,) for each in found[0])
    assert results(found[0]) == results(found[1])
    after = [n for n, each in enumerate(found[1]) if n and found[1][n - 1].workers == (0,) and each.workers == (0, 1)]
    assert all(found[1][n].bytes_down > 2.5 * found[1][0].weights.nbytes for n in after)
