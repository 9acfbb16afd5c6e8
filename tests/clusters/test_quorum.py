"""Rounds that do not wait for late workers: who takes part is told, and a replay of it has the same bits."""

import contextlib
import os
import random
import signal
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from clusters.simulated_hub import LIMITS, SimulatedCluster, random_clock
from hypothesis import given
from hypothesis import strategies as st

from sparknet import ClusterError, Field, LocalCluster, TrainingError, averaged_sgd
from sparknet.averaging import Median, Nesterov, WeightedMean
from sparknet.clusters.direct import worker
from sparknet.clusters.direct.session import DirectSession
from sparknet.clusters.spark.training.cluster import _SparkSession
from sparknet.data import pack
from sparknet.nets import MLP
from sparknet.training.lateness import Lateness
from sparknet.transport import Done, Work
from sparknet.transport.mailbox import Mailbox

RNG = np.random.default_rng(0)
COLUMNS = {"data": RNG.normal(size=(240, 6)).astype(np.float32), "label": RNG.integers(0, 3, 240)}
DATA = pack(COLUMNS, [Field("data", (6,), "float32"), Field("label", (), "int64")], 8)
FACTORY = MLP.factory((6,), 3, (5,), learning_rate=0.1, momentum=0.9)
RULES = [WeightedMean(), Median(), Nesterov(combine=WeightedMean())]
ME = os.getpid()


def train(cluster, data=DATA, **options):
    return averaged_sgd(FACTORY, data, cluster=cluster, **{"workers": 3, "tau": 6, "rounds": 5, "seed": 7, **options})


def facts(rounds):
    return [(each.weights, each.loss, each.steps, each.examples, each.workers, each.decided) for each in rounds]


@given(st.integers(0, 2**32), st.integers(1, 3), st.data())
def test_a_replay_has_the_bits_of_whatever_random_clocks_have_decided(seed, least, data):
    options = {
        "rule": data.draw(st.sampled_from(RULES)),
        "solver_state": data.draw(st.sampled_from(["average", "local", "reset"])),
        "sampling": data.draw(st.sampled_from(["epoch", "window"])),
    }
    limit = data.draw(st.sampled_from([None, "auto", 2.0]))
    dice = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparknet.worker.time", random_clock(dice))
        rounds = list(train(SimulatedCluster(dice), min_workers=least, max_seconds=limit, **options))
    for each in rounds:
        assert least <= len(each.workers) == 3 - len(each.decided.absent)
        assert set(each.workers).isdisjoint(each.decided.absent)
    assert facts(train(LocalCluster(), replay=rounds, **options)) == facts(rounds)


def with_batches_that_overflow(batches):
    """Return the data, with values in these minibatches that make their loss NaN."""
    data = pack({name: column.copy() for name, column in COLUMNS.items()}, list(DATA.fields), 8)
    for i in batches:
        data.batches[i]["data"][0, :] = 3e38
    return data


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@given(st.integers(0, 2**32), st.integers(1, 3), st.sets(st.integers(0, 29), max_size=12), st.data())
def test_a_result_that_is_left_out_is_none_of_those_that_are_enough(seed, least, overflow, data):
    options = {
        "data": with_batches_that_overflow(overflow),
        "rule": data.draw(st.sampled_from(RULES)),
        "solver_state": data.draw(st.sampled_from(["average", "local", "reset"])),
        "tau": data.draw(st.integers(1, 4)),
        "on_nonfinite": "leave_out",
    }
    dice, rounds, ended = random.Random(seed), [], ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparknet.worker.time", random_clock(dice))
        try:
            for each in train(SimulatedCluster(dice), min_workers=least, **options):
                rounds.append(each)
                assert len(each.workers) >= least or not each.decided.absent
        except TrainingError as error:
            ended = str(error)
    assert not ended or "so are results of 2 of the other workers: no worker is left to average" in ended
    assert facts(train(LocalCluster(), replay=rounds, **{**options, "rounds": len(rounds)})) == facts(rounds)


