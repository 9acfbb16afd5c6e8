"""Results that workers combine among themselves: the bits of those that the driver combines, whoever is lost on the way."""

import contextlib
import logging
import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from clusters.simulated_hub import Offered, SimulatedCluster, random_clock
from hypothesis import given
from hypothesis import strategies as st

from sparknet import DataError, Field, FormatError, LocalCluster, TrainingError, averaged_sgd
from sparknet.averaging import Mean, Median, Nesterov, WeightedMean
from sparknet.clusters import processes
from sparknet.clusters.direct import exchange
from sparknet.clusters.direct.exchange import Exchange, cut
from sparknet.clusters.direct.sliced import _between
from sparknet.data import pack
from sparknet.nets import MLP
from sparknet.transport import Limits
from sparknet.transport.parts import Pulls

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 250)
COLUMNS = {"data": RNG.normal(size=(3, 6))[LABELS] * 2 + RNG.normal(size=(250, 6)), "label": LABELS}
FIELDS = [Field("data", (6,), "float32"), Field("label", (), "int64")]
DATA = pack(COLUMNS, FIELDS, 8)
FACTORY = MLP.factory((6,), 3, (5,), learning_rate=0.1, momentum=0.9)
SLICED = LocalCluster(processes=3, aggregation="sliced")
ME = os.getpid()
PHASES = ["_taken", "_start", "_combined"]


def train(cluster, factory=FACTORY, data=DATA, **options):
    options = {"workers": 3, "tau": 5, "rounds": 4, "seed": 7, "evaluate": (data, 2), **options}
    return list(averaged_sgd(factory, data, cluster=cluster, **options))


def same(rounds, others):
    assert [r.weights for r in rounds] == [r.weights for r in others]
    assert [(r.loss, r.metrics, r.steps, r.examples) for r in rounds] == [
        (r.loss, r.metrics, r.steps, r.examples) for r in others
    ]


class Far:
    """A plain rule, which needs whole results."""

    def shares(self, examples):
        return examples

    def __call__(self, start, results, _examples):
        return results[-1] + results[0] - start


class Twice(Mean):
    """A rule that is no name of ours, though its class comes of one."""

    def combine(self, arrays, shares):
        return super().combine(arrays, shares) * 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver_state": "reset", "rule": WeightedMean(), "sampling": "window"},
        {"rule": Nesterov()},
        {"rule": Nesterov(combine=Median())},
        {"max_seconds": 1e-9, "rule": WeightedMean()},
    ],
    ids=str,
)
def test_workers_that_combine_have_the_bits_of_the_driver(options, caplog):
    same(train(SLICED, **options), train(LocalCluster(), **options))
    assert not caplog.messages


@pytest.mark.parametrize("rule", [Far(), Twice()], ids=["plain", "subclass"])
def test_a_rule_that_workers_do_not_know_gets_all_results_on_the_driver_and_that_is_said_once(rule, caplog):
    same(train(SLICED, rule=rule), train(LocalCluster(), rule=rule))
    assert [line.split(":")[0] for line in caplog.messages] == ["aggregation='sliced'"]
    assert "the rule of this training gets whole results" in caplog.text


def test_states_of_each_worker_come_to_the_driver_and_that_is_said_once(caplog):
    same(train(SLICED, solver_state="local"), train(LocalCluster(), solver_state="local"))
    (line,) = caplog.messages
    assert "solver_state='local'" in line


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_any_number_of_workers(workers):
    cluster = LocalCluster(processes=workers, aggregation="sliced")
    same(train(cluster, workers=workers, rounds=2), train(LocalCluster(), workers=workers, rounds=2))


def test_results_of_many_slices():
    factory = MLP.factory((6,), 3, (700, 700), learning_rate=0.01)  # 2 MB
    options = {"tau": 2, "rounds": 2, "evaluate": None}
    same(train(SLICED, factory, **options), train(LocalCluster(), factory, **options))


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_a_worker_whose_result_is_not_finite_is_left_out():
    data = pack({name: column.copy() for name, column in COLUMNS.items()}, FIELDS, 8)
    data.shard(1, 3)[2]["data"][0, :] = 3e38
    options = {"data": data, "tau": 12, "rounds": 2, "on_nonfinite": "leave_out", "evaluate": None}
    found = train(SLICED, **options)
    same(found, train(LocalCluster(), **options))
    assert [each.workers for each in found] == [(0, 2)] * 2
    with pytest.raises(TrainingError, match=r"^round 0: worker 1: the loss of its update"):
        train(SLICED, **{**options, "on_nonfinite": "error"})


