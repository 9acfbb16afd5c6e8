"""Goodput: where the time of the workers went adds up to all of it."""

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training.clocked import Clock, packed

from sparknet import LocalCluster, averaged_sgd
from sparknet.training import Goodput

SECONDS = st.floats(0, 1e6)


@given(st.lists(SECONDS, min_size=1, max_size=4), st.lists(SECONDS, max_size=3), SECONDS, SECONDS, SECONDS, SECONDS)
def test_the_parts_are_all_of_the_workers_time(useful, wasted, more, exchange, evaluate, checkpoint):
    workers, training = len(useful) + len(wasted), max([*useful, *wasted]) + more
    found = Goodput.of_round(
        useful,
        sum(wasted),
        workers=workers,
        training=training,
        exchange=exchange,
        evaluate=evaluate,
        checkpoint=checkpoint,
    )
    # A dozen sums, each rounded by 2**-53 of terms below 1e8 or so.
    assert found.total == pytest.approx(workers * (training + exchange + evaluate + checkpoint), rel=1e-12, abs=1e-6)
    assert found.lost == sum(wasted)
    assert all(part >= 0 for part in astuple(found))
    assert 0 <= found.ratio <= 1 + 1e-12


def test_a_round_without_time_has_none():
    assert (Goodput().ratio, str(Goodput())) == (0.0, "goodput 0.0 %")


def test_a_part_that_is_next_to_nothing_is_not_in_the_line():
    assert str(Goodput(steps=900.0, waiting=100.0, checkpoint=0.001)) == "goodput 90.0 % (waiting 10.0 %)"


def test_workers_that_take_turns_do_not_wait_for_each_other(monkeypatch):
    clock = Clock(lambda worker: (1.0, 3.0)[worker])
    clock.install(monkeypatch)
    monkeypatch.setattr("sparknet.training.run.time", clock.time())
    rounds = averaged_sgd(clock.factory, packed(2), cluster=LocalCluster(), workers=2, tau=5, rounds=2)
    for each in rounds:
        assert (each.goodput.steps, each.goodput.waiting, each.goodput.lost) == (20.0, 0.0, 0.0)
    assert rounds.goodput == each.goodput + each.goodput
    assert rounds.goodput.ratio == 1.0


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_steps_of_a_worker_that_is_not_finite_are_lost(monkeypatch):
    clock = Clock(lambda worker: (1.0, 3.0)[worker])
    clock.install(monkeypatch)
    monkeypatch.setattr("sparknet.training.run.time", clock.time())
    data = packed(2)
    for batch in data.shard(1, 2):
        batch["data"][0, 1:] = 3e38
    (only,) = averaged_sgd(
        clock.factory, data, cluster=LocalCluster(), workers=2, tau=5, rounds=1, on_nonfinite="leave_out"
    )
    assert only.workers == (0,)
    assert only.goodput.steps == 5.0
    assert only.goodput.lost == 3.0 * only.decided.worker_steps[1]


def test_processes_that_work_at_the_same_time_count_each():
    clock = Clock(lambda _: 0.0)
    (only,) = averaged_sgd(clock.factory, packed(2), cluster=LocalCluster(processes=2), workers=2, tau=5, rounds=1)
    parts = only.goodput
    assert parts.total == pytest.approx(2 * only.seconds.total)
    assert parts.steps == pytest.approx(sum(only.seconds.train))
    assert parts.waiting == pytest.approx(2 * max(only.seconds.train) - sum(only.seconds.train))
