"""Strangers at the port of a session: whatever they do, its rounds have the same bits, its memory stays, and they are counted."""

import contextlib
import os
import socket
import ssl
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from transport.relay import Relay
from transport.sessions import (
    LIMITS,
    SECRET,
    Workers,
    connected,
    ended,
    header_of,
    opened,
    proved,
    round_of,
    told,
    wait_until,
)

from sparknet.errors import ClusterError
from sparknet.transport import Beat, Done, Hello, Limits, Slice, door, serve
from sparknet.transport.frames import framed
from sparknet.transport.handshake import GREETING_BYTES, WorkerHandshake, new_secret
from sparknet.transport.tls import Channel, worker_context
from sparknet.transport.wire import send

X = np.arange(8, dtype="f4")
BODIES = {0: X.tobytes(), 1: X.tobytes()}
GROWTH = 8 << 20  # bytes that a session may take more


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def encrypt(request):
    return request.param


def memory():
    """Return the bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def says(*what):
    return lambda hub: connected(hub, *what)


def sends_much(hub):
    """Send 64 MiB without a proof, until the hub breaks off."""
    connection = connected(hub)
    with contextlib.suppress(OSError):
        for _ in range(64):
            connection.sendall(bytes(1 << 20))
    return connection


def says_a_length(hub):
    """Greet rightly, and send a frame of 10 GB in the place of a proof."""
    return connected(hub, WorkerHandshake(SECRET).greeting(), header_of(Slice(1, 0, b""), body=10 * 2**30))


def ends_its_half(hub):
    connection = connected(hub, WorkerHandshake(SECRET).greeting())
    connection.shutdown(socket.SHUT_WR)
    return connection


def speaks_tls(hub, hello=b""):
    """Speak TLS to whoever is there, and send this."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = connected(hub)
    connection.settimeout(200)
    with contextlib.suppress(OSError):
        connection = context.wrap_socket(connection)
        connection.sendall(hello)
    return connection


def speaks_tls_and_noise(hub):
    return speaks_tls(hub, os.urandom(4096))


def speaks_tls_and_says_a_length(hub):
    return speaks_tls(hub, WorkerHandshake(SECRET).greeting() + bytes(32) + header_of(Hello(0), text=10 * 2**30))


