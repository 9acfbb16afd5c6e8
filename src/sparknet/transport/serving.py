"""The worker's end over TCP: :func:`serve` connects to a hub and does the work that comes.

The work is done in the thread that calls :func:`serve`. A second thread reads, a third one beats, so that a long step is not taken for a
lost worker.
"""

import contextlib
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sparknet.errors import ClusterError, DataError, SparknetError
from sparknet.transport.actions import Abandon, Answer, Say, Stop, Train
from sparknet.transport.connecting import connected
from sparknet.transport.frames import framed
from sparknet.transport.handshake import Credentials
from sparknet.transport.limits import Limits
from sparknet.transport.mailbox import Mailbox
from sparknet.transport.messages import Beat, Close, Done, Hello, Pull, Slice, Work
from sparknet.transport.wire import Connection, messages, send
from sparknet.transport.worker_side import WorkerAction, WorkerSide

__all__ = ["Do", "Result", "serve"]

_TO_WORKER = (Work, Pull, Beat, Close)
_NONE_WANTED = 1 << 62  # a round after all others: the work of no round is wanted any more


@dataclass(frozen=True)
class Result:
    """What came of a worker's work.

    Parameters
    ----------
    steps
        Solver steps taken.
    slices
        Each is bytes, or a sequence of them. They are sent when the driver asks for them, and must not change until then.
    result
        What each attempt at this work gives alike, at most 1 MB together with ``notes``. Slices are not compared, so a checksum of them
        belongs here where the work may give other bits when it is done again.
    notes
        What may differ between attempts.
    """

    steps: int
    slices: Sequence[Any]
    result: bytes = b""
    notes: bytes = b""


class Do(Protocol):
    """The work of a worker; it may end early, with None, once ``is_wanted()`` is no longer true."""

    def __call__(self, body: memoryview, exactly: int | None, is_wanted: Callable[[], bool]) -> Result | None:
        """Return what came of the work.

        Parameters
        ----------
        body
            The bytes that the hub was given for this shard. It is released by the work that needs it no more (``body.release()``): all else
            that holds it lives until the work ends.
        exactly
            Steps to take where another attempt at the same work has told how many it took; None: as the work says.
        is_wanted
            Whether the driver still waits for this work.
        """
        ...


def serve(
    address: tuple[str, int],
    hello: Hello,
    *,
    secret: bytes | Credentials,
    do: Do,
    limits: Limits | None = None,
    longest: int = 1 << 40,
    tell: Callable[[Exception], bytes] | None = None,
) -> None:
    """Be the worker of a shard until the driver closes the session.

    Parameters
    ----------
    address
        Of the :class:`~sparknet.transport.Hub`.
    hello
        Which shard, and what must be the same on all workers.
    secret
        That of the session, or ``Hub.credentials``: an encrypted session needs them, and with its certificate nothing is said but
        to the driver that has made it.
    do
        Called with the bytes of each piece of work, in this thread. An error that it raises ends the session, with its traceback.
    limits
        How long it waits; the hub's limits should be the same.
    longest
        Bytes that the work may have; more of them end this worker.
    tell
        Returns what the driver is told of an error of the work; default: its traceback.

    Raises
    ------
    ClusterError
        The driver cannot be reached, is another one, is lost, or sends what cannot be taken. A task of Spark should fail with it, so that
        it is started again.
    DataError
        ``address``, ``hello`` or ``secret`` is of another kind. Nothing was said to the driver.
    """
    if not isinstance(hello, Hello) or not isinstance(address, tuple | list) or len(address) != 2:
        msg = f"serve(): got address={address!r} and {hello!r}; expected Hub.address, which is (host, port), and Hello(shard)"
        raise DataError(msg)
    address = (address[0], address[1])
    limits = limits or Limits()
    with connected(address, secret if isinstance(secret, Credentials) else Credentials(secret)) as connection:
        connection.settimeout(limits.silence)  # of sending to a driver that does not read
        here = {"host": socket.gethostname(), "pid": str(os.getpid())}
        hello = Hello(hello.shard, {**here, **hello.about, **limits.told()})
        place = f"shard {hello.shard}, the driver at {address[0]}:{address[1]}"
        _Worker(connection, hello, limits, do, tell or _traceback, place).run(longest)


