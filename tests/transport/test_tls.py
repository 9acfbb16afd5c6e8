"""Sessions that are encrypted: what others hear, what they can change, and who is refused."""

import pickle
import queue
import socket
import ssl
import sys
import threading
import time
from unittest import mock

import numpy as np
import pytest
from transport.relay import Relay
from transport.sessions import SECRET, Workers, opened, round_of, wait_until

from sparknet.errors import ClusterError, FormatError, MissingDependency
from sparknet.transport import Credentials, Hello, Hub, Result, serve
from sparknet.transport.certificate import new_certificate
from sparknet.transport.tls import Channel, driver_context, worker_context

MARK = b"weights that nobody else is to see"
X = np.frombuffer(MARK.ljust(40), "f4")
BODIES = {0: X.tobytes(), 1: X.tobytes()}


def echoed(body, exactly, _is_wanted):
    return Result(exactly or 1, [bytes(body)])


@pytest.mark.parametrize("encrypt", [False, True], ids=["plain", "tls"])
def test_what_goes_over_the_network_can_be_read_unless_it_is_encrypted(encrypt):
    with opened(2, encrypt=encrypt) as hub, Relay(hub) as relay:
        workers = Workers(relay, echoed)
        round_of(hub, BODIES)
        hub.close()
        workers.join()
    assert not workers.errors
    assert [MARK in each for each in relay.heard] == [not encrypt] * 2
    assert [SECRET in each for each in relay.heard] == [False] * 2


def test_a_byte_that_is_changed_on_the_way_ends_the_connection_and_changes_no_bit():
    is_to_be_changed = threading.Event()

    def changed(data):
        if not is_to_be_changed.is_set() or len(data) < 100:
            return data
        is_to_be_changed.clear()
        return data[:50] + bytes([data[50] ^ 1]) + data[51:]

    with opened(1, encrypt=True) as hub, Relay(hub, changed) as relay:
        workers = [Workers(relay, echoed, shards=1), Workers(relay, echoed, shards=1)]  # the second one is a spare
        wait_until(lambda: len(hub._peers) == 2)
        value, _ = round_of(hub, {0: X.tobytes()})
        is_to_be_changed.set()
        again, _ = round_of(hub, {0: X.tobytes()})
        assert (again == value).all()
        assert not is_to_be_changed.is_set()
        wait_until(lambda: len(hub._peers) == 1)
        hub.close()
        for each in workers:
            each.join()
    assert ["was lost" in str(error) for each in workers for error in each.errors] == [True]


def refused(credentials, **options):
    """Return what a worker with these credentials is told by a hub, which counts strangers."""
    with Hub(1, **options) as hub:
        with pytest.raises(ClusterError) as caught:
            serve(hub.address, Hello(0), secret=credentials(hub), do=echoed)
        wait_until(lambda: hub.strangers > 0)
    return str(caught.value)


def test_a_worker_takes_no_certificate_but_its_own():
    other = new_certificate().public
    said = refused(lambda _: Credentials(SECRET, other), secret=SECRET, encrypt=True)
    assert "the driver at 127.0.0.1:" in said
    assert "CERTIFICATE_VERIFY_FAILED" in said


def test_a_worker_with_the_certificate_and_another_secret_is_refused():
    said = refused(lambda hub: Credentials(bytes(32), hub.credentials.certificate), secret=SECRET, encrypt=True)
    assert "does not know the secret" in said


def test_a_worker_without_the_certificate_is_told_where_it_comes_from(monkeypatch):
    monkeypatch.setattr("sparknet.transport.connecting._PAUSES", (0.01,))
    assert "or the session is encrypted: give workers Hub.credentials" in refused(
        lambda _: SECRET, secret=SECRET, encrypt=True
    )


def test_a_worker_with_a_certificate_says_nothing_to_a_driver_without_it(monkeypatch):
    monkeypatch.setattr("sparknet.transport.connecting._PAUSES", (0.01,))
    said = refused(lambda _: Credentials(SECRET, new_certificate().public), secret=SECRET)
    assert "broke off before work began" in said


def test_older_tls_is_refused():
    with opened(1, encrypt=True) as hub, socket.create_connection(hub.address) as connection:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
            context.wrap_socket(connection)
        wait_until(lambda: hub.strangers == 1)


def test_the_driver_alone_needs_the_package_that_makes_certificates():
    with opened(2, encrypt=True) as hub, mock.patch.dict(sys.modules, {"cryptography": None}):
        workers = Workers(hub, echoed)
        round_of(hub, BODIES)
        with pytest.raises(MissingDependency, match=r"pip install 'sparknet\[tls\]'"):
            opened(1, encrypt=True)
    workers.join()
    assert not workers.errors


def test_credentials_go_with_a_pickle_and_into_no_log():
    credentials = Credentials(SECRET, b"certificate")
    assert pickle.loads(pickle.dumps(credentials)) == credentials
    assert "secret" not in repr(credentials)
    assert SECRET.hex() not in repr(credentials)
    assert "PRIVATE" not in repr(new_certificate())


def pair():
    """Return two ends of an encrypted connection."""
    certificate = new_certificate()
    left, right = socket.socketpair()
    ends, until = queue.SimpleQueue(), time.monotonic() + 200
    thread = threading.Thread(target=lambda: ends.put(Channel(left, driver_context(certificate.private), until)))
    thread.start()
    there = Channel(right, worker_context(certificate.public), until)
    thread.join()
    return ends.get(), there


def received(channel, count, into):
    buffer = memoryview(bytearray(count))
    into.append(buffer)
    while buffer:
        buffer = buffer[channel.recv_into(buffer) :]


def sent(channel, data):
    view = memoryview(data)
    while view:
        view = view[channel.sendmsg([view[:7], view[7:1000], view[1000:]]) :]


def test_each_end_reads_and_writes_at_the_same_time():
    dice = np.random.default_rng(0)
    data, got = [dice.bytes(3 << 20), dice.bytes(5 << 20)], [[], []]
    here, there = pair()
    threads = [
        threading.Thread(target=work, args=args, daemon=True)
        for work, args in (
            *((received, (here, len(data[1]), got[0])), (received, (there, len(data[0]), got[1]))),
            *((sent, (here, data[0])), (sent, (there, data[1]))),
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
        assert not thread.is_alive()
    assert [bytes(each) for (each,) in got] == data[::-1]
    here.close()
    there.close()


def test_an_end_that_hears_nothing_or_is_not_read_waits_for_its_time_only():
    here, there = pair()
    for each in here, there:
        each.settimeout(0.05)
    with pytest.raises(TimeoutError):
        here.recv_into(memoryview(bytearray(10)))
    with pytest.raises(TimeoutError):
        sent(there, bytes(16 << 20))
    here.close()
    there.close()


def test_an_end_that_is_shut_wakes_who_reads_and_who_writes():
    here, there = pair()
    outcomes = queue.SimpleQueue()

    def writes():
        with pytest.raises(OSError):  # noqa: PT011 - the kernel's words
            sent(here, bytes(64 << 20))
        outcomes.put("writes")

    def reads():
        outcomes.put(here.recv_into(memoryview(bytearray(10))))

    threads = [threading.Thread(target=work, daemon=True) for work in (writes, reads)]
    for thread in threads:
        thread.start()
    here.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(200)
    assert {outcomes.get(timeout=200), outcomes.get(timeout=200)} == {"writes", 0}
    here.close()
    there.close()


def test_bytes_that_the_other_end_has_not_sent_are_named():
    here, there = pair()
    there._socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(FormatError, match="is not what the other side has sent"):
        here.recv_into(memoryview(bytearray(10)))
    here.close()
    there.close()
