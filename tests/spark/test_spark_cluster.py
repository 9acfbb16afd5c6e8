"""SparkCluster: the bits of LocalCluster, everything released, errors as themselves, killed workers."""

import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import sparknet
from sparknet import ClusterError, DataError, Field, LocalCluster, NetError, SparkCluster, averaged_sgd
from sparknet import data as local
from sparknet.clusters.direct.alike import about
from sparknet.clusters.spark.training import cluster, tasks
from sparknet.data.preprocess import Compose, LabelMap, Mirror, Scale
from sparknet.errors import TrainingError
from sparknet.nets import MLP
from sparknet.spark import pack

pytestmark = pytest.mark.spark

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 200)
IMAGES = (RNG.integers(0, 100, (200, 1, 3, 3)) + LABELS[:, None, None, None] * 50).astype(np.uint8)
FIELDS = [Field("data", (1, 3, 3), "uint8"), Field("label", (), "int64")]
STEPS = Compose(Scale("data", 1 / 256), Mirror("data"))
FACTORY = MLP.factory((1, 3, 3), 3, (6,), learning_rate=0.1)
OPTIONS = {"tau": 7, "rounds": 4, "seed": 3}


def rows():
    return list(zip(IMAGES, LABELS.tolist(), strict=True))


@pytest.fixture(scope="module")
def packed(spark):
    data = pack(spark.sparkContext.parallelize(rows(), 3), FIELDS, 9, STEPS, shuffle=5)
    yield data
    data.unpersist()


@pytest.fixture(scope="module")
def in_memory():
    return local.pack(rows(), FIELDS, 9, STEPS, shuffle=5)


def last(rounds):
    *_, result = rounds
    return result


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("policy", ["average", "local", "reset"])
def test_the_same_bits_as_in_one_process(spark, packed, in_memory, workers, policy):
    options = {**OPTIONS, "workers": workers, "solver_state": policy}
    there = last(averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark), evaluate=(packed, 4), **options))
    here = last(averaged_sgd(FACTORY, in_memory, cluster=LocalCluster(), evaluate=(in_memory, 4), **options))
    assert there.weights == here.weights
    assert there.metrics == here.metrics
    assert (there.loss, there.steps, there.examples) == (here.loss, here.steps, here.examples)
    assert there.bytes_down > 0
    assert there.bytes_up > 0


def test_the_default_is_a_worker_a_shard(spark, packed):
    assert len(next(averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark), tau=1, rounds=1)).seconds.train) == 3


def test_everything_broadcast_and_resharded_is_released(spark, context, packed):
    def files():
        return {p for p in Path(context._temp_dir).rglob("*") if p.is_file()}

    def blocks():
        return set(context._jsc.getPersistentRDDs())

    before = files(), blocks()
    rounds = averaged_sgd(
        FACTORY, packed, cluster=SparkCluster(spark, transport="spark"), workers=2, evaluate=(packed, 1), **OPTIONS
    )
    for _ in rounds:
        assert len(blocks()) == len(before[1]) + 1  # resharded from 3 to 2
    assert (files(), blocks()) == before
    rounds = averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="spark"), workers=2, **OPTIONS)
    next(rounds)
    rounds.close()  # the caller breaks off
    assert (files(), blocks()) == before


def test_a_mistake_in_the_data_arrives_as_itself_and_the_cluster_lives(spark, context):
    labels = LABELS.copy()
    labels[103] = 3  # in the minibatch 10: number 5 of shard 0, and a later one than that checked on the driver
    data = pack(context.parallelize(list(zip(IMAGES, labels.tolist(), strict=True)), 2), FIELDS, 10)
    with pytest.raises(NetError, match=r"^shard 0: minibatch 5: .* whole numbers in \[0, 3\)"):
        last(averaged_sgd(FACTORY, data, cluster=SparkCluster(spark), tau=10, rounds=1))
    # not above: workers import this module, and have no path to that one
    from without_steps import rounds_without_steps

    evaluated = pytest.raises(NetError, match=r"^shard 0: evaluation: minibatch 5: .* whole numbers in \[0, 3\)")
    with rounds_without_steps(), evaluated:
        next(averaged_sgd(FACTORY, data, cluster=SparkCluster(spark), tau=0, rounds=1, evaluate=(data, 1)))
    mapped = replace(data, preprocessor=Compose(STEPS, LabelMap("label", {0: 0, 1: 1, 2: 2})))
    with pytest.raises(DataError, match=r"^shard 0: minibatch 5: row 3: LabelMap: .* the label 3"):
        last(averaged_sgd(FACTORY, mapped, cluster=SparkCluster(spark), tau=10, rounds=1))
    mapped.unpersist()
    assert context.parallelize([1, 2]).sum() == 3


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("policy", ["average", "local"])
def test_a_worker_that_diverges_is_named_or_left_out_as_in_one_process(spark, context, policy):
    fields = [Field("data", (2,)), Field("label", (), "int64")]
    values = RNG.normal(size=(60, 2)).astype(np.float32)
    ours = local.pack({"data": values, "label": LABELS[:60]}, fields, 5)
    for i in range(4):  # the products of these overflow
        ours.shard(2, 3)[i]["data"][...] = 3e38
    values = np.concatenate([batch["data"].to_host() for batch in ours.batches])
    numbers = list(zip(values, LABELS[:60].tolist(), strict=True))
    there, here = pack(context.parallelize(numbers, 3), fields, 5), local.pack(numbers, fields, 5)
    both = [(SparkCluster(spark), there), (LocalCluster(), here)]
    options = {"workers": 3, "tau": 4, "rounds": 2, "seed": 3, "solver_state": policy}
    train = partial(averaged_sgd, MLP.factory((2,), 3, (4,), momentum=0.9), **options)
    left = [last(train(data, cluster=where, on_nonfinite="leave_out")) for where, data in both]
    assert left[0].weights == left[1].weights
    assert [result.workers for result in left] == [(0, 1)] * 2
    said = []
    for where, data in both:
        with pytest.raises(
            TrainingError, match=r"^round 0: worker 2: the loss .* layer 'ip1', array 0 holds"
        ) as raised:
            last(train(data, cluster=where))
        said.append(str(raised.value))
    assert said[0] == said[1]
    there.unpersist()


