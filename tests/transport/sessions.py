"""What the tests over real sockets share: workers in threads, a sum of slices, connections of strangers."""

import contextlib
import socket
import threading
import time

import numpy as np

from sparknet.errors import ClusterError
from sparknet.transport import Hello, Hub, Limits, Result, new_secret, serve
from sparknet.transport.connecting import _proved
from sparknet.transport.frames import framed
from sparknet.transport.wire import send

SECRET = new_secret()
LIMITS = Limits(beat=0.5, silence=60.0, join=120.0)


def opened(shards, limits=LIMITS, **options):
    return Hub(shards, secret=SECRET, limits=limits, **options)


def doubled(body, exactly, _is_wanted):
    array = np.frombuffer(body, "f4") * 2
    return Result(steps=exactly or 7, slices=[array[:3].tobytes(), (array[3:5].tobytes(), array[5:].tobytes())])


class Workers:
    """Workers in threads of this process; what ended them is kept."""

    def __init__(self, hub, do=doubled, shards=2, limits=LIMITS, about=None):
        self.errors, self.credentials = [], hub.credentials
        self.threads = [
            threading.Thread(target=self.serve, args=(hub.address, Hello(shard, about or {}), do, limits))
            for shard in range(shards)
        ]
        for thread in self.threads:
            thread.start()

    def serve(self, address, hello, do, limits):
        try:
            serve(address, hello, secret=self.credentials, do=do, limits=limits)
        except ClusterError as error:
            self.errors.append(error)

    def join(self):
        for thread in self.threads:
            thread.join(200)
            assert not thread.is_alive()


class Sum:
    def __init__(self):
        self.parts = {}

    def begin(self, _done):
        self.parts = {}

    def combine(self, number, slices):
        assert number not in self.parts
        self.parts[number] = sum(np.frombuffer(each, "f4") for each in slices)

    def value(self):
        return np.concatenate([self.parts[j] for j in sorted(self.parts)])


def round_of(hub, bodies, **options):
    total = Sum()
    done = hub.round(bodies, combine=total.combine, begin=total.begin, **options)
    return total.value(), done


def wait_until(is_so, seconds=200):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def connected(hub, *sent):
    """Return a plain connection on which this was sent."""
    connection = socket.create_connection(hub.address)
    for each in sent:
        connection.sendall(each)
    return connection


def proved(hub, *, shard=0):
    """Return a connection that has proved itself and greeted for a shard; the caller closes it."""
    connection = _proved(socket.create_connection(hub.address), hub.credentials, time.monotonic() + 200)
    send(connection, Hello(shard))
    return connection


def told(connection):
    """Return what the hub says to a peer before it closes the connection, and close it too."""
    connection.settimeout(200)
    said, buffer = b"", memoryview(bytearray(1 << 16))
    with contextlib.closing(connection), contextlib.suppress(ConnectionError):
        while count := connection.recv_into(buffer):
            said += buffer[:count]
    return said


def ended(connection):
    """Say that the other side closes; it fails where that does not."""
    told(connection)
    return True


def header_of(message, **fields):
    """Return the header of a message, with other numbers in it."""
    places = {"round": 8, "first": 16, "second": 24, "text": 32, "body": 40}
    header = bytearray(framed(message)[0][:48])
    for name, value in fields.items():
        header[places[name] : places[name] + 8] = value.to_bytes(8, "big", signed=value < 0)
    return bytes(header)
