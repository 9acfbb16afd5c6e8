"""What an open round waits for is told, in times that follow what rounds before it took: a worker that lives and never ends its step, too."""

import logging
import os
import re
import socket
import threading

import pytest
from transport.sessions import LIMITS, SECRET, Workers, doubled, opened, round_of, wait_until

from sparknet.transport import Done, DriverSide, Hello, Hub, Limits, overdue
from sparknet.transport.overdue import Overdue

WORK = {0: bytes(32), 1: bytes(32)}


def driver_of(shards, joined):
    """Return a driver whose round is open, and so many workers have joined."""
    driver = DriverSide(shards, Limits(join=1e9), 0.0)
    for shard in range(joined):
        driver.joined(shard, Hello(shard), 0.0)
    driver.open(dict.fromkeys(range(shards), "work"), 0.0)
    return driver


def said(late, driver, seconds, kind="round"):
    """Let a round begin, and return when something was said of it, and what."""
    late.begin(kind, 0.0)
    return {now: words for now in range(seconds) if (words := late.words(driver, float(now)))}


def test_a_first_round_is_told_of_after_30_seconds_and_then_each_time_twice_as_late():
    lines = said(Overdue(), driver_of(2, 2), 1000)
    assert list(lines) == [30, 60, 120, 240, 480, 960]
    assert lines[30].startswith(
        "this round has taken 30 s, and waits for shard 0: its steps, for 30 s; shard 1: its steps, for 30 s. It is waited for as long"
    )
    assert (
        lines[60]
        == "this round has taken 60 s, and waits for shard 0: its steps, for 60 s; shard 1: its steps, for 60 s"
    )


def test_a_round_is_late_once_it_takes_three_times_as_long_as_the_longest_one_of_its_kind():
    late, driver = Overdue(), driver_of(1, 1)
    for took in 40.0, 50.0, 20.0:
        late.begin("round", 0.0)
        late.end(took)
    late.begin("evaluation", 0.0)
    late.end(4000.0)
    lines = said(late, driver, 400)
    assert list(lines) == [150, 300]
    assert lines[150].startswith("this round has taken 150 s, the longest before it 50.0 s, and waits for shard 0: its")


def test_a_round_that_stood_still_does_not_make_the_next_ones_late_only_after_hours():
    late, driver = Overdue(), driver_of(1, 1)
    for took in 20.0, 3600.0:
        late.begin("round", 0.0)
        late.end(took)
    assert list(said(late, driver, 600)) == [180, 360]  # three times the 60 s from which on it was told of


def test_a_shard_without_a_worker_is_told_of_after_30_seconds_however_long_rounds_take():
    late = Overdue({"round": 1000.0})
    driver = driver_of(2, 1)
    lines = said(late, driver, 200)
    assert list(lines) == [30, 60, 120]
    assert "waits for shard 1: no worker for 30 s; shard 0: its steps, for 30 s." in lines[30]
    driver.joined(9, Hello(1), 200.0)
    assert late.words(driver, 300.0) == ""
    driver.lost(9, 300.0)
    assert [now for now in range(300, 400) if late.words(driver, float(now))] == [330, 360]


def test_many_shards_are_counted_and_not_all_named():
    assert driver_of(100, 0).waiting(7.0).endswith("; shard 7: no worker for 7 s; 92 more shards")
    assert "more" not in driver_of(8, 0).waiting(7.0)


def test_nothing_is_said_of_a_round_that_waits_for_nobody():
    late, driver = Overdue(), driver_of(1, 1)
    driver.received(0, Done(1, steps=1, slices=0), 1.0)
    assert said(late, driver, 300) == {}


def test_the_worker_that_is_waited_for_is_named_by_its_host_and_process():
    driver = DriverSide(2, Limits(join=1e9), 0.0)
    for shard, about in enumerate([{"host": "node7", "pid": "4711"}, {"host": "node8"}]):
        driver.joined(shard, Hello(shard, about), 0.0)
    driver.open({0: "work", 1: "work"}, 0.0)
    assert driver.waiting(3.0) == "shard 0 (pid 4711 on node7): its steps, for 3 s; shard 1: its steps, for 3 s"
    driver.received(0, Done(1, steps=1, slices=6), 4.0)
    driver.received(1, Done(1, steps=1, slices=0), 4.0)
    assert driver.waiting(5.0) == "shard 0 (pid 4711 on node7): slice 0"
    driver.lost(0, 6.0)
    assert driver.waiting(9.0) == "shard 0: no worker for 3 s"


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(overdue, "_FIRST", 0.2)
    monkeypatch.setattr(overdue, "_LOOK", 0.05)


@pytest.mark.usefixtures("soon")
def test_a_worker_that_lives_and_does_not_end_its_step_is_told_of_once_each_time(caplog):
    goes_on = threading.Event()

    def stuck(body, exactly, is_wanted):
        if body[0]:
            assert goes_on.wait(200)
        return doubled(body[4:], exactly, is_wanted)

    def lines():
        return [text for text in caplog.messages if text.startswith("this ")]

    def until_two():
        wait_until(lambda: len(lines()) > 1)
        goes_on.set()

    x = bytes(32)
    with caplog.at_level(logging.WARNING), opened(2, Limits(beat=0.1, silence=60.0)) as hub:
        workers = Workers(hub, stuck, limits=LIMITS)
        round_of(hub, {0: bytes(4) + x, 1: bytes(4) + x})
        caplog.clear()
        waits = threading.Thread(target=until_two)
        waits.start()
        value, _ = round_of(hub, {0: bytes(4) + x, 1: b"\1\0\0\0" + x}, kind="evaluation")
        waits.join()
        assert not value.any()
        assert all(text.startswith("this evaluation has taken ") for text in lines())
        where = re.escape(f"shard 1 (pid {os.getpid()} on {socket.gethostname()})")
        assert re.search(rf"{where}: its steps, for \d+ s$", lines()[-1])
        assert len(lines()) <= 12  # each twice as late as the one before
    workers.join()
    assert not workers.errors


def test_a_hub_that_follows_another_one_knows_how_long_rounds_take():
    took = {}
    with Hub(2, secret=SECRET, limits=LIMITS, took=took) as hub:
        workers = Workers(hub)
        round_of(hub, WORK)
        round_of(hub, WORK, kind="evaluation")
    workers.join()
    assert sorted(took) == ["evaluation", "round"]
    assert all(seconds > 0 for seconds in took.values())