def test_the_random_clocks_leave_workers_out(monkeypatch):
    """The property above would hold of clocks that decide nothing."""
    dice = random.Random(1)
    monkeypatch.setattr("sparknet.worker.time", random_clock(dice))
    rounds = list(train(SimulatedCluster(dice), min_workers=1, rounds=20))
    assert {len(each.workers) for each in rounds} >= {1, 2, 3}


class LeavesOut:
    """A hub whose first round ends without the second worker, which has done its work all the same."""

    strangers, ignored, lost_work = 0, 0, 0.0

    def __init__(self, works):
        self.works, self.late = works, [1]

    def round(self, bodies, *, combine, begin, **_):
        results = {
            shard: self.works[shard](memoryview(b"".join(map(bytes, parts))), None, lambda: True)
            for shard, parts in bodies.items()
        }
        while self.late:
            del results[self.late.pop()]
        done = {
            shard: Done(1, each.steps, len(each.slices), each.result, each.notes) for shard, each in results.items()
        }
        begin(done)
        for number in range(len(results[0].slices)):
            parts = [each.slices[number] for each in results.values()]
            combine(number, tuple(memoryview(b"".join(map(bytes, each))) for each in parts))
        return done


def test_a_worker_that_was_late_in_its_first_round_is_compared_in_the_next_one(monkeypatch):
    works = []
    monkeypatch.setattr(worker, "serve", lambda *_, do, **__: works.append(do))

    @contextlib.contextmanager
    def session(*_, **__):
        for shard in range(2):
            make = partial(FACTORY, seed=shard)  # it makes other weights in each
            more = {"make_net": make, "stored": DATA.shard(shard, 2), "preprocessor": DATA.preprocessor}
            worker.serve_shard(None, shard, secret=bytes(32), limits=LIMITS, **more)
        yield DirectSession(LeavesOut(works), 2, None, None)

    rounds = train(SimpleNamespace(session=session), workers=2, min_workers=1)
    assert next(rounds).workers == (0,)
    with pytest.raises(ClusterError, match="other weights in the worker of shard 1 than in that of shard 0"):
        next(rounds)