@pytest.mark.parametrize("policy", ["average", "local"])
def test_a_training_broken_off_on_spark_goes_on_there_or_elsewhere_with_the_same_bits(
    spark, packed, in_memory, tmp_path, policy
):
    options = {"workers": 2, "tau": 7, "seed": 3, "solver_state": policy}
    on_spark = partial(averaged_sgd, FACTORY, packed, cluster=SparkCluster(spark), **options)
    in_process = partial(averaged_sgd, FACTORY, in_memory, cluster=LocalCluster(), **options)
    there = [r.weights for rounds in (1, 3) for r in on_spark(rounds=rounds, checkpoint=tmp_path)]
    there += [r.weights for r in in_process(rounds=4, checkpoint=tmp_path)]
    assert there == [r.weights for r in in_process(rounds=4)]


def test_a_training_goes_on_there_with_another_number_of_workers_as_it_does_elsewhere(
    spark, packed, in_memory, tmp_path
):
    options = {"tau": 7, "seed": 3}
    list(
        averaged_sgd(
            FACTORY, packed, cluster=SparkCluster(spark), workers=2, rounds=1, checkpoint=tmp_path / "a", **options
        )
    )
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    one = packed.reshard(1)
    options |= {"workers": 1, "rounds": 2}
    (there,) = averaged_sgd(FACTORY, one, cluster=SparkCluster(spark), checkpoint=tmp_path / "a", **options)
    (here,) = averaged_sgd(FACTORY, in_memory, cluster=LocalCluster(), checkpoint=tmp_path / "b", **options)
    assert there.weights == here.weights
    one.unpersist()


class Killed(MLP):
    """Kills its own process, with no chance to clean up, at one step; once, as a file remembers."""

    def __init__(self, *args, marker, **options):
        super().__init__(*args, **options)
        self._marker = Path(marker)

    def step(self, batch):
        if self.iteration == 10 and os.environ.get("SPARK_ENV_LOADED") and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(batch)


def test_a_worker_killed_in_mid_round_changes_no_bit(spark, packed, in_memory, tmp_path):
    marker = tmp_path / "killed"
    fatal = KilledFactory(marker)
    there = last(averaged_sgd(fatal, packed, cluster=SparkCluster(spark), workers=2, **OPTIONS))
    assert marker.exists()
    here = last(averaged_sgd(FACTORY, in_memory, cluster=LocalCluster(), workers=2, **OPTIONS))
    assert there.weights == here.weights