STRANGERS = {
    "nothing": says(),
    "half a greeting": says(b"spark"),
    "HTTP": says(b"GET / HTTP/1.1\r\n\r\n" * 10),
    "noise": says(os.urandom(4096)),
    "zeros": says(bytes(4096)),
    "a client hello of TLS, changed": says(b"\x16\x03\x01\x40\x00" + os.urandom(4096)),
    "another secret": says(WorkerHandshake(new_secret()).greeting() + bytes(32)),
    "no proof": says(WorkerHandshake(SECRET).greeting() + bytes(32) + framed(Hello(0))[0]),
    "much": sends_much,
    "10 GB": says_a_length,
    "TLS": speaks_tls,
    "TLS and noise": speaks_tls_and_noise,
    "TLS and 10 GB": speaks_tls_and_says_a_length,
    "half the connection": ends_its_half,
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_changes_nothing_but_a_counter(stranger, encrypt):
    with opened(2, encrypt=encrypt) as hub:
        workers = Workers(hub)
        value, _ = round_of(hub, BODIES)
        before = memory()
        strangers = [STRANGERS[stranger](hub) for _ in range(4)]
        again, _ = round_of(hub, BODIES)
        assert (again == value).all()
        assert memory() - before < GROWTH
        for each in strangers:
            each.close()
        wait_until(lambda: hub.strangers == 4)
        assert hub.ignored == 0
    workers.join()
    assert not workers.errors


def test_the_first_stranger_is_told_of_and_at_the_end_how_many_there_were(encrypt, caplog):
    with opened(1, encrypt=encrypt) as hub:
        for _ in range(3):
            connected(hub, b"GET / HTTP/1.1\r\n\r\n" * 10).close()
        wait_until(lambda: hub.strangers == 3)
    first, all_of_them = [record.getMessage() for record in caplog.records]
    assert first.startswith("a connection from 127.0.0.1 did not prove itself (")
    assert first.endswith("Others are counted in Hub.strangers and told of at the end")
    assert all_of_them == "3 connections to this session did not prove themselves"


def test_200_connections_at_once_keep_no_worker_out(encrypt):
    with opened(2, encrypt=encrypt) as hub:
        before = memory()
        silent = [connected(hub) for _ in range(200)]
        workers = Workers(hub)
        value, _ = round_of(hub, BODIES)
        assert (value == 4 * X).all()
        assert memory() - before < GROWTH
        assert all(map(ended, silent[:130]))  # the oldest made room
    assert all(map(ended, silent[130:]))
    workers.join()
    assert not workers.errors
    assert hub.strangers == 200


def test_the_more_workers_may_come_the_more_connections_are_kept(monkeypatch):
    monkeypatch.setattr(door, "GREETS", 200.0)
    with opened(20) as hub:
        early = [connected(hub) for _ in range(70)]  # more than are kept of strangers alone
        workers = Workers(hub, shards=20)
        value, _ = round_of(hub, dict.fromkeys(range(20), X.tobytes()))
        assert (value == 40 * X).all()
        assert hub.strangers == 0
        for each in early:
            each.settimeout(0)
            with pytest.raises(BlockingIOError):  # it is open, and was told nothing
                each.recv(1)
            each.close()
    workers.join()
    assert not workers.errors


@pytest.mark.parametrize("address", ["::1", "localhost"])
def test_a_hub_listens_at_an_ipv6_address_and_at_a_name(address):
    try:
        socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET).close()
    except OSError:
        pytest.skip(f"this machine has no {address}")
    with opened(1, address=address) as hub:
        workers = Workers(hub, shards=1)
        value, _ = round_of(hub, {0: X.tobytes()})
        assert (value == 2 * X).all()
    workers.join()
    assert not workers.errors


def test_a_worker_that_made_room_for_strangers_comes_again(encrypt):
    with opened(1, encrypt=encrypt) as hub, Relay(hub, broken=2) as relay:
        workers = Workers(relay, shards=1)
        value, _ = round_of(hub, {0: X.tobytes()})
        assert (value == 2 * X).all()
        hub.close()
        workers.join()
    assert not workers.errors


def dripped(connection, data, seconds):
    """Send a byte at a time until the other side breaks off."""
    with contextlib.suppress(OSError):
        while True:
            for byte in data:
                connection.sendall(bytes([byte]))
                time.sleep(seconds)


def hello_of_tls(_hub, _connection):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


def record_of_tls(hub, connection):
    """Agree on keys first, and return an encrypted greeting."""
    channel = Channel(connection, worker_context(hub.credentials.certificate), time.monotonic() + 200)
    channel._tls.write(WorkerHandshake(SECRET).greeting())
    connection.settimeout(None)
    return channel._outgoing.read()


@pytest.mark.parametrize(
    ("said", "encrypt"),
    [(lambda *_: b"sparknet", False), (hello_of_tls, True), (record_of_tls, True)],
    ids=["plain", "hello of TLS", "record of TLS"],
)
def test_a_byte_now_and_then_holds_a_connection_for_its_time_only(said, encrypt, monkeypatch, caplog):
    with opened(2, encrypt=encrypt) as hub:
        workers = Workers(hub)
        value, _ = round_of(hub, BODIES)
        monkeypatch.setattr(door, "GREETS", 1.0)
        connection = connected(hub)
        data = said(hub, connection)
        thread = threading.Thread(target=dripped, args=(connection, data, 1 / 8), daemon=True)
        thread.start()
        while thread.is_alive():
            again, _ = round_of(hub, BODIES)
            assert (again == value).all()
        wait_until(lambda: hub.strangers == 1)
        connection.close()
    workers.join()
    assert not workers.errors
    assert "timed out" in caplog.text


