"""The protocol over real sockets, with workers in threads and in processes that are killed."""

import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from transport.sessions import LIMITS, SECRET, Sum, Workers, connected, doubled, ended, proved, round_of, wait_until

from sparknet.errors import ClusterError, DataError
from sparknet.transport import Hello, Hub, Limits, Result, peers, serve, serving
from sparknet.transport.messages import Beat
from sparknet.transport.wire import receive

WORKER = Path(__file__).with_name("socket_worker.py")


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def encrypt(request):
    return request.param


def test_rounds_go_out_and_come_back_slice_by_slice(encrypt):
    x = np.arange(8, dtype="f4")
    with Hub(2, secret=SECRET, encrypt=encrypt, limits=LIMITS) as hub:
        workers = Workers(hub)
        for k in range(5):
            value, done = round_of(hub, {0: x.tobytes(), 1: [(x + k)[:2].tobytes(), (x + k)[2:].tobytes()]})
            assert (value == 2 * x + 2 * (x + k)).all()
            assert {shard: said.steps for shard, said in done.items()} == {0: 7, 1: 7}
    workers.join()
    assert not workers.errors
    assert hub.ignored == hub.strangers == 0


def test_nothing_is_said_before_a_worker_has_said_who_it_is(monkeypatch):
    act, hellos = serving._Worker._act, []

    def slowly(worker, actions):
        if any(isinstance(getattr(action, "message", None), Hello) for action in actions):
            hellos.append(actions)
            time.sleep(1.0)  # a busy machine: two beats
        act(worker, actions)

    monkeypatch.setattr(serving._Worker, "_act", slowly)
    with Hub(1, secret=SECRET, limits=LIMITS) as hub:
        workers = Workers(hub, shards=1)
        round_of(hub, {0: bytes(32)})
    workers.join()
    assert (len(hellos), hub.strangers, workers.errors) == (1, 0, [])


def test_an_error_of_the_work_ends_the_session_with_its_traceback(encrypt):
    def fails(*_):
        raise KeyError("conv1")

    with Hub(2, secret=SECRET, encrypt=encrypt, limits=LIMITS) as hub:
        workers = Workers(hub, fails)
        with pytest.raises(ClusterError, match=r"shard \d: Traceback[\s\S]*KeyError: 'conv1'"):
            round_of(hub, {0: b"1234", 1: b"1234"})
        with pytest.raises(ClusterError, match="KeyError: 'conv1'"):  # no other round is opened
            round_of(hub, {0: b"1234", 1: b"1234"})
    workers.join()


def test_what_differs_between_workers_and_driver_is_named():
    with Hub(1, secret=SECRET, limits=LIMITS, about={"sparknet": "2.0"}) as hub:
        workers = Workers(hub, shards=1, about={"sparknet": "1.0"})
        with pytest.raises(ClusterError, match=r"the worker of shard 0 has sparknet '1\.0', the driver '2\.0'"):
            round_of(hub, {0: bytes(32)})
    workers.join()


def test_a_shard_without_a_worker_is_named_in_time():
    with Hub(2, secret=SECRET, limits=Limits(beat=0.1, silence=60.0, join=0.5)) as hub:
        workers = Workers(hub, shards=1)
        while not hub._peers:  # under load a worker may take longer to join than the limit
            time.sleep(0.01)
        place = rf"the driver listens at 127\.0\.0\.1:{hub.address[1]}$"
        with pytest.raises(ClusterError, match=rf"^shard 1 has been without a worker for .*; {place}"):
            round_of(hub, {0: bytes(32), 1: bytes(32)})
    workers.join()


def test_a_worker_that_is_late_is_left_out_and_gives_its_work_up(encrypt):
    x, begun, left = np.arange(8, dtype="f4"), threading.Event(), threading.Event()

    def slow(body, exactly, is_wanted):
        if body[0] == 1:
            begun.set()
            while is_wanted():
                time.sleep(0.01)
            left.set()
            return None
        assert begun.wait(200)
        return doubled(body[4:], exactly, is_wanted)

    with Hub(2, secret=SECRET, encrypt=encrypt, limits=LIMITS) as hub:
        workers = Workers(hub, slow)
        wait, go = b"\1\0\0\0" + x.tobytes(), bytes(4) + x.tobytes()
        value, done = round_of(hub, {0: go, 1: wait}, deadline=0.1, quorum=1)
        assert list(done) == [0]
        assert (value == 2 * x).all()
        value, done = round_of(hub, {0: go, 1: go})
        assert left.is_set()
        assert (value == 4 * x).all()
    workers.join()


