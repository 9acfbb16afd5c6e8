"""The driver's end over TCP: workers connect to a :class:`Hub`, and each round goes out and comes back over their connections.

Blocking sockets, and of each connection a thread that reads and one that writes: copies of the kernel's and of numpy's let other
threads run. One thread at a time drives the machine: in a round the one that called :meth:`Hub.round`, between rounds one of the hub's
own, so that workers hear of the driver and lost ones are noticed however long the caller takes.
"""

import atexit
import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from sparknet.errors import ClusterError, SparknetError
from sparknet.transport.actions import Begin, Combine, Drop, End, GiveUp, RunAgain, Send
from sparknet.transport.certificate import new_keys
from sparknet.transport.door import Door
from sparknet.transport.driver_side import DriverAction, DriverSide
from sparknet.transport.frames import works
from sparknet.transport.handshake import Credentials
from sparknet.transport.limits import Deadline, Limits, Quorum, check_quorum, check_shards
from sparknet.transport.messages import Done, Hello
from sparknet.transport.overdue import Overdue
from sparknet.transport.peers import Peer, end_all, read_all
from sparknet.transport.wire import Connection

__all__ = ["Hub"]

_ENDS = 1.0  # seconds for threads to end after their connections
_LOOK = 5.0  # seconds after which it is looked whether something is to be said, where nothing happens
_LOG = logging.getLogger(__name__)
_CLOSED = "the session was closed while a round was open"
_DAMAGED = "the worker of shard %d sent what cannot be taken, its connection is closed: %s"


