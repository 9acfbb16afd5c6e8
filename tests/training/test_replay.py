"""A replay: the bits of a training whose rounds were ended by clocks, without clocks."""

import itertools
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training.clocked import Clock, packed

from sparknet import DataError, LocalCluster, TrainingError, averaged_sgd
from sparknet.averaging import Mean
from sparknet.nets import MLP
from sparknet.training import Decided, EventLog

DATA = packed(2)
FACTORY = MLP.factory((6,), 3, (5,), learning_rate=0.1, momentum=0.9)


def train(factory=FACTORY, **options):
    options = {"cluster": LocalCluster(), "workers": 2, "tau": 6, "rounds": 3, "seed": 7, **options}
    return list(averaged_sgd(factory, DATA, **options))


@pytest.fixture(name="by_clock")
def _by_clock(monkeypatch):
    """Rounds whose steps follow from a clock, with solver states that are averaged."""
    with monkeypatch.context() as patch:
        clock = Clock(lambda worker: 1.0 + worker + clock.now % 7)
        clock.install(patch)
        return train(clock.factory, max_seconds="auto")


def told(rounds, path):
    """Return the path of the events of these rounds."""
    with EventLog(path) as log:
        log.start()
        for each in rounds:
            log.round(each)
    return path


def same(rounds, others):
    assert [each.weights for each in rounds] == [each.weights for each in others]
    facts = [(each.loss, each.steps, each.workers, each.decided) for each in rounds]
    assert facts == [(each.loss, each.steps, each.workers, each.decided) for each in others]


@given(st.data())
def test_a_replay_has_the_bits_of_rounds_that_random_clocks_have_ended(data):
    seconds = data.draw(st.lists(st.floats(-1.0, 10.0), min_size=1, max_size=20))  # below zero: the clock jumps back
    limit = data.draw(st.just("auto") | st.floats(1e-3, 50.0))
    policy = data.draw(st.sampled_from(["average", "local", "reset"]))
    with pytest.MonkeyPatch.context() as patch:
        each = itertools.cycle(seconds)
        clock = Clock(lambda _: next(each))
        clock.install(patch)
        rounds = train(clock.factory, max_seconds=limit, solver_state=policy)
    same(train(replay=rounds, solver_state=policy), rounds)


def test_a_replay_on_another_cluster_has_the_same_bits(by_clock):
    same(train(replay=by_clock, cluster=LocalCluster(processes=2)), by_clock)


def test_events_can_be_replayed_and_go_on_from_a_checkpoint(by_clock, tmp_path):
    path = told(by_clock, tmp_path / "events.jsonl")
    path.write_bytes(path.read_bytes() + b'{"event": "round", "ind')  # the program died while it wrote
    first = train(replay=path, rounds=1, checkpoint=tmp_path / "kept")
    same(first + train(replay=str(path), checkpoint=tmp_path / "kept"), by_clock)


def without(rounds, absent):
    """Return rounds in which these workers were left out as late: (round, worker)."""
    for each in rounds:
        steps = [None if (each.index, k) in absent else n for k, n in enumerate(each.decided.worker_steps)]
        yield replace(each, loss=math.nan, decided=replace(each.decided, worker_steps=tuple(steps), grace=0.5))


@pytest.mark.parametrize("policy", ["average", "local", "reset"])
def test_who_was_left_out_as_late_is_left_out_again_and_takes_the_same_minibatches_in_the_next_round(policy):
    plain = train(solver_state=policy)
    late = train(replay=without(plain, {(0, 1)}), solver_state=policy)
    assert [each.workers for each in late] == [(0,), (0, 1), (0, 1)]
    assert [each.decided.worker_steps for each in late] == [(6, None), (6, 6), (6, 6)]
    assert late[0].steps == 6
    alone = train(replay=without(plain, {(0, 1), (1, 1), (2, 1)}), solver_state=policy)
    first = train(replay=without(plain, {(0, 1)}), solver_state=policy, rounds=1)
    assert alone[0].weights == late[0].weights == first[0].weights
    assert alone[1].weights != late[1].weights
    processes = train(replay=without(plain, {(0, 1)}), solver_state=policy, cluster=LocalCluster(processes=2))
    same(processes, late)


