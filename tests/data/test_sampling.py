"""Sampling: which minibatches a worker visits, in which order, and that none is favoured."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import DataError, Field, LocalCluster, averaged_sgd
from sparknet.data import EpochSampler, pack
from sparknet.data.layout import shard_length
from sparknet.data.sampling import SAMPLERS, WindowSampler, step_rng
from sparknet.nets import MLP
from sparknet.worker import Task

LABEL = Field("label", (), "int64")


# ---- by epochs
@given(st.integers(1, 30), st.integers(0, 9), st.integers(0, 9), st.integers(0, 5))
def test_an_epoch_visits_every_minibatch_once_whatever_the_lengths_of_the_rounds(n, seed, worker, epoch):
    sampler = EpochSampler(n, seed, worker)
    assert sorted(sampler.indices(epoch * n, n)) == list(range(n))
    cut = n // 3
    rounds = sampler.indices(0, cut) + sampler.indices(cut, 2 * n - cut)
    assert rounds == sampler.indices(0, 2 * n)


def test_epochs_workers_and_seeds_have_orders_of_their_own():
    orders = {
        tuple(EpochSampler(20, seed, worker).indices(epoch * 20, 20))
        for seed in (0, 1)
        for worker in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 8


def test_a_worker_without_minibatches_is_refused():
    with pytest.raises(DataError, match="worker 3 has no minibatch"):
        EpochSampler(0, 0, 3)


def test_the_generator_of_a_step_depends_on_seed_worker_and_step():
    draws = {step_rng(*key).integers(2**60) for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]}
    assert len(draws) == 4
    assert step_rng(1, 2, 3).integers(2**60) == step_rng(1, 2, 3).integers(2**60)


@given(
    n=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    workers=st.integers(1, 5),
    epochs=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    shuffle=st.none() | st.integers(0, 5),
)
def test_every_example_is_seen_equally_often_over_an_epoch(n, batch_size, workers, epochs, lengths, shuffle):
    """Whatever the sharding and the lengths of the rounds that the epochs are cut into."""
    data = pack({"label": np.arange(n)}, [LABEL], batch_size, shuffle=shuffle)
    seen = Counter()
    for worker in range(workers):
        shard, length = data.shard(worker, workers), shard_length(data.num_batches, worker, workers)
        step, turn = 0, 0
        while step < epochs * length:
            tau = min(lengths[turn % len(lengths)], epochs * length - step)
            for i in Task(worker, length, step, tau, seed=7).indices():
                seen.update(shard[i]["label"].to_host().tolist())
            step, turn = step + tau, turn + 1
    assert seen == dict.fromkeys(range(n), epochs)


# ---- by windows
@given(
    n=st.integers(1, 30),
    seed=st.integers(0, 9),
    worker=st.integers(0, 9),
    first=st.integers(0, 99),
    tau=st.integers(0, 70),
)
def test_a_window_is_contiguous_on_the_ring_and_its_visits_differ_by_one_at_most(n, seed, worker, first, tau):
    window = WindowSampler(n, seed, worker).indices(first, tau)
    assert len(window) == tau
    assert all((b - a) % n == 1 % n for a, b in itertools.pairwise(window))
    visits = Counter(window)
    assert max(visits.values(), default=0) - min((visits[i] for i in range(n)), default=0) <= 1
    assert window == WindowSampler(n, seed, worker).indices(first, tau)


def test_windows_begin_anywhere_and_anew_for_each_seed_worker_and_round():
    starts = Counter(WindowSampler(10, 7, 0).indices(first, 1)[0] for first in range(0, 2000, 2))
    # 1,000 draws over 10 places: 100 +- 9.5 each; five of these deviations
    assert all(abs(starts[place] - 100) < 5 * 9.5 for place in range(10))
    keys = [(seed, worker, first) for seed in (0, 1) for worker in (0, 1) for first in (0, 50)]
    windows = [WindowSampler(10_000, seed, worker).indices(first, 1)[0] for seed, worker, first in keys]
    assert len(set(windows)) == len(keys)


@pytest.mark.parametrize("sampling", SAMPLERS)
def test_training_visits_what_the_sampler_says(sampling):
    rng = np.random.default_rng(0)
    data = pack({"data": rng.normal(size=(60, 2)), "label": rng.integers(0, 2, 60)}, [Field("data", (2,)), LABEL], 4)
    make = MLP.factory((2,), 2, (3,), learning_rate=0.1)
    *_, last = averaged_sgd(make, data, cluster=LocalCluster(), workers=1, tau=4, rounds=3, seed=7, sampling=sampling)
    net = make(seed=7)
    for first in (0, 4, 8):
        for i in SAMPLERS[sampling](data.num_batches, 7, 0).indices(first, 4):
            net.step(data.batches[i])
    assert last.weights == net.get_weights()


def test_an_unknown_way_of_sampling_is_refused_at_the_call():
    data = pack({"data": [[0.0]], "label": [0]}, [Field("data", (1,)), LABEL], 1)
    with pytest.raises(ValueError, match="sampling='random'; expected 'epoch' or 'window'"):
        averaged_sgd(MLP.factory((1,), 2), data, cluster=LocalCluster(), sampling="random")
