"""Rounds by the clock: how long they may take, and what is kept of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training.clocked import Clock, packed

from sparknet import DataError, LocalCluster, averaged_sgd
from sparknet.averaging import Mean, WeightedMean
from sparknet.checkpoint import Checkpoint, Position
from sparknet.training.pace import Averages, Decided, Pace

SECONDS = st.floats(0, 1e6)
ANY = st.floats() | st.sampled_from([0.0, -0.0, math.nan, -1.0, math.inf, 5e-324, 1.8e308])
AVERAGES = st.builds(
    Averages, st.lists(st.none() | SECONDS, min_size=1, max_size=4).map(tuple), st.none() | SECONDS, st.none() | SECONDS
)
DATA = packed(2)


def train(clock, monkeypatch, **options):
    clock.install(monkeypatch)
    options = {"cluster": LocalCluster(), "workers": 2, "tau": 6, "rounds": 4, "seed": 7, **options}
    return averaged_sgd(clock.factory, DATA, **options)


def steps(rounds):
    return [each.decided.worker_steps for each in rounds]


# ---- averages
@given(AVERAGES, st.dictionaries(st.integers(0, 3), ANY), ANY, ANY)
def test_no_measurement_makes_an_average_that_is_no_time(averages, seconds, quorum, sync):
    after = averages.after_steps(seconds).after_exchange(quorum, sync)
    known = [each for each in (*after.step, after.quorum, after.sync) if each is not None]
    assert all(math.isfinite(each) and each >= 0 for each in known)


@given(AVERAGES, st.dictionaries(st.integers(0, 3), ANY.filter(lambda each: not 0 <= each < math.inf)))
def test_a_clock_that_jumped_back_changes_no_average(averages, seconds):
    assert averages.after_steps(seconds) == averages


@given(AVERAGES)
def test_averages_are_read_as_they_were_kept(averages):
    assert Averages.read(averages.facts(), len(averages.step)) == averages
    assert Averages.read(averages.facts(), 9) == Averages((None,) * 9)


@pytest.mark.parametrize("facts", [None, 3, {}, {"step": 3}, {"step": ["a", -1.0]}, {"step": [math.nan, True]}])
def test_what_are_no_averages_is_read_as_none(facts):
    assert Averages.read(facts, 2) == Averages((None, None))


@given(AVERAGES, st.integers(0, 10**6), st.none() | st.floats(1e-9, 1e6), st.dictionaries(st.integers(0, 3), ANY), ANY)
def test_grace_is_never_below_zero_and_never_for_ever(averages, tau, limit, seconds, waited):
    pace = Pace(tau, limit, 1)
    assert 0 <= pace.grace(averages, seconds, waited) < math.inf


def test_grace_is_a_share_of_what_is_left_of_the_steps_of_a_typical_worker():
    pace = Pace(10, min_workers=1)
    assert pace.grace(Averages((1.0, 1.0, 9.0), 2.0, 4.0), {}, 2.0) == 0.25 * (10 * 1.0 - 2.0 - 4.0)
    assert Pace(10, 8.0, 1).grace(Averages((1.0, 1.0, 9.0), 2.0, 4.0), {}, 2.0) == 0.25 * (8.0 - 2.0 - 4.0)


# ---- the limit of time
def test_auto_gives_all_workers_the_time_that_a_typical_one_needs(monkeypatch):
    clock = Clock(lambda worker: (1.0, 3.0)[worker])
    rounds = list(train(clock, monkeypatch, max_seconds="auto"))
    assert steps(rounds) == [(6, 6), (6, 3), (6, 3), (6, 3)]
    assert [each.decided.max_seconds for each in rounds] == [None, *[pytest.approx(6.6)] * 3]


def test_auto_follows_workers_that_become_slower(monkeypatch):
    clock = Clock(lambda _: 1.0)
    rounds = train(clock, monkeypatch, max_seconds="auto", rounds=30)
    first = next(rounds), next(rounds)
    clock.seconds = lambda _: 5.0
    *_, last = rounds
    assert first[1].decided.max_seconds == pytest.approx(6.6)
    assert last.decided.max_seconds == pytest.approx(33.0, rel=1e-3)
    assert last.decided.worker_steps == (6, 6)


def test_one_worker_waits_for_nobody_and_has_no_limit(monkeypatch):
    clock = Clock(lambda _: clock.now + 1.0)  # each step takes longer
    rounds = train(clock, monkeypatch, max_seconds="auto", workers=1, rounds=3)
    assert steps(rounds) == [(6,)] * 3


def test_a_training_that_goes_on_knows_what_its_workers_need(monkeypatch, tmp_path):
    clock = Clock(lambda worker: (1.0, 3.0)[worker])
    whole = list(train(clock, monkeypatch, max_seconds="auto"))
    first = list(train(clock, monkeypatch, max_seconds="auto", rounds=2, checkpoint=tmp_path))
    rest = list(train(clock, monkeypatch, max_seconds="auto", checkpoint=tmp_path))
    assert steps(first + rest) == steps(whole)
    assert [each.weights for each in first + rest] == [each.weights for each in whole]
    kept = Checkpoint(tmp_path, {}).read()
    assert kept.pace["decided"] == whole[-1].decided.facts()


def test_a_checkpoint_without_a_pace_is_read_as_one_of_before(tmp_path):
    start = Clock(None).factory().get_weights()
    Checkpoint(tmp_path, {}).write(Position(1, start, [{}], [1]))
    assert Checkpoint(tmp_path, {}).read().pace == {}


def test_without_a_number_of_steps_time_alone_ends_a_round(monkeypatch):
    clock = Clock(lambda worker: (1.0, 3.0)[worker])
    for sampling in "epoch", "window":
        assert steps(train(clock, monkeypatch, tau=0, max_seconds=100.0, rounds=1, sampling=sampling)) == [(100, 34)]


def test_rounds_by_the_clock_are_weighted_by_work_unless_a_rule_is_given(monkeypatch):
    clock = Clock(lambda worker: (1.0, 3.0)[worker])
    by_work, plain, default = (
        [each.weights for each in train(clock, monkeypatch, max_seconds=6.0, **rule)]
        for rule in ({"rule": WeightedMean()}, {"rule": Mean()}, {})
    )
    assert default == by_work != plain


def test_rounds_in_which_no_worker_would_take_a_step_are_refused(monkeypatch):
    with pytest.raises(
        DataError, match=r"tau=0 without max_seconds: no worker would take a step, .*; give tau=50, or max_seconds=5\.0"
    ):
        train(Clock(None), monkeypatch, tau=0)


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, math.inf, True, "fast", np.float32("nan")])
def test_a_limit_that_is_no_time_is_refused(monkeypatch, wrong):
    with pytest.raises(ValueError, match=r"max_seconds=.*; expected a positive number of seconds, 'auto', or None"):
        train(Clock(None), monkeypatch, max_seconds=wrong)


def test_auto_needs_steps_to_measure(monkeypatch):
    with pytest.raises(ValueError, match=r"tau=0 and max_seconds='auto'; expected steps to measure: give tau=50, or"):
        train(Clock(None), monkeypatch, tau=0, max_seconds="auto")


def test_what_was_decided_names_who_was_absent():
    assert Decided((3, None, 0)).absent == {1}
    assert Decided((3, None, 0), 2.0, 0.5, "Mean()").facts() == {
        "worker_steps": [3, None, 0],
        "max_seconds": 2.0,
        "grace": 0.5,
        "rule": "Mean()",
    }
