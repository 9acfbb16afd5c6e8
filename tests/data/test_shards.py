"""A shard gives what training uses: the minibatches, order and random choices of averaged_sgd, in a loop of one's own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import max_examples

from sparknet import DataError, Field, LocalCluster, WeightCollection, averaged_sgd
from sparknet.data import pack
from sparknet.data.preprocess import Compose, Crop, Mirror, Scale
from sparknet.nets import MLP
from sparknet.worker import Task, train_round

RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 3, 46)
IMAGES = RNG.integers(0, 256, (46, 1, 5, 5)).astype(np.uint8)
FIELDS = [Field("data", (1, 5, 5), "uint8"), Field("label", (), "int64")]
STEPS = Compose(Crop("data", 4, 4), Mirror("data"), Scale("data", 1 / 256))
FACTORY = MLP.factory((1, 4, 4), 3, (5,), learning_rate=0.1)


def packed(**options):
    return pack({"data": IMAGES, "label": LABELS}, FIELDS, 5, STEPS, **options)


def labels(batches):
    return [batch["label"].to_host().tolist() for batch in batches]


@pytest.mark.parametrize("sampling", ["epoch", "window"])
@max_examples(30)  # each is two trainings
@given(seed=st.integers(0, 2**40), tau=st.integers(1, 12), workers=st.integers(1, 3))
def test_ones_own_rounds_have_the_bits_of_averaged_sgd(sampling, seed, tau, workers):
    data = packed()
    options = {"tau": tau, "rounds": 2, "seed": seed, "workers": workers, "sampling": sampling}
    *_, expected = averaged_sgd(FACTORY, data, cluster=LocalCluster(), solver_state="reset", **options)
    net = FACTORY(seed=seed)
    weights = net.get_weights()
    for number in range(2):

        def trained(shard, weights=weights, number=number):
            net.set_weights(weights)
            net.set_state(FACTORY(seed=seed).get_state())
            with shard.feed(tau, first_step=number * tau, seed=seed, sampling=sampling, net=net) as batches:
                for batch in batches:
                    net.step(batch)
            return net.get_weights()

        weights = WeightCollection.mean(data.map_shards(trained, workers))
    assert weights == expected.weights


class Dropping:
    """A net with a generator of its own and a ``prepare``: both decide what it sees."""

    def __init__(self):
        self.seen = []

    def reseed(self, seed):
        self.seen.append(seed)

    def prepare(self, batch, rng, *, train):
        return rng.integers(2**31), train, batch["label"].to_host().tolist()

    def step(self, prepared):
        self.seen.append(prepared)
        return 0.0

    def get_weights(self):
        return WeightCollection({"w": [np.zeros(1)]})

    get_state = dict

    def set_weights(self, _):
        pass

    set_state = set_weights


def test_a_net_gets_its_seed_and_its_prepared_minibatches_as_from_a_worker():
    data, worker, own = packed(), Dropping(), Dropping()
    task = Task(worker=1, num_batches=5, first_step=4, tau=7, seed=9)
    train_round(worker, data.shard(1, 2), task, worker.get_weights(), {}, STEPS)

    def stepped(shard):
        with shard.feed(7, first_step=4, seed=9, net=own) as batches:
            for batch in batches:
                own.step(batch)

    data.map_shards(lambda shard: shard.index == 1 and stepped(shard), workers=2)
    assert own.seen == worker.seen
    assert len(own.seen) == 8


def test_iterating_is_in_the_order_of_the_shard_and_as_in_test():
    data = packed()
    shards = data.map_shards(lambda shard: [batch["data"].to_host() for batch in shard], workers=2)
    expected = [IMAGES[i : i + 5, :, 0:4, 0:4] * np.float32(1 / 256) for i in range(0, 46, 5)]  # 5 - 4 leaves no middle
    for k, shard in enumerate(shards):
        for got, whole in zip(shard, expected[k::2], strict=True):
            assert np.array_equal(got, whole)
    tested = data.map_shards(lambda shard: labels(shard.feed(4, first_step=3, train=False)), workers=2)
    assert tested[0] == [LABELS[i : i + 5].tolist() for i in (30, 40, 0, 10)]


def test_a_minibatch_is_read_when_it_is_used_and_no_other():
    class Watched(list):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index) if isinstance(index, int) else Watched(super().__getitem__(index))

    data, read = packed(), []
    watched = replace(data, batches=Watched(data.batches))
    watched.map_shards(lambda shard: (len(shard), shard.index))
    assert [index for index in read if isinstance(index, int)] == []
    watched.map_shards(lambda shard: [next(iter(shard)), *shard.feed(2, train=False)])
    assert [index for index in read if isinstance(index, int)] == [0, 0, 1]


def test_a_short_minibatch_is_what_the_set_says():
    lengths = packed().map_shards(lambda shard: (len(shard), [len(batch["label"]) for batch in shard]), workers=2)
    assert lengths == [(5, [5] * 5), (5, [5, 5, 5, 5, 1])]
    dropped = replace(packed(), ragged="drop")  # as a net may say it of a set that does not
    assert dropped.map_shards(len, workers=2) == [5, 4]
    with dropped.feed(worker=1, workers=2) as batches:
        assert sorted(map(tuple, labels(batches))) == sorted(map(tuple, labels(packed().batches[1:9:2])))
    padded = packed(ragged="pad", padding={"label": -1})
    assert padded.map_shards(labels, workers=2)[1][-1] == [LABELS[45], -1, -1, -1, -1]
    with pytest.raises(
        DataError, match=r"^map_shards\(\): ragged='pad' does not say what with: pack\(\.\.\., padding="
    ):
        packed(ragged="pad").map_shards(len)


def test_an_error_begins_with_the_shard_and_the_minibatch_and_others_are_as_they_are():
    class Refusing:
        def __call__(self, batch, *_, **__):
            if 3 in batch["label"].to_host():
                raise DataError("no threes")
            return batch

    data = pack({"label": range(5)}, [Field("label", (), "int64")], 1)
    refusing = replace(data, preprocessor=Refusing())
    for go_through in (list, lambda shard: list(shard.feed(seed=1))):
        with pytest.raises(DataError, match=r"^shard 1: minibatch 1: no threes$"):
            refusing.map_shards(go_through, workers=2)
    with pytest.raises(DataError, match=r"^shard 0: of my own$"):
        data.map_shards(lambda _: (_ for _ in ()).throw(DataError("of my own")))
    with pytest.raises(ZeroDivisionError):
        data.map_shards(lambda _: 1 / 0)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": -1}, r"^shard 0: feed\(\): steps: got -1, expected a whole number of at least 0$"),
        ({"first_step": 0.5}, r"feed\(\): first_step: got 0.5, expected a whole number"),
        ({"seed": "7"}, r"feed\(\): seed: got '7', expected a whole number"),
        ({"sampling": "random"}, r"feed\(\): sampling: got 'random', expected one of 'epoch', 'window'$"),
    ],
)
def test_what_a_feed_does_not_take_is_named(options, match):
    with pytest.raises(DataError, match=match):
        packed().map_shards(lambda shard: shard.feed(**options))


def test_workers_that_would_have_no_minibatch_are_refused():
    with pytest.raises(DataError, match="11 workers for 10 minibatches"):
        packed().map_shards(len, workers=11)
    with pytest.raises(DataError, match=r"map_shards\(\): workers: got 0, expected a whole number of at least 1"):
        packed().map_shards(len, workers=0)
    with pytest.raises(DataError, match=r"^map_shards\(\): got 3, expected a function of one Shard, such as len$"):
        packed().map_shards(3)


def test_length_and_iteration_of_a_whole_set_name_what_is_meant():
    data = packed()
    with pytest.raises(TypeError, match=r"^len\(\) of a Dataset .* take count\(\) for examples, num_batches for minib"):
        len(data)
    with pytest.raises(TypeError, match=r"^a Dataset is not iterated itself: feed\(\) gives its minibatches"):
        next(iter(data))
    assert data
