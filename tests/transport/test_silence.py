"""How long a side may say nothing: a step that keeps the threads of its worker waiting is no lost worker, nor is one that stood still itself."""

import socket
import threading
import time
from contextlib import closing

import pytest
from transport.sessions import SECRET, Workers, round_of, wait_until
from transport.simulation import World, undisturbed

from sparknet.errors import ClusterError
from sparknet.transport import (
    Beat,
    Done,
    DriverSide,
    Drop,
    GiveUp,
    Hello,
    Hub,
    Limits,
    RunAgain,
    Send,
    Stop,
    Work,
    WorkerSide,
)
from sparknet.transport.faults import JOB_FAILED
from sparknet.transport.tls import Channel
from sparknet.transport.wire import receive, send

LIMITS = Limits(beat=5.0, silence=60.0)


def ticked(driver, seconds, *, hears=None):
    """Let time pass second by second; return when which workers were given up, and all that was said of it."""
    found = {}
    for now in seconds:
        if hears is not None:
            driver.heard(hears, now)
        for action in driver.tick(float(now)):
            if isinstance(action, Drop):
                found[now] = action
    return found


def test_each_worker_of_a_shard_may_be_silent_for_twice_as_long_as_the_one_that_was_given_up():
    driver = DriverSide(1, LIMITS, 0.0)
    driver.open({0: "work"}, 0.0)
    driver.joined(0, Hello(0), 0.0)
    ((at, drop),) = ticked(driver, range(100)).items()
    assert at == 60
    assert drop.reason.endswith("nothing for 60 s, and may for 60 s; the next worker of its shard may for 120 s")
    for peer, limit in (1, 120), (2, 240), (3, 480), (4, 480):
        driver.joined(peer, Hello(0), float(at))
        begun, (at, *_) = at, ticked(driver, range(at, at + limit + 50))
        assert at == begun + limit


def test_once_a_round_has_ended_the_limits_are_those_of_the_beginning():
    driver = DriverSide(1, LIMITS, 0.0)
    driver.open({0: "work"}, 0.0)
    driver.joined(0, Hello(0), 0.0)
    assert list(ticked(driver, range(61))) == [60]
    driver.joined(1, Hello(0), 60.0)
    driver.received(1, Done(1, steps=1, slices=0), 61.0)
    driver.open({0: "work"}, 61.0)
    assert list(ticked(driver, range(61, 200))) == [121]


def test_a_worker_may_be_silent_for_three_times_as_long_as_one_that_was_heard_again():
    driver = DriverSide(2, LIMITS, 0.0)
    for shard in 0, 1:
        driver.joined(shard, Hello(shard), 0.0)
    ticked(driver, range(50))
    for shard in 0, 1:
        driver.heard(shard, 50.0)
    assert list(ticked(driver, range(50, 400), hears=1)) == [200]


def test_time_in_which_the_driver_stood_still_is_no_silence_of_its_workers():
    driver = DriverSide(1, LIMITS, 0.0)
    driver.joined(0, Hello(0), 0.0)
    ticked(driver, range(5))
    assert driver.tick(100.0) == [Send(0, Beat())]
    assert list(ticked(driver, range(101, 200))) == [156]  # the 4 seconds before count


def test_what_comes_while_the_driver_stands_still_does_not_make_it_patient():
    driver = DriverSide(2, LIMITS, 0.0)
    for shard in 0, 1:
        driver.joined(shard, Hello(shard), 0.0)
    ticked(driver, range(5))
    assert (
        driver.received(0, Beat(), 104.0) == []
    )  # it has waited for a hundred seconds, as the one of the other worker still does
    assert driver.heard(1, 104.0) == []
    assert list(ticked(driver, range(105, 300))) == [164]  # both: not three times a hundred seconds later


def test_a_driver_that_has_vanished_is_missed_though_each_step_keeps_the_threads_of_its_worker_waiting():
    def ends(hears=None):
        worker = WorkerSide(Hello(0), LIMITS, 0.0)
        worker.received(Work(1, "work"), 0.0)
        for now in range(0, 2000, 11):
            if now == hears:
                worker.heard(float(now))
            if any(isinstance(action, Stop) for action in worker.tick(float(now))):
                return now
        return None

    assert ends() == 8 * 11 + 66  # what it stood still for is no silence, eight times; then 60 s are
    assert ends(hears=110) == 110 + 7 * 11 + 66  # the first of the eight is the one in which it is heard


def test_time_in_which_a_worker_stood_still_is_no_silence_of_the_driver():
    worker = WorkerSide(Hello(0), LIMITS, 0.0)
    worker.received(Work(1, "work"), 0.0)
    assert not any(isinstance(action, Stop) for now in (*range(5), *range(100, 150)) for action in worker.tick(now))
    (stop,) = (action for now in range(150, 200) for action in worker.tick(now) if isinstance(action, Stop))
    assert stop.is_lost