def test_a_worker_whose_driver_is_gone_ends_with_an_error_that_says_so():
    with pytest.raises(ClusterError, match=r"does not answer at 127\.0\.0\.1:1 "):
        serve(("127.0.0.1", 1), Hello(0), secret=SECRET, do=doubled)
    said = []

    def run(address):
        with pytest.raises(ClusterError) as caught:
            serve(address, Hello(0), secret=SECRET, do=doubled)
        said.append(str(caught.value))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run, args=[listener.getsockname()])
        thread.start()
        connection, _ = listener.accept()
        connection.close()
    thread.join(200)
    assert "broke off before work began" in said[0]


def test_workers_hear_of_the_driver_while_no_round_is_open(encrypt):
    with (
        Hub(1, secret=SECRET, encrypt=encrypt, limits=Limits(beat=0.05, silence=60.0)) as hub,
        closing(proved(hub)) as connection,
    ):
        for _ in range(3):
            assert isinstance(receive(connection, longest=0, allowed=[Beat]), Beat)


def test_a_worker_that_is_silent_while_no_round_is_open_is_dropped_and_its_shard_named(encrypt):
    dropped = queue.SimpleQueue()
    limits = Limits(beat=0.05, silence=0.2)
    with (
        Hub(1, secret=SECRET, encrypt=encrypt, limits=limits, dropped=lambda *told: dropped.put(told)) as hub,
        closing(proved(hub)) as connection,
    ):
        hello, reason = dropped.get(timeout=200)
        assert hello.shard == 0
        assert "has said nothing for" in reason
        assert ended(connection)


def test_a_round_that_the_caller_breaks_off_ends_the_session():
    def breaks(_number, _slices):
        raise ZeroDivisionError("of mine")

    with Hub(2, secret=SECRET, limits=LIMITS) as hub:
        workers = Workers(hub)
        with pytest.raises(ZeroDivisionError):
            hub.round({0: bytes(32), 1: bytes(32)}, combine=breaks)
        with pytest.raises(ClusterError, match="an earlier round of this session was broken off: ZeroDivisionError"):
            round_of(hub, {0: bytes(32), 1: bytes(32)})
        workers.join()  # they were told already
    assert not workers.errors


def test_an_error_that_is_told_between_two_rounds_is_raised_by_the_next():
    with Hub(1, secret=SECRET, limits=LIMITS) as hub:
        workers = Workers(hub, shards=1)
        hub.fail(ClusterError("the cluster is gone"))
        with pytest.raises(ClusterError, match="the cluster is gone"):
            round_of(hub, {0: bytes(32)})
    workers.join()


def test_a_hub_that_is_closed_in_another_thread_ends_the_open_round(encrypt):
    errors = []

    def run():
        with pytest.raises(ClusterError, match="closed while a round was open") as caught:
            round_of(hub, {0: bytes(32)})
        errors.append(caught)

    with Hub(1, secret=SECRET, encrypt=encrypt, limits=LIMITS) as hub:
        thread = threading.Thread(target=run)
        thread.start()
        wait_until(hub.waiting)
    thread.join(200)
    assert errors
    with pytest.raises(ClusterError, match="the session was closed"):
        round_of(hub, {0: bytes(32)})


def test_no_thread_and_no_file_is_left_after_many_sessions(encrypt):
    def used():
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    before = used()
    for _ in range(20):
        with Hub(2, secret=SECRET, encrypt=encrypt, limits=LIMITS) as hub:
            workers = Workers(hub)
            round_of(hub, {0: bytes(32), 1: bytes(32)})
            stranger = connected(hub)
        workers.join()
        stranger.close()
    wait_until(lambda: used() == before)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
def test_a_worker_process_that_is_killed_or_stopped_in_a_round_is_replaced_with_the_same_bits(number, encrypt):
    x = np.arange(100_000, dtype="f4")
    bodies = {0: x.tobytes(), 1: (x + 1).tobytes()}
    processes = []
    with Hub(2, secret=SECRET, encrypt=encrypt, limits=Limits(beat=0.5, silence=4.0, join=120.0)) as hub:

        def start(shard, *options):
            command = [
                sys.executable,
                str(WORKER),
                str(hub.address[1]),
                str(shard),
                pickle.dumps(hub.credentials).hex(),
                *options,
            ]
            processes.append(subprocess.Popen(command))

        start(0)
        start(1)
        expected, _ = round_of(hub, bodies)
        (processes[1]).send_signal(number)
        start(1)
        again, done = round_of(hub, bodies)
        assert (again == expected).all()
        assert sorted(done) == [0, 1]
    if number == signal.SIGSTOP:
        processes[1].send_signal(signal.SIGCONT)
    statuses = [process.wait(200) for process in processes]
    assert statuses == [0, -signal.SIGKILL if number == signal.SIGKILL else 1, 0]