class KilledFactory:
    """Makes a Killed; knows how to travel to a worker that has not imported this file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __call__(self, *, seed=0):
        return Killed((1, 3, 3), 3, (6,), learning_rate=0.1, seed=seed, marker=self.marker)


class Broken(MLP):
    """A net with a fault of its own."""

    def step(self, _batch):
        raise ZeroDivisionError("a fault in the net")


def broken(*, seed=0):
    return Broken((1, 3, 3), 3, seed=seed)


def test_a_fault_in_the_net_is_a_cluster_error_that_names_it(spark, packed):
    with pytest.raises(
        ClusterError, match=r"shard \d, step 1 of its round, minibatch \d+: ZeroDivisionError: a fault in the net"
    ):
        last(averaged_sgd(broken, packed, cluster=SparkCluster(spark), **OPTIONS))


class Locked(Scale):
    """A preprocessor, and a factory, that holds what cannot be sent to the executors."""

    def __init__(self):
        super().__init__("data", 1 / 256)
        object.__setattr__(self, "lock", threading.Lock())

    def make(self, *, seed=0):
        return FACTORY(seed=seed)


def test_what_cannot_be_sent_to_the_executors_is_named_and_the_session_lives(spark, context, packed):
    locked = replace(packed, preprocessor=Locked())
    train = partial(averaged_sgd, cluster=SparkCluster(spark), workers=2, **OPTIONS)
    what = r"\(Locked\) cannot be sent to the executors: TypeError: cannot pickle '_thread.lock' object; .* made there"
    with pytest.raises(DataError, match=rf"^the preprocessor {what}"):
        last(train(FACTORY, locked))
    with pytest.raises(DataError, match=rf"^the preprocessor {what}"):
        last(train(FACTORY, packed, evaluate=(locked, 1)))
    with pytest.raises(DataError, match=r"^the factory \(method\) cannot be sent"):
        last(train(Locked().make, packed))
    assert context.parallelize([1, 2]).map(str).collect() == ["1", "2"]  # a task of another's
    last(train(FACTORY, packed))


def test_a_preprocessor_is_pickled_for_the_check_once_a_session(spark, packed, monkeypatch):
    seen = []
    monkeypatch.setattr(cluster, "pickled", lambda what, value: seen.append((what, value)))
    other = replace(packed, preprocessor=Scale("data", 1 / 256))
    last(averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark), evaluate=(other, 1), **OPTIONS))
    assert seen == [("the factory", FACTORY), ("the preprocessor", STEPS), ("the preprocessor", other.preprocessor)]


class Late(MLP):
    """Has no history before its first step, as solvers that make it then."""

    def get_state(self):
        return {name: a for name, a in super().get_state().items() if name == "iteration" or a.to_host().any()}

    def set_state(self, state):
        super().set_state({**FACTORY(seed=0).get_state(), **state})


def late(*, seed=0):
    return Late((1, 3, 3), 3, (6,), learning_rate=0.1, seed=seed)


@pytest.mark.parametrize("policy", ["average", "local"])
def test_a_solver_that_makes_its_history_at_its_first_step_gives_the_same_bits(spark, packed, policy):
    options = {**OPTIONS, "rounds": 2, "solver_state": policy}
    runs = [averaged_sgd(make, packed, cluster=SparkCluster(spark), **options) for make in (late, FACTORY)]
    assert last(runs[0]).weights == last(runs[1]).weights


def test_data_packed_on_spark_can_be_trained_on_in_this_process(packed, in_memory):
    collected = last(averaged_sgd(FACTORY, packed, cluster=LocalCluster(), evaluate=(packed, 4), **OPTIONS))
    here = last(averaged_sgd(FACTORY, in_memory, cluster=LocalCluster(), workers=3, evaluate=(packed, 4), **OPTIONS))
    assert collected.weights == here.weights
    assert collected.metrics == here.metrics


def test_wrong_kinds_of_data_and_of_sessions_are_named(spark, in_memory):
    with pytest.raises(DataError, match=r"expected what sparknet.spark.pack\(...\) returns"):
        averaged_sgd(FACTORY, in_memory, cluster=SparkCluster(spark))
    with pytest.raises(ClusterError, match="expected a SparkSession or SparkContext"):
        SparkCluster("local[2]")


class Apart:
    """Makes a net in each worker once two of them are there: in each process another one, or all of them another one than here."""

    def __init__(self, folder, *, weights_differ):
        self.folder, self.weights_differ, self.driver = str(folder), weights_differ, os.getpid()

    def __call__(self, *, seed=0):
        if os.getpid() == self.driver:
            return FACTORY(seed=seed)
        if not self.weights_differ:
            return MLP.factory((1, 3, 3), 3, (7,))(seed=seed)
        Path(self.folder, str(os.getpid())).touch()
        until = time.monotonic() + 200
        while len(list(Path(self.folder).iterdir())) < 2:
            assert time.monotonic() < until
            time.sleep(0.02)
        return FACTORY(seed=os.getpid())


@pytest.mark.parametrize("weights_differ", [True, False])
def test_a_factory_that_makes_another_net_elsewhere_is_named_where_a_round_is_a_job(
    spark, packed, tmp_path, weights_differ
):
    by_jobs = SparkCluster(spark, transport="spark")
    said = "makes other weights in the worker of shard 1 than in that of shard 0, from the same seed=0"
    if not weights_differ:
        said = r"^shard 0: the factory makes another net in this worker than on the driver: layer 'ip1', array 0"
    with pytest.raises(ClusterError, match=said):
        next(averaged_sgd(Apart(tmp_path, weights_differ=weights_differ), packed, cluster=by_jobs, workers=2, tau=1))


def test_another_version_on_an_executor_is_named_where_a_round_is_a_job(spark, packed, monkeypatch):
    monkeypatch.setattr(cluster, "about", lambda: {**about(), "sparknet": "0.0"})
    with pytest.raises(ClusterError, match=rf"shard 0 has sparknet '{sparknet.__version__}', the driver '0.0'"):
        next(averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="spark"), workers=2, tau=1))


def test_another_version_on_an_executor_is_named_where_an_evaluation_is_a_job():
    options = {"run": "", "factory": FACTORY, "parcel": None, "preprocessor": None, "even": None}
    (error,) = tasks.evaluate_partition(1, iter(()), about={**about(), "sparknet": "0.0"}, **options)
    assert isinstance(error, ClusterError)
    assert f"shard 1 has sparknet '{sparknet.__version__}', the driver '0.0'" in str(error)
