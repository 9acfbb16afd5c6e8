"""Training whose workers stay: tasks of one long job, connected to the driver. The bits are those of all other ways."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sparknet import ClusterError, DataError, Field, LocalCluster, NetError, SparkCluster, averaged_sgd
from sparknet import data as local
from sparknet.clusters.direct.session import DirectSession
from sparknet.clusters.spark.training import reaching, staying
from sparknet.clusters.spark.training.cluster import _SparkSession
from sparknet.clusters.spark.training.plan import SessionPlan
from sparknet.data.preprocess import Compose, Mirror, Scale
from sparknet.nets import MLP
from sparknet.spark import pack
from sparknet.transport import Hello, Limits
from sparknet.transport.faults import JOB_FAILED, MAKES_ROOM

pytestmark = pytest.mark.spark

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 200)
IMAGES = (RNG.integers(0, 100, (200, 1, 3, 3)) + LABELS[:, None, None, None] * 50).astype(np.uint8)
ROWS = list(zip(IMAGES, LABELS.tolist(), strict=True))
FIELDS = [Field("data", (1, 3, 3), "uint8"), Field("label", (), "int64")]
STEPS = Compose(Scale("data", 1 / 256), Mirror("data"))
FACTORY = MLP.factory((1, 3, 3), 3, (6,), learning_rate=0.1, momentum=0.9)
OPTIONS = {"tau": 7, "rounds": 4, "seed": 3, "workers": 2}
IN_MEMORY = local.pack(ROWS, FIELDS, 9, STEPS, shuffle=5)


@pytest.fixture(scope="module")
def packed(spark):
    data = pack(spark.sparkContext.parallelize(ROWS, 3), FIELDS, 9, STEPS, shuffle=5)
    yield data
    data.unpersist()


@pytest.fixture(scope="module")
def test_set(spark):
    data = pack(spark.sparkContext.parallelize(ROWS[:70], 1), FIELDS, 11, Scale("data", 1 / 256))
    yield data
    data.unpersist()


@pytest.fixture
def direct(spark, monkeypatch):
    """A cluster on which a job for a round is an error."""
    monkeypatch.setattr(_SparkSession, "train", None)
    return SparkCluster(spark, transport="direct")


@pytest.fixture(params=["star", "sliced"])
def either(spark, monkeypatch, request):
    """The same, whoever combines."""
    monkeypatch.setattr(_SparkSession, "train", None)
    return SparkCluster(spark, transport="direct", aggregation=request.param)


def facts(rounds):
    return [(r.weights, r.loss, r.metrics, r.steps, r.examples) for r in rounds]


def tasks_of(context):
    """Return how many tasks run, as Spark has it; it hears of them a little later."""
    tracker = context.statusTracker()
    infos = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    return sum(info.numActiveTasks for info in infos if info is not None)


def wait_until(is_so, seconds=200):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("policy", ["average", "local", "reset"])
def test_the_bits_are_those_of_one_process_and_of_a_job_for_each_round(spark, packed, either, policy, monkeypatch):
    options = {**OPTIONS, "solver_state": policy}
    there = facts(averaged_sgd(FACTORY, packed, cluster=either, evaluate=(packed, 2), **options))
    assert there == facts(averaged_sgd(FACTORY, IN_MEMORY, cluster=LocalCluster(), evaluate=(IN_MEMORY, 2), **options))
    monkeypatch.undo()
    with_jobs = SparkCluster(spark, transport="spark")
    assert there == facts(averaged_sgd(FACTORY, packed, cluster=with_jobs, evaluate=(packed, 2), **options))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_workers_evaluate_data_of_any_number_of_shards(packed, test_set, direct, workers, monkeypatch):
    monkeypatch.setattr(_SparkSession, "evaluate", None)
    options = {**OPTIONS, "workers": workers}
    there = averaged_sgd(FACTORY, packed, cluster=direct, evaluate=(test_set, 1), **options)
    here = averaged_sgd(
        FACTORY,
        IN_MEMORY,
        cluster=LocalCluster(),
        evaluate=(local.pack(ROWS[:70], FIELDS, 11, test_set.preprocessor), 1),
        **options,
    )
    assert facts(there) == facts(here)


def test_nothing_is_left_and_the_cores_are_free_when_the_training_ends(context, packed, test_set, either):
    def files():
        return {p for folder in scratch for p in Path(folder).rglob("*") if "blockmgr" not in str(p)}

    scratch = context.parallelize([0]).map(lambda _: os.environ["SPARK_LOCAL_DIRS"].split(",")).first()
    before = files(), set(context._jsc.getPersistentRDDs()), threading.active_count()
    for each in averaged_sgd(FACTORY, packed, cluster=either, evaluate=(test_set, 1), **OPTIONS):
        wait_until(lambda: tasks_of(context) == 2)
        if each.index == 1:
            break
    wait_until(lambda: tasks_of(context) == 0)
    assert context.parallelize(range(4), 2).sum() == 6
    assert (files(), set(context._jsc.getPersistentRDDs())) == before[:2]
    wait_until(lambda: threading.active_count() <= before[2])


class Deadly:
    """Makes a net that does something to its process at one step; once, as a file remembers."""

    def __init__(self, marker, number):
        self.marker, self.number = str(marker), number

    def __call__(self, *, seed=0):
        net = FACTORY(seed=seed)
        step = net.step

        def stepping(batch):
            if net.iteration == 10 and "SPARK_ENV_LOADED" in os.environ:
                try:
                    os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return step(batch)
                os.kill(os.getpid(), self.number)
            return step(batch)

        net.step = stepping
        return net


def test_a_worker_killed_in_mid_round_changes_no_bit(packed, test_set, either, tmp_path):
    fatal = Deadly(tmp_path / "killed", signal.SIGKILL)
    there = facts(averaged_sgd(fatal, packed, cluster=either, evaluate=(test_set, 2), **OPTIONS))
    assert (tmp_path / "killed").exists()
    assert [f[0] for f in there] == [
        r.weights for r in averaged_sgd(FACTORY, IN_MEMORY, cluster=LocalCluster(), **OPTIONS)
    ]


def test_a_worker_that_was_stopped_is_replaced(packed, either, tmp_path, monkeypatch):
    monkeypatch.setattr(SessionPlan, "limits", Limits(beat=0.5, silence=6.0))
    stopped = Deadly(tmp_path / "stopped", signal.SIGSTOP)
    there = facts(averaged_sgd(stopped, packed, cluster=either, **OPTIONS))
    assert (tmp_path / "stopped").exists()
    assert there == facts(averaged_sgd(FACTORY, IN_MEMORY, cluster=LocalCluster(), **OPTIONS))


class Broken(MLP):
    def step(self, _batch):
        raise ZeroDivisionError("a fault in the net")


def test_an_error_of_a_worker_is_raised_once_with_its_place(context, packed, direct):
    place = r"^shard \d, step 1 of its round, minibatch \d+: ZeroDivisionError: a fault in the net"
    with pytest.raises(ClusterError, match=place) as raised:
        list(averaged_sgd(Broken.factory((1, 3, 3), 3), packed, cluster=direct, **OPTIONS))
    assert "in step" in raised.value.traceback
    labels = LABELS.copy()
    labels[103] = 3
    data = pack(context.parallelize(list(zip(IMAGES, labels.tolist(), strict=True)), 2), FIELDS, 10)
    with pytest.raises(NetError, match=r"^shard 0: minibatch 5: .* whole numbers in \[0, 3\)"):
        list(averaged_sgd(FACTORY, data, cluster=direct, tau=10, rounds=1))
    # not above: workers import this module, and have no path to that one
    from without_steps import rounds_without_steps

    evaluated = pytest.raises(NetError, match=r"^shard 0: evaluation: minibatch 5: .* whole numbers in \[0, 3\)")
    with rounds_without_steps(), evaluated:
        list(averaged_sgd(FACTORY, data, cluster=direct, tau=0, rounds=1, evaluate=(data, 1)))
    data.unpersist()
    wait_until(lambda: tasks_of(context) == 0)


def test_more_workers_than_cores_are_an_error_of_direct_and_a_warning_of_auto(
    spark, packed, direct, caplog, monkeypatch
):
    options = {**OPTIONS, "workers": 3}
    with pytest.raises(
        ClusterError, match=r"3 workers need as many task slots, and Spark has 2: start it with more cores"
    ):
        list(averaged_sgd(FACTORY, packed, cluster=direct, **options))
    monkeypatch.undo()
    with caplog.at_level(logging.WARNING):
        there = facts(averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="auto"), **options))
    (line,) = [r.getMessage() for r in caplog.records if "workers need" in r.getMessage()]
    assert "each round is a job of its own" in line
    assert there == facts(averaged_sgd(FACTORY, IN_MEMORY, cluster=LocalCluster(), **options))


def test_a_job_of_the_callers_gets_the_cores_between_two_rounds(context, packed, direct, caplog):
    found = []
    for each in averaged_sgd(FACTORY, packed, cluster=direct, **OPTIONS):
        found.append(each)
        if each.index in (0, 2):
            assert context.parallelize(range(4), 2).sum() == 6
    assert facts(found) == facts(averaged_sgd(FACTORY, IN_MEMORY, cluster=LocalCluster(), **OPTIONS))
    assert len([r for r in caplog.records if "another job waits for the task slots" in r.getMessage()]) == 1


def test_a_job_of_the_callers_makes_auto_go_on_with_a_job_for_each_round(spark, context, packed, monkeypatch):
    ways = []
    for kind, name in ((DirectSession, "train_into"), (_SparkSession, "train")):
        train = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda self, *args, train=train: ways.append(type(self)) or train(self, *args))
    found = []
    for each in averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="auto"), **OPTIONS):
        found.append(each)
        if each.index == 1:
            assert context.parallelize(range(4), 2).sum() == 6
    assert ways == [DirectSession, DirectSession, _SparkSession, _SparkSession]
    assert facts(found) == facts(averaged_sgd(FACTORY, IN_MEMORY, cluster=LocalCluster(), **OPTIONS))


def test_an_address_that_executors_do_not_reach_and_encryption_that_is_not_installed_are_named(
    spark, packed, monkeypatch
):
    monkeypatch.setattr(reaching, "is_local", lambda _: False)  # so that a task tries it
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    monkeypatch.setattr(staying, "address_of", lambda *_: ("127.0.0.1", "127.0.0.2", port))
    away = SparkCluster(spark, transport="direct")
    with pytest.raises(
        ClusterError, match=rf"2 of 2 tasks did not reach the driver at 127.0.0.2:{port}: .* give address="
    ):
        next(averaged_sgd(FACTORY, packed, cluster=away, **OPTIONS))
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ClusterError, match=r"transport='direct' is not possible: .*sparknet\[tls\]"):
        next(averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="direct", encrypt=True), **OPTIONS))


class Signing:
    """Makes a net whose steps leave the number of their process in a folder."""

    def __init__(self, folder):
        self.folder, self.driver = str(folder), os.getpid()

    def __call__(self, *, seed=0):
        net = FACTORY(seed=seed)
        step = net.step

        def signing(batch):
            if os.getpid() != self.driver:
                (Path(self.folder) / str(os.getpid())).touch()
            return step(batch)

        net.step = signing
        return net


def test_rounds_end_without_a_worker_that_is_stopped_and_a_replay_has_the_same_bits(packed, direct, tmp_path):
    rounds, options = [], {**OPTIONS, "rounds": 8}
    stopped = None
    try:
        for each in averaged_sgd(
            Signing(tmp_path), packed, cluster=direct, min_workers=1, evaluate=(packed, 4), **options
        ):
            rounds.append(each)
            if stopped is None:
                stopped = int(next(tmp_path.iterdir()).name)
                os.kill(stopped, signal.SIGSTOP)
        absent = rounds[-1].decided.absent
        assert len(absent) == 1
        assert all(each.decided.absent == absent for each in rounds[3:])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stopped, signal.SIGKILL)
    again = averaged_sgd(FACTORY, IN_MEMORY, cluster=LocalCluster(), replay=rounds, evaluate=(IN_MEMORY, 4), **options)
    assert facts(again) == facts(rounds)


@pytest.mark.parametrize("transport", ["direct", "spark"])
@pytest.mark.parametrize("limit", [{"tau": 0, "max_seconds": 0.1}, {"max_seconds": "auto"}])
def test_rounds_that_a_clock_ends_are_replayed_in_memory_to_the_same_bits(spark, packed, transport, limit):
    cluster = SparkCluster(spark, transport=transport)
    rounds = list(averaged_sgd(FACTORY, packed, cluster=cluster, **{**OPTIONS, **limit}))
    assert all(steps >= 1 for each in rounds for steps in each.decided.worker_steps)
    first, *others = (each.decided.max_seconds for each in rounds)
    if limit["max_seconds"] == "auto":
        assert first is None
        assert all(each > 0 for each in others)
    else:
        assert {first, *others} == {0.1}
    again = averaged_sgd(FACTORY, IN_MEMORY, cluster=LocalCluster(), replay=rounds, **OPTIONS)
    assert facts(again) == facts(rounds)


def test_a_job_for_each_round_waits_for_all_and_the_log_says_so_once(spark, packed, caplog):
    rounds = list(
        averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="spark"), min_workers=1, **OPTIONS)
    )
    assert [each.workers for each in rounds] == [(0, 1)] * OPTIONS["rounds"]
    (said,) = (text for text in caplog.messages if "min_workers" in text)
    assert said.startswith(
        "min_workers=1 has no effect: each round is a Spark job, which ends with its last task; transport="
    )


@pytest.mark.parametrize("options", [{"aggregation": "ring"}, {"aggregation": "sliced", "transport": "spark"}])
def test_an_aggregation_that_is_not_possible_is_named(spark, options):
    with pytest.raises(DataError, match=r"^SparkCluster: aggregation="):
        SparkCluster(spark, **options)


def test_a_transport_that_does_not_exist_is_named(spark):
    with pytest.raises(DataError, match=r"transport='udp'; expected 'auto', 'direct' or 'spark'"):
        SparkCluster(spark, transport="udp")


def test_a_job_that_fails_is_not_counted_as_silence_of_its_workers():
    killed, failed = [], []
    workers = object.__new__(staying._Workers)
    workers._drops = {}
    workers.job = SimpleNamespace(kill=lambda attempt, _: killed.append(attempt))
    workers.hub = SimpleNamespace(fail=failed.append)
    hello = Hello(0, {staying.ATTEMPT: "5"})
    silent = "it has said nothing for 60 s"
    for reason in silent, silent, JOB_FAILED, JOB_FAILED, MAKES_ROOM:
        workers._dropped(hello, reason)
    assert (killed, failed) == (["5"] * 3, [])  # the tasks of a job that has failed are gone
    workers._dropped(hello, silent)
    assert "was given up 3 times without a round that ended, the last time because it has said" in str(failed[0])
