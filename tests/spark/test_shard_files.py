"""The files of shards: a shard goes through the pipe once, and whatever happens to its file, the bits stay the same."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sparknet import ClusterError, Field, FormatError, LocalCluster, SparkCluster, averaged_sgd
from sparknet import data as local
from sparknet.clusters.direct.alike import about
from sparknet.clusters.spark.jobs.local_files import local_directories
from sparknet.clusters.spark.packed import shard_files
from sparknet.clusters.spark.packed.files_of_shards import name_of
from sparknet.clusters.spark.training.tasks import train_partition
from sparknet.clusters.spark.workers.transport import SparkParcel
from sparknet.data.preprocess import Scale
from sparknet.nets import MLP
from sparknet.serialization import dumps, loads
from sparknet.spark import pack
from sparknet.worker import Task

pytestmark = pytest.mark.spark

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 120)
POINTS = RNG.normal(size=(120, 4)).astype(np.float32) + LABELS[:, None]
FIELDS = [Field("data", (4,)), Field("label", (), "int64")]
FACTORY = MLP.factory((4,), 3, (5,), learning_rate=0.1)
OPTIONS = {"tau": 3, "rounds": 4, "seed": 3, "workers": 2}


def rows():
    return list(zip(POINTS, LABELS.tolist(), strict=True))


@pytest.fixture
def packed(context):
    data = pack(context.parallelize(rows(), 3), FIELDS, 5, shards=2)
    yield data
    data.unpersist()


@pytest.fixture(scope="module")
def expected():
    *_, last = averaged_sgd(FACTORY, local.pack(rows(), FIELDS, 5), cluster=LocalCluster(), **OPTIONS)
    return last.weights


def files(context):
    """The files that shards are kept in, as the executor sees them."""

    def found(_):
        yield from (str(path) for d in local_directories() for path in d.glob("sparknet-*/*"))

    return sorted(map(Path, context.parallelize([0], 1).mapPartitions(found).collect()))


@pytest.fixture(autouse=True)
def _no_files_of_other_tests(context):
    for path in files(context):
        path.unlink()


# ---- a round's cost
@pytest.mark.parametrize("sampling", ["epoch", "window"])
def test_the_minibatches_of_a_run_go_through_the_pipe_once(spark, context, packed, expected, sampling):
    piped = context.accumulator(0)

    def watched(item):
        piped.add(1)
        return item

    data = replace(packed, rdd=packed.rdd.map(watched))
    before = piped.value
    for _ in range(2):  # the second run finds the files of the first
        run = averaged_sgd(FACTORY, data, cluster=SparkCluster(spark, transport="spark"), sampling=sampling, **OPTIONS)
        read = [piped.value - before for _ in run]
        *_, there = averaged_sgd(
            FACTORY, data, cluster=SparkCluster(spark, transport="spark"), sampling=sampling, **OPTIONS
        )
    first = 1  # the driver tries the net on the first minibatch of each run
    assert packed.num_batches <= read[0] <= packed.num_batches + 4 * first
    assert read == [read[0]] * 4
    here = local.pack(rows(), FIELDS, 5)
    *_, same = averaged_sgd(FACTORY, here, cluster=LocalCluster(), sampling=sampling, **OPTIONS)
    assert there.weights == same.weights
    assert sampling != "epoch" or same.weights == expected
    data.unpersist()


# ---- what may become of a file
def remove(path):
    path.unlink()


def shorten(path):
    path.write_bytes(path.read_bytes()[:-9])


def empty(path):
    path.write_bytes(b"")


def damage(path):
    content = bytearray(path.read_bytes())
    for i in range(len(content) // 2):  # minibatches, but not the table at the end
        content[i] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("harm", [remove, shorten, empty, damage])
def test_a_file_that_is_gone_or_damaged_is_written_again_and_changes_no_bit(spark, context, packed, expected, harm):
    for result in averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="spark"), **OPTIONS):
        whole = {path: path.read_bytes() for path in files(context)}
        assert len(whole) == 2
        if result.index < 3:
            harm(files(context)[result.index % 2])
    assert result.weights == expected


def test_a_shard_that_is_damaged_in_spark_itself_is_named_with_the_fix(spark, context, packed):
    def damaged(item):
        number, message = item
        return (number, message[:-1] + bytes([message[-1] ^ 1])) if number % 2 else item

    data = replace(packed, rdd=packed.rdd.map(damaged))
    folder = r"\S+sparknet-[\w-]+"
    with pytest.raises(
        ClusterError, match=rf"^shard 1 cannot be read back from {folder}: its disk, .*; pack or load again"
    ):
        next(averaged_sgd(FACTORY, data, cluster=SparkCluster(spark, transport="spark"), **OPTIONS))
    data.unpersist()
    assert files(context) == []


def test_a_directory_that_cannot_be_written_is_named_with_the_fix(spark, context, packed):
    taken = context.parallelize([0], 1).map(lambda _: str(local_directories()[0])).first()
    Path(taken, f"sparknet-{name_of(packed.rdd)}").write_text("a file where a directory is to be")
    with pytest.raises(ClusterError, match=r"shard \d cannot be kept in .*give spark.local.dir a larger disk"):
        next(averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="spark"), **OPTIONS))
    Path(taken, f"sparknet-{name_of(packed.rdd)}").unlink()


def test_nothing_is_left_after_unpersist_nor_after_a_session_with_other_workers(spark, context, packed):
    next(averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="spark"), **OPTIONS))
    assert len(files(context)) == 2
    run = averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="spark"), **{**OPTIONS, "workers": 3})
    next(run)
    assert len(files(context)) == 5
    run.close()
    assert len(files(context)) == 2
    packed.unpersist()
    assert files(context) == []


def test_another_preprocessor_shares_the_files_and_what_releases_them(spark, context, packed):
    before = set(context._jsc.getPersistentRDDs())
    scaled = replace(packed, preprocessor=Scale("data", 0.5))
    for data in (scaled, packed):
        next(averaged_sgd(FACTORY, data, cluster=SparkCluster(spark, transport="spark"), **OPTIONS))
        assert len(files(context)) == 2
    assert len(set(context._jsc.getPersistentRDDs()) - before) == 1
    packed.unpersist()
    assert files(context) == []
    assert set(context._jsc.getPersistentRDDs()) < before  # the minibatches too
    next(
        averaged_sgd(FACTORY, scaled, cluster=SparkCluster(spark, transport="spark"), **OPTIONS)
    )  # computed anew, as Spark does
    scaled.unpersist()
    assert files(context) == []


def test_files_are_removed_where_they_are_whichever_executors_a_sweep_would_reach(spark, context, packed, monkeypatch):
    next(averaged_sgd(FACTORY, packed, cluster=SparkCluster(spark, transport="spark"), **OPTIONS))
    with monkeypatch.context() as patched:
        patched.setattr(type(context), "parallelize", None)  # the sweep reaches none
        packed.unpersist()
    assert files(context) == []


def test_releasing_a_set_that_is_not_kept_as_a_whole_writes_no_file(context, packed):
    piped = context.accumulator(0)

    def watched(item):
        piped.add(1)
        return item

    data = replace(packed, rdd=packed.rdd.map(watched))
    assert len(context.runJob(data._files, list, [0])) == 1  # one of two shards
    before = piped.value
    data.unpersist()
    assert (files(context), piped.value) == ([], before)


# ---- the file itself, without Spark
def test_what_is_kept_is_read_back_by_index_and_a_failed_writing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_LOCAL_DIRS", f"{tmp_path}/a,{tmp_path}/b")
    batches = [{"x": np.full((n, 2), n)} for n in (3, 3, 1)]
    (kept,) = shard_files.write(1, ((i, dumps(batch)) for i, batch in enumerate(batches)), name="set")
    assert kept.path == tmp_path / "b" / "sparknet-set" / "shard-1"
    with shard_files.opened(kept) as shard:
        for i in (2, 0, 1):
            assert shard[i]["x"].to_host().tolist() == batches[i]["x"].tolist()
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "elsewhere", tmp_path / "fifo", Path("/dev/zero")):
        with shard_files.opened(replace(kept, path=path)) as shard:
            assert shard is None

    def failing():
        yield 0, b"some bytes"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(shard_files.write(0, failing(), name="set"))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["shard-1"]
    shard_files.remove("set")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_worker_reads_its_own_solver_state_and_none_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    net = FACTORY(seed=1)
    batch = {"data": POINTS[:5], "label": LABELS[:5]}
    (kept,) = shard_files.write(1, [(1, dumps(batch))], name="set")
    sent = SimpleNamespace(value=[dumps(net.get_weights()), b"that of worker 0", dumps(net.get_state())])
    parcel = SparkParcel(sent)
    task_of = partial(Task, num_batches=1, first_step=0, tau=2, seed=3)
    work = partial(
        train_partition, run="a run", factory=FACTORY, parcel=parcel, states=2, preprocessor=None, about=about()
    )
    (trained,) = work(1, [kept], tasks=[task_of(0), task_of(1)])
    _, state = trained.answer
    assert (trained.facts["worker"], trained.facts["steps"]) == (1, 2)
    assert loads(state)["iteration"] == net.get_state()["iteration"] + 2
    (refused,) = work(0, [kept], tasks=[task_of(0), task_of(1)])  # its own is read, and verified
    assert isinstance(refused, FormatError)


# ---- executors that are lost
LOSING_AN_EXECUTOR = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_shard_files as t
from sparknet import SparkCluster, averaged_sgd
from sparknet.spark import pack, start_spark

spark = start_spark("local-cluster[2,1,1024]")
packed = pack(spark.sparkContext.parallelize(t.rows(), 3), t.FIELDS, 5, shards=2)
for result in averaged_sgd(t.FACTORY, packed, cluster=SparkCluster(spark, transport="spark"), **t.OPTIONS):
    if result.index in (0, 2):
        parents = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                parents[int(pid)] = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
        def ours(pid):
            return pid == os.getpid() or (pid in parents and ours(parents[pid]))
        executors = [p for p in parents if ours(p) and b"ExecutorBackend" in open(f"/proc/{p}/cmdline", "rb").read()]
        os.kill(executors[0], signal.SIGKILL)
print("bits", result.weights.norm().hex())
spark.stop()
"""


@pytest.mark.slow
def test_an_executor_lost_between_rounds_changes_no_bit(expected, tmp_path):
    program = tmp_path / "losing.py"
    program.write_text(LOSING_AN_EXECUTOR)
    done = subprocess.run(
        [sys.executable, str(program), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["bits", expected.norm().hex()]
