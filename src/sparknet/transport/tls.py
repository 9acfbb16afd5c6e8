"""TLS 1.3 on a connection that one thread reads while another one writes.

Python's ``SSLSocket`` is not for that. OpenSSL allows one call at a time on a connection, and before Python 3.13 the calls of two threads
overlap; Python 3.13.6 holds a lock while it waits for bytes, so a thread that reads keeps all others from writing. Here OpenSSL turns
bytes into bytes in memory, under a lock that nobody holds while waiting, and the socket is ours.

The worker takes the certificate that came with its secret and no other one, and both sides prove inside the connection that they know
the secret. So the driver's end of it is the driver's, and nobody between the two can pass the proof of one on to the other.
"""

import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

from sparknet.errors import ClusterError, FormatError

__all__ = ["Channel", "driver_context", "worker_context"]

_PIECE = 1 << 18  # bytes that are encrypted, or received, before others have their turn
_RECORD = 17 << 10  # bytes of a record, and more than that


def driver_context(private: bytes) -> ssl.SSLContext:
    """Return what a driver encrypts with; key and certificate, in PEM, are in no file of a disk."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # nobody resumes a connection
    memory = os.memfd_create("sparknet")  # Python's ssl takes a key by a path alone
    try:
        os.write(memory, private)
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
    return context


def worker_context(certificate: bytes) -> ssl.SSLContext:
    """Return what a worker encrypts with; it takes this certificate, in DER, and no other one, whatever the driver's address is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.load_verify_locations(cadata=certificate)
    return context


class Channel:
    """An encrypted connection, with those methods of a socket that :mod:`.wire` and its users call.

    Parameters
    ----------
    connection
        Connected; it belongs to the channel from now on.
    context
        Of the side that this is.
    until
        Time, by the monotonic clock, at which both sides must have agreed on keys.

    Raises
    ------
    ClusterError
        The other side speaks no TLS 1.3, or has another certificate.
    OSError
        The connection ended, or the time was over.

    Notes
    -----
    The end of the connection is not signed, as TLS could: it tells nothing, because messages have lengths and ``Close`` is one of them.
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, until: float) -> None:
        self._socket, self._timeout = connection, connection.gettimeout()
        connection.setblocking(False)  # who waits looks at the time that is left
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=context.protocol is ssl.PROTOCOL_TLS_SERVER
        )
        self._lock = threading.Lock()  # of OpenSSL's connection and of both memories; never held while waiting
        self._sending = threading.Lock()  # records go out in the order in which they were made
        self._agree(until)

    def _agree(self, until: float) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(until)
                if not self._receive(_RECORD, until):
                    msg = "the connection ended before both sides had agreed on keys"
                    raise ConnectionError(msg) from None
            except ssl.SSLError as error:
                self._flush(until)  # the other side is told why
                msg = f"no encrypted connection: {error}"
                raise ClusterError(msg) from error
            else:
                self._flush(until)
                return

    def settimeout(self, seconds: float | None) -> None:
        """Set how long :meth:`recv_into` waits for bytes, and :meth:`sendmsg` for room, in seconds; None: for ever."""
        self._timeout = seconds

    def recv_into(self, view: memoryview) -> int:
        """Receive bytes, and return how many; 0: the connection has ended.

        Raises
        ------
        FormatError
            What came was made or changed by somebody else.
        """
        until = self._until()
        while not (count := self._decrypt(view)):
            if not self._receive(min(_PIECE, len(view) + _RECORD), until):
                return 0
        return count

    def sendmsg(self, parts: Iterable[Any]) -> int:
        """Encrypt and send bytes of these parts, 256 KiB at most, and return how many."""
        until, sent = self._until(), 0
        with self._sending:
            with self._lock:
                for part in parts:
                    piece = memoryview(part)[: _PIECE - sent]
                    sent += self._tls.write(piece) if piece else 0
                    if sent == _PIECE:
                        break
            self._send(until)
        return sent

    def sendall(self, data: bytes) -> None:
        """Send all of these bytes."""
        view = memoryview(data)
        while view:
            view = view[self.sendmsg([view]) :]

    def shutdown(self, how: int) -> None:
        """End the connection; who reads or writes finds out."""
        self._socket.shutdown(how)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _decrypt(self, view: memoryview) -> int:
        """Fill the view with what is there already, and return how many bytes that was."""
        count = 0
        with self._lock:
            try:
                while count < len(view) and (more := self._tls.read(len(view) - count, view[count:])):
                    count += more  # type: ignore[operator]
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                msg = f"TLS: what was received is not what the other side has sent: {error}"
                raise FormatError(msg) from error
        return count

    def _receive(self, most: int, until: float) -> int:
        """Wait for bytes of the socket, and give them to OpenSSL."""
        while True:
            try:
                data = self._socket.recv(most)
            except BlockingIOError:
                self._wait(select.POLLIN, until)
            else:
                with self._lock:
                    self._incoming.write(data)
                return len(data)

    def _flush(self, until: float) -> None:
        with self._sending:
            self._send(until)

    def _send(self, until: float) -> None:
        """Send what OpenSSL has made; the caller holds the lock of sending."""
        with self._lock:
            view = memoryview(self._outgoing.read())
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, until)

    def _until(self) -> float:
        return float("inf") if self._timeout is None else time.monotonic() + self._timeout

    def _wait(self, event: int, until: float) -> None:
        # Another thread may have let this one wait until no time is left; what has come is there all the same.
        left = until - time.monotonic()
        poll = select.poll()
        poll.register(self._socket, event)
        if not poll.poll(None if left == float("inf") else 1000 * max(0.0, left)):
            msg = "timed out"
            raise TimeoutError(msg)