def test_a_session_that_was_recorded_proves_nothing(encrypt):
    with opened(2, encrypt=encrypt) as hub, Relay(hub) as relay:
        workers = Workers(relay)
        value, _ = round_of(hub, BODIES)
        recorded = [bytes(each) for each in relay.heard]
        assert all(len(each) > GREETING_BYTES + 100 for each in recorded)
        replayed = [connected(hub, each) for each in recorded * 2]
        heard = [told(each) for each in replayed]
        if not encrypt:
            assert max(map(len, heard)) <= 64  # the driver's proof; a worker would be told of work
        wait_until(lambda: hub.strangers == 4)
        again, _ = round_of(hub, BODIES)
        assert (again == value).all()
        assert hub.ignored == 0
        hub.close()
        workers.join()
    assert not workers.errors


def test_a_proof_that_was_recorded_proves_the_connection_alone_that_it_was_made_for():
    handshake = WorkerHandshake(SECRET)
    with opened(1) as hub:
        greeting, hello = handshake.greeting(), framed(Hello(0))[0]
        first = connected(hub, greeting)
        proof = handshake.proof(first.recv(64, socket.MSG_WAITALL))
        second = connected(hub, greeting, proof, hello)
        assert len(told(second)) <= 64
        assert hub.strangers == 1
        first.sendall(proof + hello)
        assert first.recv(48, socket.MSG_WAITALL)
        assert hub.strangers == 1
        first.close()


def test_a_peer_that_says_who_it_is_without_a_proof_is_told_nothing():
    with opened(1) as hub:
        peer = connected(hub, WorkerHandshake(SECRET).greeting(), bytes(32), framed(Hello(0))[0])
        assert len(told(peer)) <= 64
        assert hub.strangers == 1


LENGTHS = {
    "slice": header_of(Slice(1, 0, b""), body=10 * 2**30),
    "text": header_of(Done(1, 1, 1), text=10 * 2**30),
    "all bits": header_of(Slice(1, 0, b""), body=-1),
    "work": header_of(Beat(), body=10 * 2**30),
}


@pytest.mark.parametrize("header", LENGTHS.values(), ids=LENGTHS)
def test_a_length_that_a_worker_makes_up_ends_its_connection_and_takes_no_memory(header, encrypt):
    with opened(1, encrypt=encrypt, longest=1000) as hub:
        connection = proved(hub)
        before = memory()
        connection.sendall(header)
        assert ended(connection)
        assert memory() - before < GROWTH
        workers = Workers(hub, shards=1)
        value, _ = round_of(hub, {0: X.tobytes()})
        assert (value == 2 * X).all()
        assert (hub.ignored, hub.strangers) == (1, 0)
    workers.join()


@pytest.mark.parametrize("encrypt", [False, pytest.param(True, marks=pytest.mark.further)], ids=["plain", "tls"])
def test_a_worker_that_lives_and_reads_nothing_is_replaced_with_the_same_bits(encrypt):
    x = np.arange(4 << 20, dtype="f4")  # more than the sockets' buffers
    is_over = threading.Event()

    def beats(connection):
        with contextlib.suppress(OSError):
            while not is_over.wait(0.05):
                send(connection, Beat())

    with opened(1, Limits(beat=0.1, silence=2.0, join=120.0), encrypt=encrypt) as hub:
        deaf = proved(hub)
        wait_until(lambda: len(hub._peers) == 1)
        beating = threading.Thread(target=beats, args=[deaf])
        beating.start()
        workers = Workers(hub, shards=1, limits=Limits(beat=0.1, silence=60.0))
        value, _ = round_of(hub, {0: x.tobytes()})
        assert (value == 2 * x).all()
        is_over.set()
        beating.join()
    workers.join()
    deaf.close()
    assert not workers.errors


def test_a_worker_takes_no_work_from_who_does_not_know_the_secret():
    called = []
    with opened(1) as hub:
        other = new_secret()
        with pytest.raises(ClusterError, match="does not know the secret of this session"):
            serve(hub.address, Hello(0), secret=other, do=called.append, limits=LIMITS)
        wait_until(lambda: hub.strangers == 1)
    assert not called
