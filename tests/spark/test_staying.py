"""Sessions whose workers stay: how they open, let go of their slots, and start again."""

import logging
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from sparknet import Field, LocalCluster, SparkCluster, averaged_sgd
from sparknet import data as local
from sparknet.clusters.direct.session import DirectSession
from sparknet.clusters.spark.training import reaching, staying
from sparknet.clusters.spark.training.cluster import _SparkSession
from sparknet.clusters.spark.training.long_job import LongJob
from sparknet.nets import MLP
from sparknet.spark import pack
from sparknet.transport import Hub

pytestmark = pytest.mark.spark

X = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
ROWS = [(row, int(row.sum() > 0)) for row in X]
FIELDS = [Field("data", (4,)), Field("label", (), "int64")]
FACTORY = MLP.factory((4,), 2, (5,), learning_rate=0.1, momentum=0.9)
OPTIONS = {"workers": 2, "tau": 3, "rounds": 3, "seed": 3}


@pytest.fixture(scope="module")
def packed(spark):
    data = pack(spark.sparkContext.parallelize(ROWS, 2), FIELDS, 8)
    yield data
    data.unpersist()


@pytest.fixture(scope="module")
def expected():
    rounds = averaged_sgd(FACTORY, local.pack(ROWS, FIELDS, 8), cluster=LocalCluster(), **OPTIONS)
    return [each.weights for each in rounds]


@pytest.fixture
def ways(monkeypatch):
    """The kind of session that trained each round."""
    found = []
    for kind, name in ((DirectSession, "train_into"), (_SparkSession, "train")):
        train = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda self, *args, train=train: found.append(type(self)) or train(self, *args))
    return found


def tasks_of(context):
    tracker = context.statusTracker()
    infos = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    return sum(info.numActiveTasks for info in infos if info is not None)


def wait_until(is_so, seconds=200):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def trained(context, packed, cluster, *, job_after=()):
    """Return the weights of each round; after some of them a job of the caller's runs."""
    found = []
    for each in averaged_sgd(FACTORY, packed, cluster=cluster, **OPTIONS):
        found.append(each.weights)
        if each.index in job_after:
            assert context.parallelize(range(4), 2).sum() == 6
    return found


# ---- opening
@pytest.mark.parametrize("moment", ["the way is tried", "the job runs"])
def test_an_interrupt_while_the_workers_start_leaves_no_port_no_task_and_no_thread(
    spark, context, packed, expected, monkeypatch, moment
):
    hubs, before = [], threading.active_count()

    class Noted(Hub):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            hubs.append(self)

    def interrupted(*_):
        raise KeyboardInterrupt

    def interrupted_later(job, hub):
        start(job, hub)
        wait_until(lambda: tasks_of(context) == 2)
        raise KeyboardInterrupt

    start = LongJob.start
    monkeypatch.setattr(staying, "Hub", Noted)
    if moment == "the way is tried":
        monkeypatch.setattr(staying, "unreachable", interrupted)
    else:
        monkeypatch.setattr(LongJob, "start", interrupted_later)
    cluster = SparkCluster(spark, transport="direct")
    with pytest.raises(KeyboardInterrupt):
        trained(context, packed, cluster)
    (hub,) = hubs
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(hub.address)
    wait_until(lambda: tasks_of(context) == 0)
    wait_until(lambda: threading.active_count() <= before)
    monkeypatch.undo()
    assert trained(context, packed, cluster) == expected


def test_another_interrupt_while_a_session_ends_ends_its_job_too():
    ended = []

    def interrupted(_reason):
        raise KeyboardInterrupt

    workers = object.__new__(staying._Workers)
    workers.hub = SimpleNamespace(close=interrupted)
    workers.session = SimpleNamespace(close=lambda: None)
    workers.job = SimpleNamespace(end=lambda: ended.append("job"))
    with pytest.raises(KeyboardInterrupt):
        workers.close("the driver ended: KeyboardInterrupt")
    assert ended == ["job"]