class Hub:
    """The driver's end: workers connect to it, and each round goes out and comes back over their connections.

    Parameters
    ----------
    shards
        How many; each wants a worker.
    secret
        What workers have to know, as :func:`~sparknet.transport.new_secret` makes it.
    encrypt
        Whether connections are encrypted, by TLS 1.3. The workers then need ``Hub.credentials``. Needs the extra ``tls``, here alone.
    limits
        How long it waits.
    address
        Host, or address of a network interface, that workers can reach.
    port
        0: any that is free.
    longest
        Bytes that a slice may have.
    about
        What each worker's ``Hello`` has to say too.
    raised
        Called with a shard and what its worker told of an error; returns the one that :meth:`round` raises.
    run_again
        Called where the job that runs the workers is to be submitted once more.
    dropped
        Called with the ``Hello`` of a worker and a reason where the hub has closed the connection to it; it may live on.
    took
        Seconds of the longest round of each kind so far, which the hub keeps: for one that goes on where another hub has ended.

    Examples
    --------
    >>> from sparknet.transport import Result, new_secret, serve
    >>> secret = new_secret()
    >>> def work(body, exactly, is_wanted):
    ...     return Result(steps=1, slices=[bytes(body)[::-1]])
    >>> with Hub(1, secret=secret) as hub:
    ...     worker = threading.Thread(target=serve, args=(hub.address, Hello(0)), kwargs={"secret": secret, "do": work})
    ...     worker.start()
    ...     done = hub.round({0: b"abc"}, combine=lambda number, slices: print(number, bytes(slices[0])))
    0 b'cba'
    >>> worker.join()
    """

    def __init__(
        self,
        shards: int,
        *,
        secret: bytes,
        encrypt: bool = False,
        limits: Limits | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        longest: int = 1 << 26,
        about: Mapping[str, str] | None = None,
        raised: Callable[[int, bytes], SparknetError] | None = None,
        run_again: Callable[[], None] = lambda: None,
        dropped: Callable[[Hello, str], None] = lambda hello, reason: None,  # noqa: ARG005 - it has to take them
        took: MutableMapping[str, float] | None = None,
    ) -> None:
        check_shards(shards)
        self._shards, self._limits, self._longest = shards, limits or Limits(), longest
        self._machine = DriverSide(shards, self._limits, time.monotonic(), about=about, raised=raised)
        self._run_again, self._dropped, self._overdue = run_again, dropped, Overdue(took)
        self._events = queue.SimpleQueue[Callable[[float], list[DriverAction]]]()
        self._driving = threading.RLock()  # of the machine: held by the thread that drives it
        self._resting = threading.Event()  # set while no round is open
        self._resting.set()
        self._lock = threading.Lock()  # of what follows
        self._peers: dict[int, Peer] = {}
        self._damaged, self._is_closed = 0, False  # the former: connections on which something came that is no message
        certificate, self.key = new_keys(encrypt)
        self.credentials = Credentials(secret, certificate)
        self._door = Door(address, port, secret=secret, key=self.key, workers=shards, entered=self._entered)
        self.address = self._door.address
        self._machine.where = f"; the driver listens at {self.address[0]}:{self.address[1]}"
        self._door.open()
        self._driver_thread = threading.Thread(target=self._rest, name="drives between rounds", daemon=True)
        self._driver_thread.start()
        self._owner, self._driver = os.getpid(), threading.current_thread()  # the latter called for the last round
        atexit.register(self._close_at_exit)

    @property
    def strangers(self) -> int:
        """Connections that did not prove themselves."""
        return self._door.strangers

    @property
    def ignored(self) -> int:
        """Messages that came late, twice, or for nobody, or were none; these end their connection."""
        return self._machine.ignored + self._damaged

    @property
    def lost_work(self) -> float:
        """Seconds that workers had work for nothing, because they were lost or a round did not wait for them."""
        return self._machine.lost_work

    def round(
        self,
        bodies: Mapping[int, Any],
        *,
        combine: Callable[[int, tuple[memoryview, ...]], None],
        begin: Callable[[Mapping[int, Done]], None] = lambda done: None,  # noqa: ARG005 - it has to take it
        deadline: Deadline | None = None,
        quorum: Quorum | None = None,
        kind: str = "round",
    ) -> Mapping[int, Done]:
        """Send work to each shard, and combine what comes back slice by slice.

        Parameters
        ----------
        bodies
            Shard -> bytes, or a sequence of them, sent as they are; they must not change before the round has ended, and with a deadline
            not at all. Or a :class:`~sparknet.transport.Rest` with bodies: a worker that has a part of the work gets the rest alone.
        combine
            Called with the number of a slice and that slice of each result, by shard; empty: it has no more. Their memory is used again.
        begin
            Called before, with what those that take part have said; again where others do, and what was combined is to be forgotten.
        deadline, quorum
            From so many seconds on the round does with those that are done, once they are so many, or as :class:`Enough` says. Both or
            neither. A function tells for how many more seconds, once they are, of what they said and the seconds since the first was done.
        kind
            What it is called in the log, which tells what is waited for where it takes far longer than those of its kind before it.

        Returns
        -------
        Mapping[int, Done]
            What each shard that took part has said.

        Raises
        ------
        ClusterError
            The session cannot go on: a shard has no worker, a worker raised an error, or its results differ.
        DataError
            A body is not bytes, or is of no shard; or deadline or quorum came alone. The session is as before.
        """
        bodies = works(bodies, self._shards)
        check_quorum(deadline, quorum, len(bodies))
        self._driver = threading.current_thread()
        try:
            self._resting.clear()
            self._wake()
            with self._driving:
                self._overdue.begin(kind, time.monotonic())
                return self._round(bodies, combine, begin, deadline, quorum)
        finally:
            self._resting.set()

    @property
    def served(self) -> Mapping[int, int | None]:
        """Shard -> the number of the worker whose result the last round took; None: that one was lost since."""
        return self._machine.served

    def waiting(self) -> str:
        """Return what the open round waits for, in words."""
        return self._machine.waiting(time.monotonic())

    def wait_for_workers(self, seconds: float) -> None:
        """Let a shard be without a worker for so long, if that is longer than the limits say."""
        self._machine.join = max(self._machine.join, seconds)

    def job_failed(self, error: SparknetError) -> None:
        """Tell that the job which runs the workers has failed; from any thread."""
        self._tell(self._machine.job_failed, error)

    def fail(self, error: SparknetError) -> None:
        """Let the open round, or the next one, raise an error; from any thread."""
        self._tell(self._machine.fail, error)

    def close(self, reason: str = "") -> None:
        """End the session: workers are told, connections and port are closed. A round that is open in another thread raises an error."""
        atexit.unregister(self._close_at_exit)
        if os.getpid() != self._owner:  # a fork of the driver's process: the connections are not its own
            return
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._resting.set()
        self._wake()
        with self._driving:
            self._perform(self._machine.close(time.monotonic(), reason))
        threads = self._door.close(_ENDS)
        end_all(list(self._peers.values()), [self._driver_thread, *threads], _ENDS)

    def _close_at_exit(self) -> None:
        """Close a hub that a loop which was left still holds: once Python ends, the thread that drives it could not be waited for."""
        ends_by_itself = self._driver is not threading.main_thread() and self._driver.is_alive()  # a daemon thread
        if not ends_by_itself:
            self.close("the driver ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close("" if error is None else f"the driver ended: {type(error).__name__}")

    def _round(
        self,
        bodies: Mapping[int, Any],
        combine: Callable[[int, tuple[memoryview, ...]], None],
        begin: Callable[[Mapping[int, Done]], None],
        deadline: Deadline | None,
        quorum: Quorum | None,
    ) -> Mapping[int, Done]:
        now = time.monotonic()
        late = deadline if deadline is None or callable(deadline) else now + deadline
        actions = self._machine.open(bodies, now, deadline=late, quorum=quorum)
        done: Mapping[int, Done] = {}
        try:
            while True:
                while actions:  # each is let go when it is done: it may have slices
                    match actions.pop(0):
                        case Begin(_, done):
                            begin(done)
                        case Combine(_, number, slices):
                            combine(number, slices)
                            del slices
                        case End():
                            self._overdue.end(time.monotonic())
                            return done
                        case GiveUp(error):
                            raise error  # noqa: TRY301 - what is caught below says it to the workers
                        case action:
                            self._perform([action])
                actions = [GiveUp(ClusterError(_CLOSED))] if self._is_closed else self._next()
                if said := self._overdue.words(self._machine, time.monotonic()):
                    _LOG.warning("%s", said)
        except BaseException as error:
            broken = ClusterError(f"an earlier round of this session was broken off: {type(error).__name__}: {error}")
            self._perform(self._machine.fail(broken, time.monotonic()))
            raise

    def _rest(self) -> None:
        """Drive the machine while no round is open."""
        while not self._is_closed:
            self._resting.wait()
            with self._driving:
                while self._resting.is_set() and not self._is_closed:
                    try:
                        self._perform(self._next())
                    except Exception as error:  # noqa: BLE001 - of what the caller gave to be called; the next round raises it
                        broken = ClusterError(f"between two rounds: {type(error).__name__}: {error}")
                        self._perform(self._machine.fail(broken, time.monotonic()))

    def _tell(self, event: Callable[..., list[DriverAction]], *args: Any, **more: Any) -> None:
        """Let the thread that drives tell the machine of an event."""
        self._events.put(lambda now: event(*args, now=now, **more))

    def _wake(self) -> None:
        """Let the thread that drives look whether it still should."""
        self._events.put(lambda now: [])  # noqa: ARG005 - events take the time

    def _next(self) -> list[DriverAction]:
        """Wait for something, and return what is to be done; all that has come is heard before anyone is taken for silent."""
        wait = min(self._machine.wake() - time.monotonic(), _LOOK)
        actions: list[DriverAction] = []
        with contextlib.suppress(queue.Empty):
            actions += self._events.get(timeout=max(0.0, wait))(time.monotonic())
            for _ in range(self._events.qsize()):
                actions += self._events.get_nowait()(time.monotonic())
        if self._machine.wake() <= time.monotonic():
            actions += self._machine.tick(time.monotonic())
        return actions

    def _perform(self, actions: Sequence[DriverAction]) -> None:
        for action in actions:
            match action:
                case Send(number, message):
                    if (peer := self._peers.get(number)) is not None:
                        peer.send(message)
                case Drop(number, reason):
                    if (peer := self._peers.get(number)) is not None:
                        if not self._is_closed and not peer.hello.is_probe:
                            _LOG.warning("the worker of shard %d is given up: %s", peer.hello.shard, reason)
                        peer.break_off()
                        self._dropped(peer.hello, reason)
                case RunAgain():
                    self._run_again()

    def _entered(self, number: int, connection: Connection, hello: Hello) -> Callable[[], None]:
        """Take a peer that has proved itself, and return what reads until its end."""
        peer = Peer(connection, hello)
        connection.settimeout(2 * self._limits.silence)  # of sending to one that lives and does not read
        with self._lock:
            self._peers[number] = peer
        return partial(self._read, number, connection, peer, hello)

    def _read(self, number: int, connection: Connection, peer: Peer, hello: Hello) -> None:
        reason = ""
        try:
            if self._is_closed:
                return
            if wrong := self._limits.unfit(hello.about):
                self.fail(ClusterError(f"the worker of shard {hello.shard}: {wrong}", shard=hello.shard))
            self._tell(self._machine.joined, number, hello)
            heard = partial(self._tell, self._machine.heard, number)
            received = partial(self._tell, self._machine.received, number)
            reason = read_all(connection, self._longest, self._limits.beat, heard, received)
            if reason:
                _LOG.warning(_DAMAGED, hello.shard, reason)
            self._tell(self._machine.lost, number, reason=reason)
        finally:
            with self._lock:
                self._peers.pop(number, None)
                self._damaged += bool(reason)
            peer.finish()