def dying(phase, folder, times=1):
    """A phase of the exchange whose worker is killed in it, in so many of the calls of all workers."""
    original = getattr(Exchange, phase)

    def killed(self, *args):
        found = original(self, *args)
        for number in range(times):
            with contextlib.suppress(FileExistsError):
                (folder / f"{phase} {number}").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return found

    return killed


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_is_killed_in_any_phase_changes_no_bit(monkeypatch, tmp_path, phase, times):
    monkeypatch.setattr(Exchange, phase, dying(phase, tmp_path, times))
    same(train(SLICED), train(LocalCluster()))
    assert len(list(tmp_path.iterdir())) == times


def test_a_worker_that_is_killed_before_the_driver_has_what_it_combined_changes_no_bit(monkeypatch):
    original, killed = Pulls.in_step, []

    def killing(self, sources, is_wanted):
        if os.getpid() == ME and not killed:
            killed.append(worker_pids()[1])
            os.kill(killed[0], signal.SIGKILL)
            while killed[0] in worker_pids():
                pass
        return original(self, sources, is_wanted)

    before = started_by(ME)
    monkeypatch.setattr(Pulls, "in_step", killing)

    def worker_pids():
        (first,) = set(started_by(ME)) - set(before)
        return started_by(first)

    found = train(SLICED)
    same(found, train(LocalCluster()))
    assert killed
    assert found[0].seconds.train  # and what it had learned counts as lost


def started_by(pid):
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def test_workers_that_are_killed_at_any_moment_change_no_bit():
    rounds, dice, killed = 10, random.Random(11), 0
    expected = train(LocalCluster(), rounds=rounds)
    before, got = set(started_by(ME)), []
    for each in averaged_sgd(
        FACTORY, DATA, cluster=SLICED, workers=3, tau=5, rounds=rounds, seed=7, evaluate=(DATA, 2)
    ):
        got.append(each)
        first = (set(started_by(ME)) - before).pop()
        if len(got) < rounds and (alive := started_by(first)):
            threading.Timer(dice.random() * 0.05, end, [dice.choice(alive)]).start()
            killed += 1
    same(got, expected)
    assert killed >= rounds // 2


def end(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_a_worker_that_stands_still_while_others_pull_of_it_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "_LIMITS", Limits(beat=0.5, silence=3.0))
    original = Exchange._start

    def stopped(self, *args):
        with contextlib.suppress(FileExistsError):
            (tmp_path / "stopped").touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGSTOP)
        return original(self, *args)

    monkeypatch.setattr(Exchange, "_start", stopped)
    same(train(SLICED), train(LocalCluster()))


def test_workers_that_do_not_reach_each_other_are_said_to_and_the_driver_combines(monkeypatch, caplog):
    original = Pulls._linked

    def refused(self, source):
        if os.getpid() != ME and source.peer != self._me:
            raise exchange.PeerLostError(source.peer, "no route to host")
        return original(self, source)

    monkeypatch.setattr(Pulls, "_linked", refused)
    with caplog.at_level(logging.WARNING):
        same(train(SLICED), train(LocalCluster()))
    (line,) = caplog.messages
    assert "worker 0 does not get what worker 1 has: no route to host" in line
    assert "aggregation='star'" in line


def test_a_worker_that_cannot_listen_is_said_to_and_the_driver_combines(monkeypatch, caplog):
    def nowhere(address):
        return "192.0.2.1" if os.getpid() != ME else address[0]  # of documentation, RFC 5737

    monkeypatch.setattr(exchange, "_host_towards", nowhere)
    same(train(SLICED), train(LocalCluster()))
    (line,) = caplog.messages
    assert "worker 0: it cannot listen for others" in line


