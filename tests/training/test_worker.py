"""A worker's part of a round as a pure function."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import Field, nd
from sparknet.data import pack
from sparknet.data.preprocess import Mirror, Scale
from sparknet.nets import MLP
from sparknet.worker import Task, evaluate_shard, train_round

RNG = np.random.default_rng(1)
COLUMNS = {"data": RNG.normal(size=(35, 1, 2, 2)), "label": RNG.integers(0, 3, 35)}
DATA = pack(COLUMNS, [Field("data", (1, 2, 2)), Field("label", (), "int64")], 4)
FACTORY = MLP.factory((1, 2, 2), 3, (4,), learning_rate=0.1)


def task(**changes):
    return Task(**{"worker": 0, "num_batches": DATA.num_batches, "first_step": 0, "tau": 5, "seed": 7, **changes})


def run(net=None, preprocessor=None, **changes):
    net = net or FACTORY(seed=0)
    start = FACTORY(seed=0)
    return train_round(net, DATA.batches, task(**changes), start.get_weights(), start.get_state(), preprocessor)


@given(seed=st.integers(0, 2**40), worker=st.integers(0, 9), first_step=st.integers(0, 2**40))
def test_a_round_of_zero_steps_changes_nothing(seed, worker, first_step):
    start = FACTORY(seed=0)
    outcome = run(tau=0, seed=seed, worker=worker, first_step=first_step)
    assert outcome.weights == start.get_weights()
    assert {k: v.to_host().tobytes() for k, v in outcome.state.items()} == {
        k: v.to_host().tobytes() for k, v in start.get_state().items()
    }
    assert (outcome.steps, outcome.examples) == (0, 0)
    assert np.isnan(outcome.loss)


def test_a_round_is_the_plain_loop_over_the_same_minibatches():
    net = FACTORY(seed=0)
    losses = [net.step(DATA.batches[i]) for i in task(tau=12).indices()]
    outcome = run(tau=12)
    assert outcome.weights == net.get_weights()
    assert outcome.loss == np.mean(losses)
    assert outcome.steps == 12
    assert int(outcome.state["iteration"]) == 12


def test_what_is_left_in_a_net_does_not_matter():
    dirty = FACTORY(seed=5)
    for _ in range(3):
        dirty.step(DATA.batches[0])
    assert run(dirty).weights == run().weights


def test_two_short_rounds_are_one_long_one():
    first = run(tau=4)
    net = FACTORY(seed=0)
    second = train_round(net, DATA.batches, task(first_step=4, tau=8), first.weights, first.state)
    assert second.weights == run(tau=12).weights


def test_random_preprocessing_depends_on_seed_worker_and_step_alone():
    assert run(preprocessor=Mirror("data")).weights == run(preprocessor=Mirror("data")).weights
    assert run(preprocessor=Mirror("data")).weights != run(preprocessor=Mirror("data"), seed=8).weights


def test_a_round_longer_than_the_shard_wraps_around_into_the_next_epoch():
    outcome = run(tau=2 * DATA.num_batches)
    assert outcome.examples == 2 * DATA.count()


def test_a_time_limit_ends_the_round_after_the_step_that_passes_it(monkeypatch):
    clock = iter(np.arange(0, 100, 0.5))
    monkeypatch.setattr("sparknet.worker.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    outcome = run(tau=50, max_seconds=2)
    assert outcome.steps == 3  # the clock is read at 0, then 0.5, 1, 1.5 and 2
    assert int(outcome.state["iteration"]) == 3


class Recording(MLP):
    """Keeps the images that it is given."""

    def step(self, batch):
        self.__dict__.setdefault("seen", []).append(batch["data"].to_host().copy())
        return super().step(batch)

    def forward(self, batch, outputs=None):
        self.__dict__.setdefault("seen", []).append(batch["data"].to_host().copy())
        return super().forward(batch, outputs)


def test_random_preprocessing_differs_from_step_to_step_and_from_worker_to_worker():
    one = pack({"data": np.arange(4.0).reshape(1, 1, 2, 2).repeat(64, 0), "label": np.zeros(64)}, DATA.fields, 64)
    seen = []
    for worker in (0, 1):
        net = Recording((1, 2, 2), 3, (4,))
        start = FACTORY(seed=0)
        train_round(net, one.batches, task(worker=worker, num_batches=1), start.get_weights(), None, Mirror("data"))
        seen += net.seen
    assert len({images.tobytes() for images in seen}) == 10


def test_evaluation_uses_the_test_behaviour_of_preprocessing():
    net = Recording((1, 2, 2), 3, (4,))
    evaluate_shard(net, DATA.batches[:1], FACTORY(seed=0).get_weights(), Mirror("data"))
    assert np.array_equal(net.seen[0], DATA.batches[0]["data"].to_host())


def test_only_scalar_outputs_are_metrics():
    class Column(MLP):
        def forward(self, batch, outputs=None):
            return {**super().forward(batch, outputs), "pred": nd.ones((len(batch["data"]), 1))}

    parts = evaluate_shard(Column((1, 2, 2), 3, (4,)), DATA.batches, FACTORY(seed=0).get_weights())
    assert {name for sums, _ in parts for name in sums} == {"loss", "accuracy"}


def test_evaluation_adds_up_over_minibatches():
    net = FACTORY(seed=0)
    whole = net.forward({"data": nd.asarray(COLUMNS["data"] * 0.5), "label": nd.asarray(COLUMNS["label"])})
    parts = evaluate_shard(FACTORY(seed=3), DATA.batches, net.get_weights(), Scale("data", 0.5))
    assert sum(n for _, n in parts) == 35
    for name in ("loss", "accuracy"):
        assert sum(p[name] for p, _ in parts) / 35 == pytest.approx(float(whole[name]), rel=1e-5)


def test_the_generator_of_a_framework_is_seeded_for_the_round():
    seen = []

    class Reseeded(MLP):
        def reseed(self, seed):
            seen.append(seed)

    for key in ((0, 0), (0, 0), (1, 0), (0, 5)):
        run(Reseeded((1, 2, 2), 3, (4,)), tau=0, worker=key[0], first_step=key[1])
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3