# ---- child processes
def children():
    found = []
    for task in Path(f"/proc/{ME}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found += (task / "children").read_text().split()
    return {int(each) for each in found}


def workers_of(before):
    """Return the processes of the two workers."""
    until = time.monotonic() + 200
    while time.monotonic() < until:
        for first in children() - before:
            found = [int(each) for each in Path(f"/proc/{first}/task/{first}/children").read_text().split()]
            if len(found) == 2:
                return found
        time.sleep(0.01)
    raise AssertionError


@pytest.mark.parametrize("evaluate", [None, (DATA, 1)])
def test_a_worker_that_is_stopped_for_ever_is_absent_in_each_round_and_the_run_ends(evaluate, tmp_path, caplog):
    before, got, stopped = children(), [], None
    options = {"workers": 2, "rounds": 12, "evaluate": evaluate}
    for each in train(LocalCluster(processes=2), min_workers=1, checkpoint=tmp_path, **options):
        got.append(each)
        if stopped is None:
            stopped = workers_of(before)[0]
            os.kill(stopped, signal.SIGSTOP)
    absent = got[-1].decided.absent
    assert len(absent) == 1
    # It may have been done before it was stopped, in the round that was not open yet and perhaps one more.
    assert all(each.decided.absent == absent for each in got[3:])
    assert all(each.decided.grace is not None for each in got[3:])
    assert "came late and is left out" in "".join(caplog.messages)
    assert all(each.goodput.lost > 0 for each in got[3:])
    assert facts(train(LocalCluster(), replay=got, **options)) == facts(got)
    assert children() == before


def test_a_worker_that_goes_on_joins_a_later_round():
    before, until, stopped, joined = children(), time.monotonic() + 200, None, False
    for each in train(LocalCluster(processes=2), min_workers=1, workers=2, rounds=10**7):
        if stopped is None:
            stopped = workers_of(before)[0]
            os.kill(stopped, signal.SIGSTOP)
        elif each.index >= 5 and each.decided.absent:
            os.kill(stopped, signal.SIGCONT)
        joined = each.index > 5 and not each.decided.absent
        if joined:
            break
        assert time.monotonic() < until
    assert joined


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_a_round_waits_for_a_late_worker_where_the_early_one_is_left_out(tmp_path):
    goes_on = tmp_path / "goes on"

    class Held(MLP):
        def step(self, batch):
            while batch["data"].to_host().max() < 1e38 and not goes_on.exists():
                time.sleep(0.01)
            return super().step(batch)

    data = with_batches_that_overflow(range(0, 30, 2))  # those of the first worker
    factory, options = partial(Held, (6,), 3, (5,)), {"workers": 2, "min_workers": 1, "on_nonfinite": "leave_out"}
    rounds = averaged_sgd(factory, data, cluster=LocalCluster(processes=2), tau=3, rounds=1, **options)
    threading.Timer(1.0, goes_on.touch).start()  # far longer than the grace, which follows from steps of microseconds
    assert [(each.workers, each.decided.absent) for each in rounds] == [((1,), frozenset())]


# ---- what the log says
def test_the_log_says_who_is_late_once_and_again_where_that_is_always_so(caplog):
    lateness = Lateness()
    for index, absent in enumerate([[], [2, 0], [2], [0, 2], *[[2]] * 20]):
        lateness.hear(index, absent)
    first, always = caplog.messages
    assert first.startswith("round 1: worker 0, 2 came late and is left out; it joins the next round.")
    assert always.startswith("worker 2 came late in 10 rounds one after the other, and nothing of its data was learned")


def test_a_worker_that_is_late_now_and_then_is_told_of_once(caplog):
    lateness = Lateness()
    for index in range(100):
        lateness.hear(index, [] if index % 10 == 9 else [1])
    assert len(caplog.messages) == 1


# ---- who waits for all
def test_workers_that_take_turns_are_all_waited_for_and_the_log_says_so_once(caplog):
    rounds = list(train(LocalCluster(), min_workers=2))
    assert [each.workers for each in rounds] == [(0, 1, 2)] * 5
    assert caplog.messages == [
        "min_workers=2 has no effect: the workers take turns in this process, so none is late; with LocalCluster(processes=N) they may be"
    ]
    assert facts(train(LocalCluster(), rule=WeightedMean())) == facts(rounds)


def test_a_cluster_of_another_make_is_said_to_wait_for_all(caplog):
    class Session:
        def __init__(self, inner):
            self.train = inner.train

    class Other(LocalCluster):
        def session(self, *args):
            context = super().session(*args)

            class Context:
                def __enter__(self):
                    return Session(context.__enter__())

                def __exit__(self, *args):
                    return context.__exit__(*args)

            return Context()

    list(train(Other(), min_workers=1))
    assert caplog.messages == ["min_workers=1 has no effect: rounds of this cluster wait for all workers"]


def test_a_job_for_each_round_says_why_it_waits():
    assert "transport='direct' can end it without late workers" in _SparkSession.waits_for_all


# ---- what is refused
@pytest.mark.parametrize("wrong", [0, -1, 4, 1.5, True, "2"])
def test_a_quorum_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"min_workers=.*; expected a whole number from 1 to workers=3"):
        train(LocalCluster(), min_workers=wrong)


def test_a_replay_takes_no_quorum():
    with pytest.raises(ValueError, match=r"replay= and min_workers=1; expected one of them"):
        train(LocalCluster(), min_workers=1, replay=[])


# ---- work that nobody wants any more
def test_a_worker_does_not_look_at_work_of_a_round_that_has_ended_without_it():
    do = SimulatedCluster(random.Random(0)).work(FACTORY, DATA, 0, 3)
    assert do(memoryview(b"no message"), None, lambda: False) is None


def test_work_that_waits_to_be_sent_makes_room_for_newer_work():
    box = Mailbox()
    for message in Work(1, "a"), "x", Work(2, "b"), Work(3, "c"), "y":
        box.put(message)
    assert [box.get() for _ in range(3)] == [Work(3, "c"), "x", "y"]
    box.put(Work(4, "d"))
    box.put(None)
    assert [box.get(), box.get()] == [Work(4, "d"), None]