def test_workers_end_when_the_driver_vanishes(encrypt):
    program = (
        "import pickle, sys, time; from sparknet.transport import Hub; from sparknet.transport import Limits\n"
        f"hub = Hub(1, secret=bytes.fromhex({SECRET.hex()!r}), limits=Limits(), encrypt={encrypt})\n"
        "print(hub.address[1], pickle.dumps(hub.credentials).hex(), flush=True); hub.round({0: bytes(4)}, combine=print)"
    )
    driver = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    port, credentials = driver.stdout.readline().split()
    worker = subprocess.Popen(
        [sys.executable, str(WORKER), port, "0", credentials, "sleeps"], stderr=subprocess.PIPE, text=True
    )
    worker.stderr.readline()  # it is at work
    driver.kill()
    _, said = worker.communicate(timeout=200)
    assert worker.returncode == 1
    assert "the connection to the driver was lost" in said
    driver.communicate()


@pytest.mark.parametrize(
    ("bodies", "said"),
    [
        ({0: "weights", 1: b""}, "shard 0 is str"),
        ({0: b"", 1: None}, "shard 1 is NoneType"),
        ({0: np.ones((4, 5)).T}, "shard 0 is ndarray"),
        ({2: b""}, r"shards \[2\]; expected one or more of 0 to 1"),
        ({-1: b""}, r"shards \[-1\]"),
        ({}, r"shards \[\]"),
    ],
)
def test_work_that_cannot_be_sent_is_refused_and_the_session_goes_on(bodies, said):
    with Hub(2, secret=SECRET, limits=LIMITS) as hub:
        workers = Workers(hub)
        with pytest.raises(DataError, match=said):
            hub.round(bodies, combine=Sum().combine)
        empty = np.zeros((0, 3), "f4")
        body = np.ones(8, "f4")
        done = hub.round({0: [empty, body], 1: (part for part in (body, empty))}, combine=Sum().combine)
        assert [each.steps for each in done.values()] == [7, 7]
    workers.join()
    assert not workers.errors


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (b"weights", "returned bytes; expected a Result"),
        (Result(-1, []), "a Result of -1 steps"),
        (Result(1, [], bytes(1 << 21)), "Done has a text of 2,097,156 bytes"),
        (Result(1, ["weights"]), "bytes-like object is required"),
        (Result(1, [np.ones((4, 5)).T]), "C-contiguous"),
    ],
    ids=["no result", "steps", "notes", "text", "strides"],
)
def test_a_result_that_cannot_be_sent_is_told_to_the_driver(result, said):
    with Hub(2, secret=SECRET, limits=LIMITS) as hub:
        workers = Workers(hub, do=lambda *_: result)
        with pytest.raises(ClusterError, match=said):
            hub.round({0: b"", 1: b""}, combine=Sum().combine)
        workers.join()


def test_a_worker_whose_slices_are_too_long_is_named_with_the_reason(encrypt):
    limits = Limits(beat=0.2, silence=60.0, join=1.0)
    with Hub(2, secret=SECRET, encrypt=encrypt, limits=limits, longest=10) as hub:
        workers = Workers(hub, do=lambda *_: Result(1, [bytes(11)]), limits=limits)
        with pytest.raises(ClusterError, match="a body of 11 bytes, expected at most 10"):
            hub.round({0: b"", 1: b""}, combine=Sum().combine)
        workers.join()


def test_a_worker_whose_result_the_driver_has_no_memory_for_is_let_go_at_once_with_the_reason(monkeypatch):
    def no_memory(*_args, **_options):
        msg = "no room"
        raise MemoryError(msg)

    monkeypatch.setattr(peers, "messages", no_memory)
    with Hub(1, secret=SECRET, limits=Limits(beat=0.2, silence=60.0, join=0.5)) as hub:
        workers = Workers(hub, shards=1)
        wait_until(lambda: hub.ignored == 1)
        with pytest.raises(ClusterError, match=r"^shard 0 .* cannot be taken: MemoryError: no room$"):
            round_of(hub, {0: bytes(32)})
        workers.join()
    assert "was lost" in str(workers.errors[0])
