"""Rounds: where the weights are before, between and after the rounds, and when the cluster is released."""

import gc
from contextlib import contextmanager

import numpy as np
import pytest

from sparknet import Field, LocalCluster, TrainingError, averaged_sgd
from sparknet.data import pack
from sparknet.nets import MLP

RNG = np.random.default_rng(0)
COLUMNS = {"data": RNG.normal(size=(40, 6)), "label": RNG.integers(0, 3, 40)}
DATA = pack(COLUMNS, [Field("data", (6,)), Field("label", (), "int64")], 4)
FACTORY = MLP.factory((6,), 3, learning_rate=0.1, momentum=0.9)


class Watched(LocalCluster):
    """Knows how many of its sessions are open."""

    def __init__(self):
        self.opened = self.open = 0

    @contextmanager
    def session(self, *args):
        with super().session(*args) as inner:
            self.opened, self.open = self.opened + 1, self.open + 1
            try:
                yield inner
            finally:
                self.open -= 1


def start(**options):
    return averaged_sgd(FACTORY, DATA, **{"cluster": LocalCluster(), "workers": 2, "tau": 3, "rounds": 4, **options})


def test_the_weights_are_those_of_the_last_round_and_before_it_those_that_training_starts_from():
    rounds = start(seed=5)
    assert (rounds.weights, rounds.finished) == (FACTORY(seed=5).get_weights(), 0)
    for found in rounds:
        assert rounds.weights is found.weights
        assert rounds.finished == found.index + 1
        assert repr(rounds) == f"<Rounds: {found.index + 1} of 4 finished>"
    assert rounds.weights is found.weights
    assert rounds.finished == 4


def test_given_weights_are_those_that_training_starts_from():
    given = FACTORY(seed=9).get_weights()
    none = start(weights=given, rounds=0)
    assert none.weights == given
    assert list(none) == []
    assert (none.weights, none.finished) == (given, 0)


def test_where_a_checkpoint_has_all_rounds_the_weights_are_its(tmp_path):
    *_, last = start(checkpoint=tmp_path)
    again = start(checkpoint=tmp_path)
    assert list(again) == []
    assert (again.weights, again.finished) == (last.weights, 4)
    assert start(checkpoint=tmp_path, rounds=2).weights == last.weights
    more = start(checkpoint=tmp_path, rounds=5)
    assert (more.weights, more.finished) == (last.weights, 4)
    assert next(more).weights is more.weights
    assert more.finished == 5


def test_what_diverges_has_the_weights_of_the_last_round_that_was_yielded():
    fast = MLP.factory((6,), 3, (4,), learning_rate=1e12)
    rounds = averaged_sgd(fast, DATA, cluster=LocalCluster(), workers=2, tau=1, rounds=20)
    done = [next(rounds)]
    with np.errstate(all="ignore"), pytest.raises(TrainingError) as caught:
        done.extend(rounds)
    assert (rounds.weights is done[-1].weights, rounds.finished) == (True, caught.value.round)
    assert list(rounds) == []


def closed(rounds):
    next(rounds)
    rounds.close()
    return rounds


def left(rounds):
    with rounds:
        next(rounds)
    return rounds


def failed(rounds):
    with pytest.raises(ZeroDivisionError), rounds:
        next(rounds).steps / 0
    return rounds


@pytest.mark.parametrize("end", [closed, left, failed])
def test_what_was_closed_is_released_keeps_its_weights_and_has_no_more_rounds(end):
    cluster = Watched()
    rounds = end(start(cluster=cluster))
    assert (cluster.opened, cluster.open, rounds.finished) == (1, 0, 1)
    assert list(rounds) == []
    assert rounds.weights != FACTORY(seed=0).get_weights()


def test_a_loop_that_is_broken_off_releases_what_nobody_else_holds():
    cluster = Watched()
    for _ in start(cluster=cluster):
        break
    gc.collect()
    assert (cluster.opened, cluster.open) == (1, 0)


def test_what_is_closed_before_its_first_round_opens_nothing():
    cluster = Watched()
    rounds = start(cluster=cluster)
    rounds.close()
    assert (list(rounds), cluster.opened) == ([], 0)
