"""A loop of one's own on Spark: map_shards has the bits of averaged_sgd, and its errors come once, by name."""

import re
import threading
from dataclasses import replace

import numpy as np
import pytest

from sparknet import ClusterError, DataError, Field, SparkCluster, WeightCollection, averaged_sgd, dumps
from sparknet.clusters.spark.jobs.local_files import local_directories
from sparknet.data.preprocess import Compose, Crop, Mirror, Scale
from sparknet.nets import MLP
from sparknet.spark import pack

pytestmark = pytest.mark.spark

RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 3, 46)
IMAGES = RNG.integers(0, 256, (46, 1, 5, 5)).astype(np.uint8)
FIELDS = [Field("data", (1, 5, 5), "uint8"), Field("label", (), "int64")]
STEPS = Compose(Crop("data", 4, 4), Mirror("data"), Scale("data", 1 / 256))
FACTORY = MLP.factory((1, 4, 4), 3, (5,), learning_rate=0.1)


@pytest.fixture
def packed(context):
    rows = list(zip(IMAGES, LABELS.tolist(), strict=True))
    data = pack(context.parallelize(rows, 3), FIELDS, 5, STEPS, shards=2)
    yield data
    data.unpersist()


def trained(sent, tau, first_step):
    """Return what each task does: a net of its own, tau steps."""

    def work(shard):
        net = FACTORY(seed=0)
        net.set_weights(sent.value)
        with shard.feed(tau, first_step=first_step, seed=7) as batches:
            for batch in batches:
                net.step(batch)
        return net.get_weights()

    return work


@pytest.mark.parametrize("tau", [4, 12])
def test_rounds_of_ones_own_have_the_bits_of_averaged_sgd(spark, context, packed, tau):
    options = {"tau": tau, "rounds": 2, "seed": 7, "solver_state": "reset"}
    *_, expected = averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark), **options)
    weights = FACTORY(seed=7).get_weights()
    for number in range(2):
        sent = context.broadcast(weights)
        results = packed.map_shards(trained(sent, tau, number * tau))
        weights = WeightCollection.mean(results)
        sent.destroy()
    assert weights == expected.weights


def test_a_round_reads_what_it_uses_and_its_results_are_in_the_order_of_the_shards(context, packed):
    piped = context.accumulator(0)

    def watched(item):
        piped.add(1)
        return item

    data = replace(packed, rdd=packed.rdd.map(watched))
    for _ in range(3):
        got = data.map_shards(lambda shard: (shard.index, len(shard), [len(batch["label"]) for batch in shard]))
    assert got == [(0, 5, [5] * 5), (1, 5, [5, 5, 5, 5, 1])]
    assert piped.value == packed.num_batches  # through the pipe once, into the shards' files
    data.unpersist()


def test_both_data_sets_have_the_same_shards(packed):
    def content(shard):
        with shard.feed(7, seed=3) as batches:
            fed = [batch["data"].to_host().tobytes() for batch in batches]
        return fed, [batch["data"].to_host().tobytes() for batch in shard]

    for data in (packed, replace(packed, ragged="drop"), replace(packed, preprocessor=None)):
        assert data.map_shards(content) == data.to_local().map_shards(content, workers=2)


def test_a_file_that_is_gone_or_damaged_changes_no_bit(context, packed):
    def content(shard):
        return [batch["data"].to_host().tobytes() for batch in shard]

    def harm(_):
        for directory in local_directories():
            for path in directory.glob("sparknet-*/shard-*"):
                path.unlink() if path.name == "shard-0" else path.write_bytes(bytes(path.stat().st_size))
        return 0

    expected = packed.map_shards(content)
    context.parallelize([0], 1).map(harm).collect()
    assert packed.map_shards(content) == expected


# ---- errors
def test_an_error_of_ours_comes_once_by_its_shard_and_another_is_a_cluster_error(context, packed):
    calls = context.accumulator(0)

    def refusing(shard):
        calls.add(1)
        if shard.index == 1:
            raise DataError("of my own", field="label")
        return 0

    with pytest.raises(DataError, match=r"^shard 1: of my own$") as caught:
        packed.map_shards(refusing)
    assert (calls.value, caught.value.field) == (2, "label")

    def failing(shard):
        return 1 / shard.index

    line = failing.__code__.co_firstlineno + 1
    said = rf"^the job failed on the cluster: shard 0, .*test_map_shards.py:{line}: ZeroDivisionError: division by zero"
    with pytest.raises(ClusterError, match=said):
        packed.map_shards(failing)


