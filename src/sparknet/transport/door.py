"""The port of a hub: who connects proves itself there, within limits of time, number and memory, or is a stranger.

A thread accepts, and each connection has a thread of its own. Strangers are told nothing but the driver's proof, and counted.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from sparknet.errors import SparknetError
from sparknet.transport.handshake import GREETING_BYTES, PROOF_BYTES, DriverHandshake
from sparknet.transport.limits import GREETS
from sparknet.transport.messages import Hello
from sparknet.transport.peers import shut
from sparknet.transport.wire import Connection, exactly, receive

__all__ = ["Door"]

_STRANGERS = (
    64  # connections at once that have not proved themselves, beside two for each worker; another one ends the oldest
)
_BACKLOG = 128  # connections at least that Linux keeps until they are accepted
_PAUSE = 0.05  # seconds until it is tried again to accept a connection

_LOG = logging.getLogger(__name__)


class Door:
    """A listening socket, and the connections that have not proved themselves.

    Parameters
    ----------
    address, port
        To listen at.
    secret
        Of the session.
    key
        Of this side, with its certificate, in PEM; None: connections are plain.
    workers
        How many may come at the same time, and their successors with them.
    entered
        Called with a number that never comes again, a connection that has proved itself, and its first message. Returns what is to be
        called next, in the same thread: it reads until the end.
    """

    def __init__(
        self,
        address: str,
        port: int,
        *,
        secret: bytes,
        key: bytes | None,
        workers: int,
        entered: Callable[[int, Connection, Hello], Callable[[], None]],
    ) -> None:
        self._secret, self._entered = secret, entered
        self._encryption = None if key is None else _encryption(key)
        self._lock = threading.Lock()  # of what follows
        self._greeting: dict[int, socket.socket] = {}  # that have not proved themselves, the oldest one first
        self._accepted, self._is_closed = 0, False
        self._threads: list[threading.Thread] = []
        self.strangers = 0  # connections that did not prove themselves
        self._room = _STRANGERS + 2 * workers
        self._listener = socket.create_server(
            (address, port), family=_family_of(address), backlog=max(_BACKLOG, self._room)
        )
        host, number = self._listener.getsockname()[:2]
        self.address: tuple[str, int] = (host, number)
        self._acceptor = threading.Thread(target=self._accept, name="accepts workers", daemon=True)

    def open(self) -> None:
        """Begin to accept."""
        self._acceptor.start()

    def close(self, seconds: float) -> list[threading.Thread]:
        """Accept nothing more, end who has not proved itself, and return the threads of the others; they have not ended yet."""
        self._is_closed = True
        if self.strangers > 1:
            _LOG.warning("%d connections to this session did not prove themselves", self.strangers)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._acceptor.join(seconds)
        self._listener.close()
        with self._lock:
            for connection in self._greeting.values():
                shut(connection)
        return self._threads

    def _accept(self) -> None:
        while True:
            try:
                connection, (host, *_) = self._listener.accept()
            except OSError:
                if self._is_closed:
                    return
                time.sleep(_PAUSE)  # the peer has gone already, or this process may open no more files for now
                continue
            with self._lock:
                if len(self._greeting) >= self._room:
                    shut(self._greeting.pop(next(iter(self._greeting))))
                self._accepted += 1
                number = self._accepted
                self._greeting[number] = connection
            thread = threading.Thread(
                target=self._serve, args=(number, connection, host), name=f"worker {number}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # no more threads for now
                self._greeted(number)
                connection.close()
            else:
                self._threads = [each for each in self._threads if each.is_alive()] + [thread]

    def _serve(self, number: int, connection: socket.socket, host: str) -> None:
        """Let a peer prove itself, and hear what it says."""
        try:
            proved = self._proved(connection)
            hello = receive(proved, longest=0, allowed=[Hello])
        except (SparknetError, OSError) as error:
            self._greeted(number, because=f"from {host} did not prove itself ({error})")
            connection.close()
            return
        try:
            read = self._entered(number, proved, hello)
        except RuntimeError:  # no more threads for now; the worker connects again
            connection.close()
            return
        finally:
            self._greeted(number)
        read()

    def _proved(self, connection: socket.socket) -> Connection:
        """Take the greeting of a peer, within a time for all of it; raise a ClusterError unless it knows the secret."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(GREETS)
        until = time.monotonic() + GREETS
        proved: Connection = connection
        if self._encryption is not None:
            from sparknet.transport.tls import Channel

            proved = Channel(connection, self._encryption, until)
        handshake = DriverHandshake(self._secret)
        proved.sendall(handshake.answer(exactly(proved, GREETING_BYTES, until)))
        handshake.check(exactly(proved, PROOF_BYTES, until))
        return proved

    def _greeted(self, number: int, *, because: str = "") -> None:
        """Forget a connection that has proved itself, or has not, and why."""
        with self._lock:
            self._greeting.pop(number, None)
            self.strangers += bool(because)
            is_first = bool(because) and self.strangers == 1 and not self._is_closed
        if is_first:
            _LOG.warning(
                "a connection %s; it changes nothing. Others are counted in Hub.strangers and told of at the end",
                because,
            )


def _family_of(address: str) -> socket.AddressFamily:
    """Return the family of an address; that of IPv4 where a name has addresses of both."""
    try:
        found = socket.getaddrinfo(address or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise socket.gaierror(error.errno, f"{error.strerror}: address={address!r}") from error
    families = {family for family, *_ in found}
    return socket.AF_INET if socket.AF_INET in families else socket.AF_INET6


def _encryption(key: bytes) -> Any:
    from sparknet.transport.tls import driver_context

    return driver_context(key)