def test_what_tries_the_way_to_the_driver_is_not_counted_in_the_first_round(spark, packed, monkeypatch):
    ignored, tried = Hub.ignored.fget, []
    monkeypatch.setattr(reaching, "is_local", lambda _: False)  # so that tasks try it
    monkeypatch.setattr(staying, "unreachable", lambda *args: tried.append(1) or reaching.unreachable(*args))
    # As many as a hub has heard of when the way was tried, however late it hears of the last one.
    monkeypatch.setattr(Hub, "ignored", property(lambda hub: ignored(hub) + 7 * len(tried)))
    rounds = list(averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="direct"), **OPTIONS))
    assert tried == [1]
    assert rounds[0].ignored < 7


# ---- a job of the caller's that waits
@pytest.mark.parametrize("short", ["", "the driver needs 9 GiB: raise it"])
def test_auto_stays_with_its_workers_where_a_job_for_each_round_lacks_memory(
    spark, context, packed, expected, ways, monkeypatch, caplog, short
):
    asked = []
    monkeypatch.setattr(staying, "memory_lacking", lambda _, *args: asked.append(args) or short)
    assert trained(context, packed, SparkCluster(spark), job_after=[0, 1]) == expected
    assert ways == [DirectSession, *[DirectSession if short else _SparkSession] * 2]
    net = FACTORY(seed=0)
    one = net.get_weights().nbytes + sum(array.nbytes for array in net.get_state().values())
    assert set(asked) == {(2, one, one)}
    (line,) = (each for each in caplog.messages if each.startswith("another job waits for the task slots"))
    if short:
        assert (
            f"start again for the next round, which takes seconds, because a job for each round needs more memory: {short}. G"
            in line
        )
        assert "transport='spark'" not in line
    else:
        assert "from now on each round is a job of its own" in line


def test_the_state_that_does_not_travel_counts_for_a_job_for_each_round(packed, spark, monkeypatch):
    sizes = []
    train = staying.Staying.train_into

    def noting(session, *args):
        collected = train(session, *args)
        sizes.append(session._sizes)
        return collected

    monkeypatch.setattr(staying.Staying, "train_into", noting)
    list(averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark), solver_state="reset", **OPTIONS))
    net = FACTORY(seed=0)
    one = net.get_weights().nbytes + sum(array.nbytes for array in net.get_state().values())
    assert {result for _, result in sizes} == {one}


def test_auto_goes_on_with_jobs_where_its_workers_cannot_start_again(
    spark, context, packed, expected, ways, monkeypatch, caplog
):
    monkeypatch.setattr(staying, "memory_lacking", lambda *_: "more" if context_is_busy else "")
    context_is_busy = True  # so that the workers are to start again
    starts, too_few = [], staying.too_few_cores

    def too_few_cores(*args):
        starts.append(1)
        nonlocal context_is_busy
        context_is_busy = len(starts) < 3
        return too_few(*args) if len(starts) == 1 else "there is no room"

    monkeypatch.setattr(staying, "too_few_cores", too_few_cores)
    assert trained(context, packed, SparkCluster(spark), job_after=[0]) == expected
    assert ways == [DirectSession, _SparkSession, _SparkSession]
    assert len(starts) == 3
    assert "from now on each round is a job of its own, which takes longer: there is no room" in caplog.messages


# ---- what the workers cannot evaluate
def test_an_evaluation_that_the_workers_cannot_do_does_not_wait_for_their_own_tasks(spark, packed, monkeypatch, caplog):
    monkeypatch.setattr(reaching, "_PATIENCE", 10.0**6)  # who waits for them does so until the test is ended
    weights = FACTORY(seed=1).get_weights()
    with (
        LocalCluster().session(FACTORY, local.pack(ROWS, FIELDS, 8), 2) as here,
        SparkCluster(spark, transport="direct").session(FACTORY, packed, 2) as there,
        caplog.at_level(logging.WARNING),
    ):
        metrics = here.evaluate(weights, local.pack(ROWS, FIELDS, 8))
        assert [there.evaluate(weights, packed) for _ in range(3)] == [metrics] * 3
    (line,) = caplog.messages
    assert line.startswith("a job of its own evaluates what the workers of this training do not have")


def test_a_slot_is_free_only_beside_all_workers_also_those_that_have_not_started(context, monkeypatch):
    assert reaching.has_room(context, 1)
    assert not reaching.has_room(context, 2)
    monkeypatch.setattr(reaching, "_running", lambda _: 2)
    assert not reaching.has_room(context, 1)