def test_a_round_with_a_quorum_goes_on_without_a_worker_that_stands_still(tmp_path):
    class Stands:
        """Makes a net that stands still in a step of round 1, in one worker, once all of them are at their steps: none needs anything of it."""

        def __call__(self, *, seed=0):
            net = FACTORY(seed=seed)
            step = net.step

            def stepping(batch):
                if os.getpid() != ME and net.iteration // 5 == 1:
                    (tmp_path / f"at {os.getpid()}").touch()
                    with contextlib.suppress(FileExistsError):
                        (tmp_path / "stood").touch(exist_ok=False)
                        while len(list(tmp_path.glob("at *"))) < 3:
                            time.sleep(0.01)
                        os.kill(os.getpid(), signal.SIGSTOP)
                return step(batch)

            net.step = stepping
            return net

    before, got = set(started_by(ME)), []
    rounds = averaged_sgd(
        Stands(), DATA, cluster=SLICED, workers=3, tau=5, rounds=4, seed=7, min_workers=2, rule=WeightedMean()
    )
    for each in rounds:
        got.append(each)
        if len(got) == 3:
            for pid in started_by((set(started_by(ME)) - before).pop()):
                os.kill(pid, signal.SIGCONT)
    assert [len(each.workers) for each in got[1:3]] == [2, 2]
    replayed = train(LocalCluster(), replay=got, rule=WeightedMean(), evaluate=None)
    assert [r.weights for r in replayed] == [r.weights for r in got]


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ("_start", "got 0x01, expected 0x00"),
        ("_combined", r"^worker 2: slice 0 of its result, .* has another checksum"),
    ],
)
def test_a_byte_that_changes_between_two_workers_is_found(monkeypatch, phase, said):
    original, pulled, damages = Pulls.in_step, getattr(Exchange, phase), []

    def changed(self, sources, is_wanted):
        for slices in original(self, sources, is_wanted):
            if damages:
                slices[-1] = memoryview(bytes([slices[-1][0] ^ 1]) + bytes(slices[-1][1:]))
            yield slices

    def damaging(self, *args):
        damages.append(phase)
        try:
            return pulled(self, *args)
        finally:
            damages.clear()

    monkeypatch.setattr(Pulls, "in_step", changed)
    monkeypatch.setattr(Exchange, phase, damaging)
    with pytest.raises(FormatError, match=said):
        train(SLICED)


class Even(random.Random):
    """Dice that kill nobody."""

    def random(self):
        return 0.5


def simulated(dice, **options):
    """Return the rounds of workers whose clocks and deaths are diced, and what they offered each other."""
    offered = Offered()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparknet.worker.time", random_clock(dice))
        cluster = SimulatedCluster(dice, offered).patched(patch)
        return train(cluster, evaluate=None, **options), offered


@given(st.integers(0, 2**32), st.integers(1, 3), st.data())
def test_a_replay_has_the_bits_of_whatever_random_clocks_and_deaths_have_decided(seed, least, data):
    options = {
        "rule": data.draw(st.sampled_from([WeightedMean(), Median(), Nesterov(combine=WeightedMean()), Far()])),
        "solver_state": data.draw(st.sampled_from(["average", "reset"])),
        "sampling": data.draw(st.sampled_from(["epoch", "window"])),
    }
    limit = data.draw(st.sampled_from([None, "auto", 2.0]))
    rounds, _ = simulated(random.Random(seed), min_workers=least, max_seconds=limit, **options)
    for each in rounds:
        assert least <= len(each.workers) == 3 - len(each.decided.absent)
    same(train(LocalCluster(), replay=rounds, evaluate=None, **options), rounds)


def test_the_random_deaths_leave_workers_without_what_they_need():
    """The property above would hold of dice that kill nobody in the wrong moment."""
    assert simulated(random.Random(1), rounds=40)[1].lacked > 5


def test_what_earlier_rounds_have_left_is_forgotten():
    _, offered = simulated(Even(1), rounds=9)
    assert [len(each) for each in offered.all.values()] == [
        3,
        3,
        3,
    ]  # a part of the start, the result, and what was combined


@pytest.mark.parametrize("options", [{"processes": 2, "aggregation": "ring"}, {"aggregation": "sliced"}])
def test_what_there_is_not_is_refused(options):
    with pytest.raises(DataError, match=r"^LocalCluster: aggregation="):
        LocalCluster(**options)


@given(st.integers(0, 100), st.integers(1, 12))
def test_parts_are_all_numbers_once_in_order(count, parts):
    found = cut(count, parts)
    assert [number for part in found for number in part] == list(range(count))
    assert max(map(len, found)) - min(map(len, found)) <= 1


@given(st.lists(st.binary(max_size=9), max_size=6), st.integers(1, 5))
def test_bytes_between_are_those_of_the_whole(pieces, parts):
    whole = b"".join(pieces)
    views = [memoryview(piece) for piece in pieces]
    found = [b"".join(map(bytes, _between(views, part))) for part in cut(len(whole), parts)]
    assert b"".join(found) == whole
    assert [len(each) for each in found] == [len(part) for part in cut(len(whole), parts)]
