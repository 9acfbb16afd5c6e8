"""What workers pull of each other: every slice once and in order, or the name of the worker that does not send it."""

import contextlib
import gc
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import max_examples

from sparknet.transport import Credentials, new_secret
from sparknet.transport.certificate import new_certificate
from sparknet.transport.parts import NotWantedError, Offers, PeerLostError, Pulls, Source

SECRET = new_secret()


@contextlib.contextmanager
def offering(count=1, secret=SECRET, key=None, silence=5.0):
    """Workers that offer nothing yet."""
    offers = [Offers("127.0.0.1", secret=secret, key=key, peers=count, silence=silence) for _ in range(count)]
    try:
        yield offers
    finally:
        for each in offers:
            each.close()


@contextlib.contextmanager
def pulling(credentials=None, me=0, silence=5.0, longest=1 << 26):
    pulls = Pulls(me, credentials or Credentials(SECRET), silence=silence, longest=longest)
    try:
        yield pulls
    finally:
        pulls.close()


def got(pulls, sources, is_wanted=lambda: True):
    return [[bytes(each) for each in slices] for slices in pulls.in_step(sources, is_wanted)]


def source(offers, stage=7, numbers=range(1), peer=0):
    return Source(peer, offers.address, stage, numbers)


@max_examples(40)
@given(st.lists(st.lists(st.binary(max_size=20), max_size=6), min_size=1, max_size=4), st.integers(0, 3))
def test_the_slices_of_all_come_in_step(slices, me):
    with offering(len(slices)) as workers, pulling(me=me) as pulls:
        for place, (worker, its) in enumerate(zip(workers, slices, strict=True)):
            worker.put(place, its)
        sources = [
            source(worker, place, range(len(its)), place)
            for place, (worker, its) in enumerate(zip(workers, slices, strict=True))
        ]
        count = max(map(len, slices))
        expected = [[its[step] if step < len(its) else b"" for its in slices] for step in range(count)]
        assert got(pulls, sources) == expected
        assert got(pulls, sources) == expected  # over the same connections


def test_a_slice_may_have_several_parts_and_only_some_may_be_asked_for():
    with offering() as (worker,), pulling() as pulls:
        worker.put(3, [b"no", [b"some", memoryview(b" weights")], b"more", b"no"])
        assert got(pulls, [source(worker, 3, range(1, 3))]) == [[b"some weights"], [b"more"]]


def test_what_a_worker_offers_itself_it_gets_without_a_connection():
    with offering(2) as (own, other), pulling() as pulls:
        pulls.own = own
        own.put(7, [b"a", [b"some", memoryview(b" weights")]])
        other.put(7, [b"b", b"c"])
        sources = [source(own, 7, range(2)), source(other, 7, range(2), peer=1)]
        assert got(pulls, sources) == [[b"a", b"b"], [b"some weights", b"c"]]
        assert list(pulls._links) == [other.address]
        with pytest.raises(PeerLostError, match="worker 0: it does not have slice 2 of 7"):
            got(pulls, [source(own, 7, range(3))])


@pytest.mark.parametrize("stage", [4, 7])
def test_what_a_worker_does_not_have_is_said_with_its_number(stage):
    with offering() as (worker,), pulling() as pulls:
        worker.put(4, [b"old"])
        worker.put(7, [b"a"])
        worker.forget(before=5)
        with pytest.raises(PeerLostError, match="worker 2: it does not have slice") as raised:
            got(pulls, [source(worker, stage, range(2), peer=2)])
        assert raised.value.peer == 2
        assert got(pulls, [source(worker)]) == [[b"a"]]  # over a new connection


def test_what_was_asked_and_did_not_come_is_not_taken_for_what_is_asked_next():
    with offering(2) as (one, two), pulling() as pulls:
        one.put(7, [b"0", b"1", b"2"])
        one.put(8, [b"3", b"4", b"5"])
        with pytest.raises(PeerLostError):
            got(pulls, [source(one, 7, range(3)), source(two, 7, range(3), peer=1)])
        assert got(pulls, [source(one, 8, range(3))]) == [[b"3"], [b"4"], [b"5"]]
        first = next(pulls.in_step([source(one, 7, range(3))], lambda: True))
        assert [bytes(each) for each in first] == [b"0"]
        gc.collect()  # the generator was left
        assert got(pulls, [source(one, 8, range(3))]) == [[b"3"], [b"4"], [b"5"]]


def test_a_worker_that_ended_is_named():
    with offering() as (worker,), pulling() as pulls:
        worker.put(7, [b"a"])
        assert got(pulls, [source(worker)]) == [[b"a"]]
        worker.close()
        with pytest.raises(PeerLostError, match="worker 0: "):
            got(pulls, [source(worker)])
        with pytest.raises(PeerLostError, match="worker 0: it cannot be reached"):
            got(pulls, [source(worker)])


def test_a_worker_that_says_nothing_is_named_after_the_silence():
    with offering() as (worker,), pulling(silence=0.6) as pulls:
        asked = threading.Event()

        class Later:
            def __len__(self):
                return 1

            def __getitem__(self, _):
                asked.wait(30)
                return b""

        worker.put(7, Later())
        start = time.monotonic()
        with pytest.raises(PeerLostError, match="it does not send what it has"):
            got(pulls, [source(worker)])
        assert time.monotonic() - start >= 0.6
        asked.set()


def test_what_is_no_longer_wanted_is_not_waited_for():
    with offering() as (worker,), pulling(silence=600.0) as pulls:
        ends = threading.Event()

        class Later:
            def __len__(self):
                return 1

            def __getitem__(self, _):
                ends.wait(30)
                return b""

        worker.put(7, Later())
        with pytest.raises(NotWantedError):
            got(pulls, [source(worker)], lambda: False)
        ends.set()


def test_who_does_not_know_the_secret_gets_nothing_and_is_counted(caplog):
    with offering() as (worker,), pulling(Credentials(new_secret())) as pulls:
        worker.put(7, [b"a"])
        with pytest.raises(PeerLostError, match="does not know the secret"):
            got(pulls, [source(worker)])
        with socket.create_connection(worker.address) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n" * 9)
            with contextlib.suppress(ConnectionResetError):
                assert not stranger.recv(1)
        until = time.monotonic() + 30
        while worker.strangers < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert worker.strangers == 2
    assert "did not prove itself" in caplog.text


def test_a_slice_that_is_longer_than_expected_is_not_taken():
    with offering() as (worker,), pulling(longest=100) as pulls:
        worker.put(7, [bytes(101)])
        with pytest.raises(PeerLostError, match="a body of 101 bytes, expected at most 100"):
            got(pulls, [source(worker)])


def test_connections_may_be_encrypted():
    pytest.importorskip("cryptography")
    certificate = new_certificate()
    with offering(key=certificate.private) as (worker,):
        worker.put(7, [bytes(1 << 20)])
        with pulling(Credentials(SECRET, certificate.public)) as pulls:
            assert got(pulls, [source(worker)]) == [[bytes(1 << 20)]]
        other = Credentials(SECRET, new_certificate().public)
        with pulling(other) as pulls, pytest.raises(PeerLostError, match="certificate"):
            got(pulls, [source(worker)])


def test_connections_and_threads_end_with_who_offers():
    before = threading.active_count()
    with offering(3) as workers, pulling() as pulls:
        for worker in workers:
            worker.put(7, [b"a"])
        got(pulls, [source(worker, peer=place) for place, worker in enumerate(workers)])
        assert threading.active_count() > before
    until = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == before
