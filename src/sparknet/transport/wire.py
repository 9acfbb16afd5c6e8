"""Sends messages on a connection and receives them, one function each way; nothing here knows what a message means."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from sparknet.serialization.memory.leased import Leases
from sparknet.transport.frames import HEADER_BYTES, framed, read_header

__all__ = ["Connection", "exactly", "messages", "receive", "send"]

_PARTS = 64  # of a message, in one call of sendmsg


class Connection(Protocol):
    """What is called of a connection: a socket has it, and so has the encrypted one of :mod:`.tls`."""

    def sendmsg(self, buffers: Sequence[Any], /) -> int:
        """Send some of these bytes, and return how many."""
        ...

    def sendall(self, data: bytes, /) -> None:
        """Send all of these bytes."""
        ...

    def recv_into(self, buffer: memoryview, /) -> int:
        """Receive bytes, and return how many; 0: the connection has ended."""
        ...

    def settimeout(self, value: float | None, /) -> None:
        """Set how long the others wait, in seconds; None: for ever."""
        ...

    def shutdown(self, how: int, /) -> None:
        """End the connection; who reads or writes finds out."""
        ...

    def close(self) -> None:
        """Close the socket."""
        ...


def send(connection: Connection, message: Any) -> None:
    """Send a message whose parts are not copied."""
    parts = [memoryview(part).cast("B") for part in framed(message) if memoryview(part).nbytes]
    while parts:
        sent = connection.sendmsg(parts[:_PARTS])
        while parts and sent >= parts[0].nbytes:
            sent -= parts.pop(0).nbytes
        if sent:
            parts[0] = parts[0][sent:]


def receive(
    connection: Connection,
    *,
    longest: int,
    allowed: Sequence[type],
    heard: Callable[[], None] = lambda: None,
    memory: Leases | None = None,
    waits: Callable[[], bool] = lambda: False,
) -> Any:
    """Receive one message; ``heard`` is called whenever a part of it has come. Its body lies in ``memory``, or in new one.

    The connection's timeout is the time in which a part has to come; where it has not, ``waits`` says whether that is waited for once more.
    """
    frame = read_header(exactly(connection, HEADER_BYTES, waits=waits), longest=longest, allowed=allowed)
    heard()
    text = exactly(connection, frame.text_bytes, waits=waits)
    body = (memory or Leases()).take(frame.body_bytes).data if frame.body_bytes else memoryview(b"")
    _fill(connection, body, heard=heard, waits=waits)
    return frame.message(text, body)


def messages(
    connection: Connection, *, longest: int, allowed: Sequence[type], heard: Callable[[], None] = lambda: None
) -> Iterator[Any]:
    """Receive messages until the connection ends, with an OSError, or does not keep to the format, with a FormatError.

    The memory of a body is used again once nobody has it any more. How long the other side may be silent is up to the machine.
    """
    memory = Leases()
    while True:
        yield receive(connection, longest=longest, allowed=allowed, heard=heard, memory=memory, waits=lambda: True)


def exactly(
    connection: Connection, count: int, until: float | None = None, *, waits: Callable[[], bool] = lambda: False
) -> bytes:
    """Receive so many bytes; ``until`` is the time, by the monotonic clock, at which all of them must be there."""
    buffer = bytearray(count)
    _fill(connection, memoryview(buffer), until, waits=waits)
    return bytes(buffer)


def _fill(
    connection: Connection,
    view: memoryview,
    until: float | None = None,
    heard: Callable[[], None] = lambda: None,
    *,
    waits: Callable[[], bool] = lambda: False,
) -> None:
    while view:
        if until is not None:
            connection.settimeout(max(0.001, until - time.monotonic()))
        try:
            count = connection.recv_into(view)
        except TimeoutError:
            if waits():
                continue
            raise
        if not count:
            msg = f"the connection ended {len(view):,} bytes before the end of a message"
            raise ConnectionError(msg)
        view = view[count:]
        heard()
