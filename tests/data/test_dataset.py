"""Packing and sampling: nothing lost, nothing twice, images and labels together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import DataError, Field
from sparknet.data import EpochSampler, pack
from sparknet.data.dataset import check_shards, shard_length
from sparknet.data.sampling import step_rng

FIELDS = [Field("image", (2,), "int64"), Field("label", (), "int64")]


def packed(n, batch_size, shuffle=None):
    labels = np.arange(n)
    return pack({"image": np.stack([labels, -labels], 1), "label": labels}, FIELDS, batch_size, shuffle=shuffle)


@given(st.integers(1, 60), st.integers(1, 20), st.none() | st.integers(0, 5))
def test_packing_keeps_every_example_once_with_images_and_labels_aligned(n, batch_size, shuffle):
    data = packed(n, batch_size, shuffle)
    labels = np.concatenate([b["label"].to_host() for b in data.batches])
    images = np.concatenate([b["image"].to_host() for b in data.batches])
    assert sorted(labels.tolist()) == list(range(n))
    assert images.tolist() == np.stack([labels, -labels], 1).tolist()
    assert [len(b["label"]) for b in data.batches[:-1]] == [batch_size] * (data.num_batches - 1)
    assert data.count() == n


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 6))
def test_shards_are_disjoint_cover_everything_and_differ_by_at_most_one(n, batch_size, workers):
    data = packed(n, batch_size)
    shards = [data.shard(k, workers) for k in range(workers)]
    lengths = [len(s) for s in shards]
    assert lengths == [shard_length(data.num_batches, k, workers) for k in range(workers)]
    assert max(lengths) - min(lengths) <= 1
    assert sorted(id(b) for s in shards for b in s) == sorted(id(b) for b in data.batches)


def test_rows_and_columns_pack_alike():
    rows = [([i, -i], i) for i in range(7)]
    for a, b in zip(pack(rows, FIELDS, 3, shuffle=4).batches, packed(7, 3, 4).batches, strict=True):
        assert a["image"].to_host().tobytes() == b["image"].to_host().tobytes()


def test_a_shuffle_depends_on_its_seed_alone():
    order = [packed(50, 50, seed).batches[0]["label"].to_host().tolist() for seed in (1, 1, 2, None)]
    assert order[0] == order[1] != order[2]
    assert order[3] == list(range(50))


def test_mistakes_in_packing_are_named():
    with pytest.raises(DataError, match="batch_size: got 0, expected a whole number of at least 1"):
        packed(3, 0)
    with pytest.raises(DataError, match="no rows"):
        pack([], FIELDS, 2)
    with pytest.raises(DataError, match="no column 'label'; there are 'image'"):
        pack({"image": [[1, 2]]}, FIELDS, 2)
    with pytest.raises(DataError, match="shuffle: got -1, expected a whole number of at least 0"):
        packed(3, 2, -1)
    image = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(DataError, match=r"got a value of shape \(8, 8, 3\)"):  # never reshaped by guess
        pack({"image": image}, [Field("image", (3, 8, 8), "uint8")], 2)
    with pytest.raises(DataError, match=r"same first length"):
        pack({"image": [[1, 2]], "label": [1, 2]}, FIELDS, 2)
    with pytest.raises(DataError, match="column 'label' is a int"):
        pack({"image": [[1, 2]], "label": 1}, FIELDS, 2)
    with pytest.raises(DataError, match="9 workers for 3 minibatches of 2 examples"):
        check_shards(3, 9, 2)


# ---- the order in which a worker visits its minibatches
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
