"""The two ends of rounds over a hub: evaluation in the workers, and what all of them must have in common."""

import math
import os
import socket
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparknet import (
    ClusterError,
    DataError,
    Field,
    FormatError,
    LocalCluster,
    MissingDependency,
    NetError,
    averaged_sgd,
)
from sparknet.clusters import local, totals
from sparknet.clusters.direct import session, worker
from sparknet.clusters.direct.alike import about
from sparknet.clusters.direct.told import raised, told
from sparknet.data import pack
from sparknet.data.preprocess import LabelMap, Scale
from sparknet.nets import MLP
from sparknet.transport import Hub

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 250)
COLUMNS = {"data": RNG.normal(size=(3, 6))[LABELS] * 2 + RNG.normal(size=(250, 6)), "label": LABELS}
FIELDS = [Field("data", (6,), "float32"), Field("label", (), "int64")]
DATA = pack(COLUMNS, FIELDS, 8, Scale("data", 0.5))
FACTORY = MLP.factory((6,), 3, (5,), learning_rate=0.1, momentum=0.9)
ME = os.getpid()
PROCESSES = LocalCluster(processes=2)


def train(cluster, factory=FACTORY, test=DATA, **options):
    options = {"workers": 2, "tau": 3, "rounds": 4, "seed": 7, "evaluate": (test, 2), **options}
    return list(averaged_sgd(factory, DATA, cluster=cluster, **options))


# Larger ones have sums at the edge of what floats can say, where math.fsum gives up or not by their order.
NUMBERS = (
    st.floats(-1e300, 1e300) | st.floats(-1e3, 1e3) | st.sampled_from([math.nan, math.inf, -math.inf, 5e-324, -0.0])
)
PARTS = st.lists(st.dictionaries(st.sampled_from("ab"), st.tuples(NUMBERS, st.integers(0, 64))), max_size=30)


def means(parts):
    try:
        return {name: repr(value) for name, value in totals.mean_metrics(parts).items()}
    except (OverflowError, ValueError) as error:  # of math.fsum
        return type(error)


@given(st.lists(PARTS, max_size=3))
@example([[{"a": (0.1, 3)}] * 10, [{"a": (0.2, 1), "b": (1e16, 5)}] * 3, [{"b": (1.0, 2)}]])
@example([[{"a": (math.nan, 1)}, {"a": (1.0, 1)}], [{"a": (math.inf, 1)}], []])
@example([[{"a": (math.inf, 1)}, {"a": (1.0, 1)}, {"a": (-math.inf, 1)}]])
@example([[{"a": (1e308, 1)}, {"a": (1e308, 1)}]])
def test_sums_that_are_condensed_shard_by_shard_have_the_means_of_all_minibatches(shards):
    each = [part for shard in shards for part in shard]
    assert means([part for shard in shards for part in totals.condensed(shard)]) == means(each)


def test_condensed_sums_are_few_and_exact():
    values = (RNG.normal(size=1000) * 10.0 ** RNG.integers(-300, 300, 1000)).tolist()
    parts = totals.condensed([{"loss": (value, 1)} for value in values])
    assert len(parts) <= 40  # 2,098 bits from the smallest float to the largest, 53 of them in each
    assert sum(Fraction(part["loss"][0]) for part in parts) == sum(map(Fraction, values))
    assert sum(part["loss"][1] for part in parts) == 1000


def test_workers_evaluate_what_was_announced_with_the_same_bits(monkeypatch):
    short = pack(COLUMNS, FIELDS, 250, Scale("data", 0.25))  # of one minibatch: a worker has none
    expected = [[r.metrics for r in train(LocalCluster(), test=test)] for test in (DATA, short)]
    monkeypatch.setattr(local._LocalSession, "evaluate", None)
    assert [[r.metrics for r in train(PROCESSES, test=test)] for test in (DATA, short)] == expected


class Counting(MLP):
    """A net whose sums are of numpy's own types."""

    def totals(self, outputs, rows):
        sums = {"loss": np.float32(outputs["loss"].to_host()) * rows, "none": np.float32("nan"), "batches": np.int64(1)}
        return {name: (value, np.int64(rows)) for name, value in sums.items()}


def test_sums_of_metrics_may_be_numbers_of_numpy():
    def make(*, seed):
        return Counting((6,), 3, (5,), seed=seed)

    found = [[repr(r.metrics) for r in train(cluster, make)] for cluster in (LocalCluster(), PROCESSES)]
    assert found[0] == found[1]
    assert "none" in found[0][-1]


@pytest.mark.parametrize(
    "options",
    [{"tau": np.int64(2)}, {"seed": np.uint8(3)}, {"max_seconds": np.float32(900)}, {"max_seconds": Fraction(900)}],
)
def test_arguments_may_be_numbers_of_numpy(options):
    assert [r.weights for r in train(PROCESSES, **options)] == [r.weights for r in train(LocalCluster(), **options)]