def test_a_worker_that_is_left_out_in_each_round_keeps_its_place_and_its_state(tmp_path):
    from sparknet.checkpoint import Checkpoint

    plain = train(solver_state="local")
    train(replay=without(plain, {(0, 1), (1, 1), (2, 1)}), solver_state="local", checkpoint=tmp_path)
    kept = Checkpoint(tmp_path, {}).read()
    assert list(kept.steps) == [18, 0]
    assert [int(state["iteration"].to_host()) for state in kept.states] == [18, 0]
    assert kept.pace["decided"]["worker_steps"] == [6, None]


def test_the_time_of_day_may_jump_back(by_clock, tmp_path, monkeypatch):
    """It stands in the events, for people; clocks that cannot jump measure the rounds."""
    day = itertools.count(1_700_000_000.0, -3600.0)
    monkeypatch.setattr("time.time", lambda: next(day))
    path = told(by_clock, tmp_path / "events.jsonl")
    times = [json.loads(line)["time"] for line in path.read_text().splitlines()]
    assert times == sorted(times, reverse=True)
    same(train(replay=path), by_clock)
    assert all(part >= 0 for each in train(max_seconds=60.0) for part in (each.seconds.total, *each.seconds.train))


# ---- what is refused
def test_a_round_with_another_loss_ends_it(by_clock):
    other = MLP.factory((6,), 3, (5,), learning_rate=0.2, momentum=0.9)
    with pytest.raises(
        TrainingError, match=r"^round \d: the loss of the replay is .*, expected .*, that of the former round: net"
    ):
        train(other, replay=by_clock)


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ((6, 6, 6), "round 0 has steps of 3 workers; expected 2: events of another run"),
        ((6, -1), r"round 0 has the steps \[6, -1\]; expected a whole number"),
        ((None, None), r"round 0 has the steps \[None, None\]; expected"),
        (("6", 6), "expected a whole number for each worker"),
    ],
)
def test_steps_of_another_run_are_refused(by_clock, steps, text):
    wrong = replace(by_clock[0], decided=replace(by_clock[0].decided, worker_steps=steps))
    with pytest.raises(DataError, match=text):
        train(replay=[wrong, *by_clock[1:]])


def test_rounds_that_are_missing_are_named(by_clock):
    with pytest.raises(DataError, match=r"replay has the rounds 0 to 2; expected round 3 too, as rounds=5"):
        train(replay=by_clock, rounds=5)
    with pytest.raises(DataError, match=r"replay has no rounds; expected round 0 too"):
        train(replay=[])


def test_another_rule_is_named(by_clock):
    with pytest.raises(
        DataError, match=r"round 0 was averaged by WeightedMean\(\); expected Mean\(\), which is the rule"
    ):
        train(replay=by_clock, rule=Mean())


@pytest.mark.parametrize("line", ["{}", "[]", "none", '{"event": "round", "index": 0, "loss": 1.0}'])
def test_what_are_no_events_is_named_by_its_line(by_clock, tmp_path, line):
    path = told(by_clock, tmp_path / "events.jsonl")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=r"events\.jsonl, line 5: no event that can be replayed"):
        train(replay=path)


def test_what_is_no_round_is_refused():
    with pytest.raises(
        DataError, match="replay has a Decided; expected rounds of a training, or the path of its events"
    ):
        train(replay=[Decided((6, 6))])


def test_a_replay_takes_no_limit_of_time(by_clock):
    with pytest.raises(ValueError, match=r"replay= and max_seconds=3\.0; expected one of them"):
        train(replay=by_clock, max_seconds=3.0)


def test_an_event_has_all_that_is_decided(by_clock, tmp_path):
    *_, event = map(json.loads, told(by_clock, tmp_path / "events.jsonl").read_text().splitlines())
    assert event["decided"] == by_clock[-1].decided.facts()
    assert event["goodput"] == by_clock[-1].goodput.facts()