def test_what_has_come_is_read_however_late():
    here, there = socket.socketpair()
    with closing(here), closing(there):
        here.settimeout(0.01)
        later = threading.Timer(0.3, send, [there, Beat()])
        later.start()
        assert receive(here, longest=0, allowed=[Beat], waits=lambda: True) == Beat()
        later.join()
        with pytest.raises(TimeoutError):
            receive(here, longest=0, allowed=[Beat])
        channel = object.__new__(Channel)
        channel._socket = here
        there.sendall(b"x")
        Channel._wait(channel, 1, time.monotonic() - 60)  # select.POLLIN; the thread was kept from waiting in time
        here.recv(1)
        with pytest.raises(TimeoutError):
            Channel._wait(channel, 1, time.monotonic() - 60)


# ---- the job that runs the workers
def test_a_job_that_fails_is_run_again_and_the_round_ends_with_its_bits():
    world = World(2, 2)
    for shard in 0, 1:
        world.start(shard)
    for _ in range(2):  # one try less than there are
        while not all(seat.peer is not None for seat in world.driver._seats):
            world.quiet_turn()
        world.job_fails()
        assert not world.driver._peers
        for shard in 0, 1:
            world.start(shard)
    world.settle()
    assert {"RunAgain", "Drop"} <= world.seen
    assert (world.error, world.kept) == (None, (2, undisturbed([(0, 1)] * 2)))


def test_a_job_that_fails_again_and_again_without_progress_is_given_up_with_its_own_error():
    driver, error = DriverSide(1, Limits(tries=3), 0.0), ClusterError("no memory")
    driver.open({0: "work"}, 0.0)
    assert driver.job_failed(ClusterError("first"), 1.0) == [RunAgain()]
    driver.joined(0, Hello(0), 2.0)
    first, again = driver.job_failed(ClusterError("second"), 3.0)
    assert (first, again) == (Drop(0, JOB_FAILED), RunAgain())
    assert driver.waiting(3.0) == "shard 0: no worker for 0 s"  # the time begins anew
    assert driver.job_failed(error, 4.0) == [GiveUp(error)]
    assert driver.open({0: "work"}, 5.0) == [GiveUp(error)]
    assert driver.job_failed(ClusterError("fourth"), 6.0) == []  # the session is over


def test_a_shard_whose_worker_lets_the_job_fail_each_time_is_no_progress_of_the_others():
    driver, error = DriverSide(2, Limits(tries=2), 0.0), ClusterError("a segmentation fault")
    driver.open({0: "work", 1: "work"}, 0.0)

    def fails(first, *, done):
        for shard in 0, 1:
            driver.joined(first + shard, Hello(shard), 1.0)
        for shard in done:
            driver.received(first + shard, Done(1, steps=1, slices=1), 2.0)
        return driver.job_failed(error, 3.0)[-1]

    assert fails(0, done=[]) == RunAgain()
    assert fails(2, done=[0]) == RunAgain()  # something was done that was not done before
    assert fails(4, done=[0]) == GiveUp(error)


def test_a_job_that_fails_drops_its_workers_and_starts_others():
    started = []

    def run_again():
        started.append(Workers(hub, shards=1))

    with Hub(1, secret=SECRET, limits=Limits(beat=0.5, silence=60.0), run_again=run_again) as hub:
        first = Workers(hub, shards=1)
        wait_until(lambda: hub._machine._peers)
        hub.job_failed(ClusterError("lost executors"))
        value, _ = round_of(hub, {0: bytes(32)})
        assert not value.any()
        first.join()
        (error,) = first.errors
        assert str(error).startswith("the connection to the driver was lost (shard 0, the driver at ")
    started[0].join()
    assert (len(started), started[0].errors) == (1, [])


def test_a_shard_may_be_without_a_worker_for_as_long_as_was_found_to_be_needed():
    driver = DriverSide(2, LIMITS, 0.0)
    driver.joined(0, Hello(0), 0.0)
    assert driver.without_worker(7.0) == {}  # no work waits for one
    driver.open({0: "work", 1: "work"}, 10.0)
    assert driver.without_worker(17.0) == {1: 7.0}
    driver.join = 300.0
    assert driver.wake() <= 310.0
    assert not [action for now in range(10, 310) for action in driver.tick(float(now)) if isinstance(action, GiveUp)]
    (error,) = [action.error for action in driver.tick(310.0) if isinstance(action, GiveUp)]
    assert "shard 1 has been without a worker for 300 s, expected one within 300 s" in str(error)


def test_the_wait_for_workers_is_made_longer_and_never_shorter():
    with Hub(1, secret=SECRET, limits=Limits(join=0.5, silence=60.0)) as hub:
        hub.wait_for_workers(0.1)
        with pytest.raises(ClusterError, match=r"expected one within 0 s|expected one within 1 s"):
            hub.round({0: b""}, combine=lambda *_: None)
    with Hub(1, secret=SECRET, limits=Limits(join=0.5, silence=60.0)) as hub:
        hub.wait_for_workers(1.6)
        with pytest.raises(ClusterError, match="expected one within 2 s"):
            hub.round({0: b""}, combine=lambda *_: None)
