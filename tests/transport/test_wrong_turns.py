"""What people do wrong in a loop of their own over a hub: each is told at once, and says what was expected."""

import logging
import re
import threading
from contextlib import contextmanager

import pytest
from transport.sessions import SECRET, Workers

from sparknet import ClusterError, DataError
from sparknet.transport import (
    Credentials,
    DriverSide,
    Drop,
    Enough,
    Hello,
    Hub,
    Limits,
    Result,
    new_secret,
    serve,
    serving,
)

LIMITS = Limits(beat=0.5, silence=120.0)


def echoed(body, *_):
    return Result(steps=1, slices=[bytes(body)])


@contextmanager
def hub_with(do=echoed, hello=None, **options):
    """Yield a hub with one worker, in a thread, and what becomes of that."""
    ends = []

    def work():
        try:
            serve(hub.address, hello or Hello(0), secret=hub.credentials, do=do, limits=LIMITS)
        except ClusterError as error:
            ends.append(str(error))
        else:
            ends.append("closed")

    with Hub(1, secret=new_secret(), limits=LIMITS, **options) as hub:
        worker = threading.Thread(target=work)
        worker.start()
        yield hub, ends, worker
    worker.join(300)
    assert ends


@pytest.mark.parametrize(
    "options",
    [
        {"quorum": 1},
        {"deadline": 1.0},
        {"deadline": 1.0, "quorum": 2},
        {"deadline": 1.0, "quorum": 0},
        {"deadline": 1.0, "quorum": 0.5},
        {"deadline": 1.0, "quorum": Enough(2, bool)},
        {"deadline": "1", "quorum": 1},
        {"deadline": float("nan"), "quorum": 1},
    ],
)
def test_a_deadline_or_a_quorum_that_would_be_waited_for_in_vain_is_refused_and_the_session_goes_on(options):
    with hub_with() as (hub, _, _):
        with pytest.raises(
            DataError, match=r"quorum=.*expected both, seconds from now and a number of workers from 1 to 1"
        ):
            hub.round({0: b"x"}, combine=lambda *_: None, **options)
        assert list(hub.round({0: b"x"}, combine=lambda *_: None)) == [0]
        assert list(hub.round({0: b"x"}, combine=lambda *_: None, deadline=200, quorum=1)) == [0]


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        (lambda *_: None, "the work returned NoneType; expected a Result"),
        (lambda *_: Result(1, b"abc"), r"slices are one bytes; expected a sequence of slices, such as \[data\]"),
    ],
    ids=["no return", "one bytes"],
)
def test_work_that_returns_something_else_ends_the_session_with_what_was_expected(do, expected):
    with hub_with(do) as (hub, _, _), pytest.raises(ClusterError, match=expected):
        hub.round({0: b"x"}, combine=lambda *_: None)


def test_a_worker_of_a_shard_that_is_not_there_is_told_of(caplog):
    with caplog.at_level(logging.WARNING), hub_with(hello=Hello(7)) as (hub, ends, worker):
        worker.join(300)
        assert ends == [f"the connection to the driver was lost (shard 7, the driver at 127.0.0.1:{hub.address[1]})"]
    assert "the worker of shard 7 is given up: there is no shard 7" in caplog.text


def test_a_slice_that_is_too_long_is_told_of_while_the_round_waits_for_another_worker(caplog):
    with caplog.at_level(logging.WARNING), hub_with(longest=2) as (hub, _, worker):
        closer = threading.Thread(target=lambda: (worker.join(300), hub.close()))
        closer.start()
        with pytest.raises(ClusterError, match="closed while a round was open"):
            hub.round({0: b"abc"}, combine=lambda *_: None)
        closer.join(300)
    assert "the worker of shard 0 sent what cannot be taken, its connection is closed: " in caplog.text


def no_memory(*_args, **_options):
    raise MemoryError