def test_what_was_not_announced_is_evaluated_by_the_driver():
    weights = FACTORY(seed=3).get_weights()
    with PROCESSES.session(FACTORY, DATA, 2) as there, LocalCluster().session(FACTORY, DATA, 2) as here:
        assert there.evaluate(weights, DATA) == here.evaluate(weights, DATA)


def test_an_error_of_an_evaluation_names_shard_and_minibatch():
    labels = LABELS.copy()
    labels[100] = 3  # of minibatch 12, the one with index 6 in shard 0
    test = pack({**COLUMNS, "label": labels}, FIELDS, 8, LabelMap("label", {0: 0, 1: 1, 2: 2}))
    with pytest.raises(DataError, match=r"^shard 0: evaluation: minibatch 6: row 4: LabelMap: .* the label 3"):
        train(PROCESSES, test=test)


class Alone(LocalCluster):
    """A cluster of somebody's own, from before sessions were told what will be evaluated."""

    def session(self, factory, data, workers):
        return super().session(factory, data, workers)


class Told(LocalCluster):
    def session(self, *args, evaluate=None):
        assert evaluate is not None
        return super().session(*args)


def test_a_cluster_is_told_what_will_be_evaluated_if_it_takes_that():
    expected = [r.metrics for r in train(LocalCluster())]
    assert [r.metrics for r in train(Alone())] == expected
    assert [r.metrics for r in train(Told())] == expected


def other_weights(*, seed):
    return FACTORY(seed=seed if os.getpid() == ME else os.getpid())


def other_layers(*, seed):
    return MLP.factory((6,), 3, (5 + (os.getpid() != ME),))(seed=seed)


def test_an_error_that_is_told_keeps_its_facts_whatever_they_are_called():
    error = NetError("no such blob", blob="ip9")
    error.message = "of the net's own"
    again = raised(0, told(error))
    assert (type(again), str(again), again.blob) == (NetError, "no such blob", "ip9")
    missing = raised(0, told(MissingDependency("no torch", name="torch")))
    assert (type(missing), missing.name) == (MissingDependency, "torch")


def test_a_factory_that_makes_other_weights_in_each_worker_is_named():
    with pytest.raises(
        ClusterError, match=r"other weights in the worker of shard 1 than in that of shard 0, .* the seed"
    ):
        train(PROCESSES, other_weights)


def test_a_factory_that_makes_another_net_in_the_workers_is_named_with_the_layer():
    with pytest.raises(ClusterError, match=r"^shard \d: the factory makes another net .* layer 'ip1', array 0 is"):
        train(PROCESSES, other_layers)


@pytest.mark.parametrize("name", ["sparknet", "Python", "byte order"])
def test_another_version_in_a_worker_is_named(monkeypatch, name):
    monkeypatch.setattr(worker, "about", lambda: {**about(), name: "0.1"})
    with pytest.raises(ClusterError, match=rf"the worker of shard \d has {name} '0.1', the driver '{about()[name]}'"):
        train(PROCESSES)


def test_weights_that_a_bit_flips_in_on_the_way_to_a_worker_are_an_error(monkeypatch):
    original = session.dump_parts

    def damaged(given):
        parts = original(given)
        place = max(range(len(parts)), key=lambda at: len(parts[at]))
        if len(parts[place]) > 1 << 20:  # a smaller message is compared with its checksums in any case
            parts[place] = bytearray(parts[place])
            parts[place][12345] ^= 4
        return parts

    monkeypatch.setattr(session, "dump_parts", damaged)
    large = MLP.factory((6,), 200_000, learning_rate=0.1)
    columns = {"data": COLUMNS["data"][:4], "label": LABELS[:4]}
    with pytest.raises(FormatError, match="checksum"):
        next(averaged_sgd(large, pack(columns, FIELDS, 2), cluster=PROCESSES, workers=2, tau=1, rounds=1))


def test_a_round_counts_the_strangers_and_the_messages_that_changed_nothing(monkeypatch):
    def knocking(hub, *args, **options):
        before = hub.strangers
        with socket.create_connection(hub.address) as stranger:
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n" * 20)
            while hub.strangers == before:
                time.sleep(0.01)
        return round_(hub, *args, **options)

    round_ = Hub.round
    monkeypatch.setattr(Hub, "round", knocking)
    found = train(PROCESSES, rounds=2, evaluate=None)
    assert [(each.strangers, each.ignored) for each in found] == [(1, 0), (1, 0)]
    monkeypatch.undo()
    assert found[-1].weights == train(PROCESSES, rounds=2, evaluate=None)[-1].weights