def test_workers_are_the_shards_there_are_and_other_names_lead_here(packed):
    assert packed.map_shards(len, workers=2) == packed.map_shards(len) == packed.to_local().map_shards(len, workers=2)
    with pytest.raises(DataError, match=r"^map_shards\(\): got workers=3, and there are 2 shards; .* reshard\(3\)$"):
        packed.map_shards(len, workers=3)
    with pytest.raises(DataError, match=r"^map_shards\(\): got 3, expected a function of one Shard"):
        packed.map_shards(3)
    for name in ("feed", "foreach"):
        with pytest.raises(AttributeError, match=rf"^a PackedDataset has no attribute '{name}'; map_shards\(fn\) goes"):
            getattr(packed, name)
    assert not hasattr(packed, "_feed")


def test_a_minibatch_that_is_refused_is_named(packed):
    class Refusing:
        def __call__(self, *_, **__):
            raise KeyError("no such pixel")

    with pytest.raises(DataError, match=r"^shard 0: minibatch 0: KeyError: 'no such pixel'$"):
        replace(packed, preprocessor=Refusing()).map_shards(list)


def test_what_cannot_be_sent_is_refused_there_and_back(packed):
    lock = threading.Lock()
    with pytest.raises(DataError, match=r"^map_shards\(\): the function \(function\) cannot be sent to the executors"):
        packed.map_shards(lambda _: lock)

    def generating(shard):
        yield from shard

    for fn, name in (
        (generating, "generator"),
        (lambda shard: shard, "Shard"),
        (lambda shard: shard.feed(), "Prefetcher"),
    ):
        with pytest.raises(
            DataError, match=rf"^shard 0: the function returned a {name}, which cannot be sent to the dri"
        ):
            packed.map_shards(fn)
    with pytest.raises(DataError, match=r"^map_shards\(\): ragged='pad' does not say what with"):
        replace(packed, ragged="pad").map_shards(len)


def test_a_broadcast_that_was_destroyed_does_not_stay_with_the_shards_files(context, packed):
    sent = context.broadcast(3)
    assert packed.map_shards(lambda shard: sent.value + len(shard)) == [8, 8]
    sent.destroy()
    packed._files.unpersist(blocking=True)  # as when executors are lost: computed again
    assert packed.map_shards(len) == [5, 5]


def test_results_are_the_weights_and_arrays_that_tasks_returned(packed):
    weights = WeightCollection({"ip": [np.arange(6, dtype=np.float32)]})
    message = dumps(weights)

    def read(_):
        import sparknet

        return {"weights": sparknet.loads(message), "rows": np.arange(3)}

    for result in packed.map_shards(read):
        assert result["weights"] == weights
        assert result["rows"].tolist() == [0, 1, 2]


# ---- sums, length, iteration
def test_summed_adds_up_dicts_by_key_and_refuses_what_has_no_sum(packed):
    def counted(part):
        rows = list(part)
        return {
            "rows": sum(len(b["label"]) for b in rows),
            "pixels": sum(b["data"].to_host().sum(axis=0) for b in rows),
        }

    total = packed.summed(counted)
    assert total["rows"] == 46
    assert np.array_equal(total["pixels"], IMAGES.sum(axis=0))  # as stored: neither cropped nor scaled
    with pytest.raises(DataError, match=r"^shard 0: summed\(\): what the function returned: got a tuple, expected"):
        packed.summed(lambda part: (len(list(part)), 1))
    with pytest.raises(DataError, match=r"\['n'\]: got a NoneType, expected what can be added up: a number, an array"):
        packed.summed(lambda _: {"n": None})
    lock = threading.Lock()
    with pytest.raises(DataError, match=r"^shard \d: summed\(\): what the function returned: got booleans of bool, "):
        packed.summed(lambda part: np.all([len(b["label"]) for b in part]))
    with pytest.raises(
        DataError, match=r"^summed\(\): the function \(function\) cannot be sent to the executors: .* lock"
    ):
        packed.summed(lambda _: lock)
    with pytest.raises(ClusterError, match=rf": shard \d, {re.escape(__file__)}:\d+: ZeroDivisionError"):
        packed.summed(lambda _: 1 / 0)
    with pytest.raises(DataError, match=r"^summed\(\): the sums of two shards are a ndarray of shape \(5,\) and a "):
        packed.summed(lambda part: np.zeros(sum(len(b["label"]) > 1 for b in part)))


def test_length_and_iteration_of_a_whole_set_name_what_is_meant(packed):
    with pytest.raises(TypeError, match=r"^len\(\) of a PackedDataset .* take count\(\) for examples, num_batches for"):
        len(packed)
    with pytest.raises(
        TypeError, match=r"^a PackedDataset is not iterated itself: map_shards\(fn\) .* to_local\(\) brings"
    ):
        list(packed)
    assert packed
