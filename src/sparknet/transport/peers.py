"""The connection of one worker that has proved itself, as the hub uses it: a thread of its own writes."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from sparknet.errors import SparknetError
from sparknet.transport.mailbox import Mailbox
from sparknet.transport.messages import Beat, Done, Failed, Hello, Slice
from sparknet.transport.wire import Connection, messages, send

__all__ = ["Peer", "end_all", "read_all", "shut"]

_TO_DRIVER = (Hello, Done, Failed, Slice, Beat)


def shut(connection: Connection) -> None:
    """End a connection; it stays open for the threads that use it, which find out."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class Peer:
    """A worker's connection; a thread of its own sends, so that a peer which does not read holds up nobody."""

    def __init__(self, connection: Connection, hello: Hello) -> None:
        self._connection, self.hello = connection, hello
        self._messages = Mailbox()
        self._thread = threading.Thread(target=self._write, name="writes to a worker", daemon=True)
        self._thread.start()

    def send(self, message: Any) -> None:
        """Send a message later; None: nothing follows. Work that is still to be sent then makes room for newer work."""
        self._messages.put(message)

    def end(self, until: float) -> None:
        """Break the connection off once all is sent that was given to it, or the time has come."""
        self._thread.join(max(0.0, until - time.monotonic()))
        self.break_off()

    def break_off(self) -> None:
        """End the connection at once; the threads that use it find out."""
        self._messages.put(None)
        shut(self._connection)

    def finish(self) -> None:
        """Close the connection, in the thread that read of it: no other one may be using its number."""
        self.break_off()
        self._thread.join()
        self._connection.close()

    def _write(self) -> None:
        try:
            while (message := self._messages.get()) is not None:
                send(self._connection, message)
        except OSError:
            shut(self._connection)  # perhaps in the middle of a message


def read_all(
    connection: Connection,
    longest: int,
    beat: float,
    heard: Callable[[], None],
    received: Callable[[Any], None],
) -> str:
    """Read messages until the connection ends; return why the last one was not taken, "" where it was.

    Parts of a long message count as heard too, at most once in ``beat`` seconds.
    """
    told = time.monotonic()

    def now_and_then() -> None:
        nonlocal told
        if time.monotonic() - told >= beat:
            told = time.monotonic()
            heard()

    try:
        for message in messages(connection, longest=longest, allowed=_TO_DRIVER, heard=now_and_then):
            received(message)
            del message  # not kept until the next one is there
    except SparknetError as error:
        return str(error)
    except MemoryError as error:
        return f"MemoryError: {error}"
    except OSError:
        pass
    return ""


def end_all(peers: Sequence[Peer], threads: Sequence[threading.Thread], seconds: float) -> None:
    """Send what there is to be sent, for so many seconds, and end; the threads that read have as many more."""
    until = time.monotonic() + seconds
    for peer in peers:
        peer.send(None)
    for peer in peers:
        peer.end(until)
    for thread in threads:
        if thread is not threading.current_thread():  # one of these calls what the caller gave
            thread.join(max(0.0, until + seconds - time.monotonic()))
