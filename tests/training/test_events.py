"""The events of a training: a file that says all of it, and that a replay reads."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from kept_training import DATA, facts, start, train

from sparknet import LocalCluster
from sparknet.training import Decided, EventLog

BY_CLOCK = {"max_seconds": 3600.0}


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def indices(path):
    return [each["index"] for each in read(path) if each["event"] == "round"]


def kinds(path):
    return [each["event"] for each in read(path)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def test_the_events_have_the_arguments_each_round_and_the_end(path):
    rounds = start(events=path, rounds=3, evaluate=(DATA, 2), **BY_CLOCK)
    told = list(rounds)
    begin, *events, end = read(path)
    assert begin["event"] == "start"
    assert begin["settings"].items() >= {"run": rounds.run, "workers": 2, "tau": 3, "rounds": 3, "seed": 7}.items()
    assert (begin["settings"]["rule"], begin["settings"]["max_seconds"]) == ("WeightedMean()", 3600.0)
    for each, event in zip(told, events, strict=True):
        assert (event["event"], event["index"], event["loss"]) == ("round", each.index, each.loss)
        assert (event["workers"], event["metrics"]) == (list(each.workers), each.metrics)
        assert (event["decided"], event["goodput"]) == (each.decided.facts(), each.goodput.facts())
        assert event["seconds"]["total"] == each.seconds.total
    assert (end["event"], end["rounds"], end["finished"]) == ("end", 3, True)
    assert (end["goodput"], end["metrics"]) == (rounds.goodput.facts(), told[-1].metrics)


def test_the_events_of_a_training_are_replayed_to_the_same_bits(path):
    then = train(events=str(path), **BY_CLOCK)
    assert facts(train(replay=path, events=path)) == facts(then)  # read before they are replaced
    assert facts(train(replay=path, cluster=LocalCluster(processes=2))) == facts(then)


def test_a_round_is_there_before_it_is_yielded_and_a_loop_that_is_left_has_an_end(path):
    for each in start(events=path):
        assert indices(path) == [*range(each.index + 1)]
        if each.index == 2:
            break
    *_, end = read(path)
    assert (end["event"], end["rounds"], end["finished"]) == ("end", 3, False)


def test_the_events_go_on_with_the_checkpoint_and_are_replaced_without(path, tmp_path):
    train(tmp_path / "kept", events=path, rounds=2)
    before = path.read_bytes()
    path.write_bytes(before + b'{"event": "rou')  # it was killed while it wrote
    assert train(tmp_path / "kept", events=path, rounds=2) == []
    assert path.read_bytes() == before + b'{"event": "rou'  # nothing was left to do
    train(tmp_path / "kept", events=path, rounds=4)
    assert kinds(path) == ["start", "round", "round", "end"] * 2
    assert indices(path) == [0, 1, 2, 3]
    assert facts(train(replay=path, rounds=4)) == facts(train(rounds=4))
    train(events=path, rounds=1)
    assert kinds(path) == ["start", "round", "end"]


@pytest.mark.parametrize("kept", [1, 2])
def test_what_clocks_decided_about_a_round_that_was_kept_and_not_told_of_comes_from_the_checkpoint(
    path, tmp_path, kept
):
    """A training is killed when a round is in the checkpoint, before its event is written."""
    (*_, last) = train(tmp_path / "kept", events=path, rounds=kept, **BY_CLOCK)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    rounds = start(tmp_path / "kept", events=path, rounds=4, **BY_CLOCK)
    assert rounds.decided == last.decided
    rest = list(rounds)
    assert rounds.decided == rest[-1].decided
    assert indices(path) == [0, 1, 2, 3]
    missing = read(path)[kept]
    assert (missing["index"], missing["loss"], missing["decided"]) == (kept - 1, None, last.decided.facts())
    assert facts(train(replay=path, rounds=4)) == facts(train(rounds=4, **BY_CLOCK))


def test_what_an_earlier_try_of_that_round_has_told_is_not_taken_for_it(path, tmp_path):
    """Killed before its checkpoint was whole, the round was done again with other decisions, and killed before that was told."""
    train(tmp_path / "kept", events=path, rounds=2, **BY_CLOCK)
    *before, last, _ = path.read_text().splitlines(keepends=True)
    path.write_text("".join(before) + last.replace('"worker_steps": [3, 3]', '"worker_steps": [3, 2]'))
    train(tmp_path / "kept", events=path, rounds=4, **BY_CLOCK)
    assert indices(path) == [0, 1, 1, 2, 3]
    assert facts(train(replay=path, rounds=4)) == facts(train(rounds=4, **BY_CLOCK))


def test_a_new_file_does_not_begin_with_a_round_of_before(path, tmp_path):
    train(tmp_path / "kept", rounds=2)
    train(tmp_path / "kept", events=path, rounds=3)
    assert kinds(path) == ["start", "round", "end"]
    assert indices(path) == [2]


def test_nothing_is_known_of_the_rounds_before_where_a_checkpoint_does_not_say_it(path):
    assert Decided.of_position({}) is None
    assert Decided.of_position({"decided": {"worker_steps": 3}}) is None
    path.write_text('[]\nnone\n{"event": "round", "index": []}\n{"event": "round", "index": 3, "decided": 7}\n')
    with EventLog(path, goes_on=True) as log:
        log.goes_on_after(4, None)
    assert len(path.read_text().splitlines()) == 4


FULL = """
import resource, sys
from pathlib import Path
from sparknet.training import EventLog
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
EventLog(Path(sys.argv[1]), goes_on=True)
"""


def test_what_is_there_stays_where_the_disk_has_no_room_to_go_on(path):
    train(events=path, rounds=1)
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert "File too large" in done.stderr
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_link_in_its_place_is_replaced(path, tmp_path):
    other = tmp_path / "other"
    other.write_text('{"event": "note"}\n')
    for goes_on in False, True:
        path.unlink(missing_ok=True)
        path.symlink_to(other)
        with EventLog(path, goes_on=goes_on) as log:
            log.write("mine")
        assert kinds(path) == ["note"] * goes_on + ["mine"]
        assert not path.is_symlink()
    assert kinds(other) == ["note"]


def test_numbers_of_numpy_are_written_as_numbers(path):
    train(events=path, rounds=np.int64(1), workers=np.uint8(2), tau=np.int32(3), seed=np.uint8(7))
    settings = read(path)[0]["settings"]
    assert [settings[name] for name in ("rounds", "workers", "tau", "seed")] == [1, 2, 3, 7]


@pytest.mark.parametrize("wrong", [5, b"events", True])
def test_events_are_a_path(wrong):
    with pytest.raises(TypeError, match=r"averaged_sgd\(\): events=.*; expected the path of a file, such as"):
        start(events=wrong)


class Unopened(LocalCluster):
    """No training comes so far."""

    def session(self, *_, **__):
        raise AssertionError


@pytest.mark.parametrize("is_directory", [False, True])
def test_a_file_that_cannot_be_written_is_an_error_before_the_first_round(path, is_directory):
    if is_directory:
        path.mkdir()
    rounds = start(cluster=Unopened(), events=path if is_directory else path / "new")
    with pytest.raises(OSError, match=r"events\.jsonl"):
        next(rounds)


def test_a_second_training_that_is_refused_leaves_the_events_of_the_first(path, tmp_path):
    first, second = start(tmp_path / "kept", events=path), start(tmp_path / "kept", events=path)
    next(first)
    before = path.read_bytes()
    with pytest.raises(Exception, match="writes there"):
        next(second)
    assert path.read_bytes() == before