class _Worker:
    def __init__(
        self,
        connection: Connection,
        hello: Hello,
        limits: Limits,
        do: Do,
        tell: Callable[[Exception], bytes],
        place: str,
    ) -> None:
        self._connection, self._limits, self._do, self._tell = connection, limits, do, tell
        self._place, self._untaken = place, ""  # why what the driver has sent was not taken
        self._machine = WorkerSide(hello, limits, time.monotonic())
        self._begin = self._machine.begin()
        self._lock = threading.Lock()  # of the machine; never held while something is sent
        self._sending = threading.Lock()
        self._messages = Mailbox()  # None: the connection is gone
        self._ended = threading.Event()
        self._slices: Sequence[Any] = ()
        self._newest = 0  # round of the newest work that has come
        self._stop: Stop | None = None

    def run(self, longest: int) -> None:
        threads = [
            threading.Thread(target=work, args=args, name=name, daemon=True)
            for work, args, name in ((self._read, (longest,), "reads of the driver"), (self._beat, (), "beats"))
        ]
        self._act(self._begin)  # a beat before it would be no word of a worker
        for thread in threads:
            thread.start()
        try:
            while self._stop is None:
                message = self._messages.get()
                with self._lock:
                    now = time.monotonic()
                    actions = self._machine.lost() if message is None else self._machine.received(message, now)
                del message
                self._act(actions)
        finally:
            self._ended.set()
            self._break_off()
            for thread in threads:
                thread.join()
        if self._stop.is_lost:
            msg = f"{self._untaken or self._stop.reason} ({self._place})"
            raise ClusterError(msg)

    def _act(self, actions: Sequence[WorkerAction]) -> None:
        for action in actions:
            match action:
                case Say(message):
                    self._say(message)
                case Answer(round_, number):
                    try:
                        self._say(Slice(round_, number, self._slices[number]))
                    except Exception as error:  # noqa: BLE001 - a slice is not bytes; nothing of it was sent
                        self._failed(round_, error)
                case Train(work):
                    self._slices = ()
                    self._work(work)
                case Abandon():
                    self._slices = ()
                case Stop():
                    self._stop = self._stop or action

    def _work(self, work: Work) -> None:
        try:
            found = self._do(work.body, work.exactly, lambda: self._is_wanted(work.round))
            if found is None and not self._is_wanted(work.round):
                return
            result = _checked(found)
            done = _done(work.round, result)
        except Exception as error:  # noqa: BLE001 - told to the driver, which gives up with it
            self._failed(work.round, error)
            return
        self._slices = result.slices
        with self._lock:
            actions = self._machine.ended(done, time.monotonic())
        self._act(actions)

    def _failed(self, round_: int, error: Exception) -> None:
        reason = self._tell(error)
        with self._lock:
            actions = self._machine.failed(round_, reason, time.monotonic())
        self._act(actions)

    def _is_wanted(self, round_: int) -> bool:
        return self._newest <= round_ and self._stop is None

    def _say(self, message: Any) -> None:
        with self._sending:
            try:
                send(self._connection, message)
            except OSError:  # perhaps in the middle of a message; the thread that reads finds the end
                self._break_off()

    def _break_off(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _read(self, longest: int) -> None:
        try:
            for message in messages(self._connection, longest=longest, allowed=_TO_WORKER, heard=self._heard):
                if isinstance(message, Work):
                    self._newest = max(self._newest, message.round)
                if isinstance(message, Close):
                    self._newest = _NONE_WANTED
                self._messages.put(message)
                del message
        except OSError:  # the connection has ended
            pass
        except (SparknetError, MemoryError) as error:
            self._untaken = (
                f"what the driver has sent cannot be taken, with longest={longest}: {type(error).__name__}: {error}"
            )
            self._break_off()  # the driver is not to wait for a worker that reads no more
        self._newest = _NONE_WANTED
        self._messages.put(None)

    def _heard(self) -> None:
        with self._lock:
            self._machine.heard(time.monotonic())

    def _beat(self) -> None:
        while not self._ended.wait(max(0.0, min(self._machine.wake() - time.monotonic(), self._limits.beat))):
            with self._lock:
                actions = self._machine.tick(time.monotonic())
            if any(isinstance(action, Stop) for action in actions):
                self._act(actions)
                self._newest = _NONE_WANTED
                self._messages.put(None)  # wakes the thread that waits for messages
                self._break_off()  # and the one that sends
                return
            if not self._sending.locked():  # what is being sent says as well that this side lives
                self._act(actions)


def _checked(result: Any) -> Result:
    """Return what the work has returned; a DataError if it cannot be sent."""
    if not isinstance(result, Result):
        msg = f"the work returned {type(result).__name__}; expected a Result, or None where it is no longer wanted"
        raise DataError(msg)
    if isinstance(result.slices, bytes | bytearray | memoryview | str):
        msg = f"the work returned a Result whose slices are one {type(result.slices).__name__}; expected a sequence of slices, such as [data]"
        raise DataError(msg)
    if result.steps < 0:
        msg = f"the work returned a Result of {result.steps} steps; expected none below 0"
        raise DataError(msg)
    return result


def _done(round_: int, result: Result) -> Done:
    """Return what is said of a result."""
    done = Done(round_, result.steps, len(result.slices), result.result, result.notes)
    framed(done)  # raises where result and notes are too long
    return done


def _traceback(error: Exception) -> bytes:
    return "".join(traceback.format_exception(error)).encode(errors="replace")