@pytest.mark.parametrize("reads", [serving.messages, no_memory], ids=["too long", "no memory"])
def test_a_worker_that_cannot_take_its_work_ends_at_once_and_says_why(monkeypatch, reads):
    monkeypatch.setattr(serving, "messages", reads)
    ends = []

    def work():
        with pytest.raises(ClusterError) as caught:
            serve(hub.address, Hello(0), secret=SECRET, do=echoed, limits=LIMITS, longest=10)
        ends.append(str(caught.value))
        hub.close()

    with Hub(1, secret=SECRET, limits=LIMITS) as hub:
        worker = threading.Thread(target=work)
        worker.start()
        with pytest.raises(ClusterError, match=r"the session (is|was) closed"):
            hub.round({0: bytes(11)}, combine=lambda *_: None)
        worker.join(300)
    (said,) = ends
    why = (
        r"MemoryError: "
        if reads is no_memory
        else r"FormatError: frame: Work has a body of 11 bytes, expected at most 10"
    )
    place = rf" \(shard 0, the driver at 127\.0\.0\.1:{hub.address[1]}\)"
    assert re.fullmatch(rf"what the driver has sent cannot be taken, with longest=10: {why}{place}", said)


@pytest.mark.parametrize("secret", ["a secret of 32 characters, a text", b"too short", b"", None])
def test_a_secret_that_can_be_guessed_is_refused(secret):
    for make in (Credentials, lambda s: Hub(1, secret=s), lambda s: serve(("", 1), Hello(0), secret=s, do=echoed)):
        with pytest.raises(DataError, match=r"expected at least 16 bytes .* new_secret\(\)"):
            make(secret)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beat", 0.0),
        ("beat", "5"),
        ("silence", float("nan")),
        ("silence", float("inf")),
        ("join", float("nan")),
        ("grace", -1.0),
        ("spare", None),
        ("tries", 0),
        ("window", 0),
        ("window", 1.5),
        ("window", True),
    ],
)
def test_limits_that_would_wait_in_vain_or_not_at_all_are_refused(name, value):
    with pytest.raises(DataError, match=rf"^Limits: {name}=.*; expected "):
        Limits(**{name: value})
    assert Limits(grace=0, spare=0, join=float("inf"))


def test_limits_of_a_worker_by_which_one_side_would_be_lost_to_the_other_are_named():
    with Hub(1, secret=SECRET, limits=Limits(beat=30.0, silence=90.0)) as hub:
        workers = Workers(hub, shards=1, limits=Limits())
        said = r"^the worker of shard 0: its Limits have beat=5\.0 s and silence=30\.0 s, the driver has beat=30\.0 s"
        with pytest.raises(ClusterError, match=said):
            hub.round({0: b"x"}, combine=lambda *_: None)
    workers.join()


def test_what_only_tries_whether_it_gets_here_is_no_message_for_nobody():
    driver = DriverSide(1, LIMITS, 0.0)
    assert isinstance(driver.joined(0, Hello(1 << 40, {"probe": ""}), 0.0)[0], Drop)
    assert driver.ignored == 0
    assert isinstance(driver.joined(1, Hello(1), 0.0)[0], Drop)
    assert driver.ignored == 1


@pytest.mark.parametrize("shards", [0, -1, "2", True, 1.0])
def test_a_hub_without_a_shard_is_refused(shards):
    with pytest.raises(DataError, match=r"shards=.*; expected a number of at least 1"):
        Hub(shards, secret=new_secret())


def test_a_host_that_is_none_is_named():
    with pytest.raises(OSError, match=r"address='no host'"):
        Hub(1, secret=new_secret(), address="no host")


@pytest.mark.parametrize(("address", "hello"), [("127.0.0.1:9", Hello(0)), (("127.0.0.1", 9), 0)])
def test_an_address_or_a_shard_of_another_form_is_refused(address, hello):
    with pytest.raises(DataError, match=r"expected Hub\.address, which is \(host, port\), and Hello\(shard\)"):
        serve(address, hello, secret=new_secret(), do=echoed)
