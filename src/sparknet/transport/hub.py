"""The driver's end over TCP: workers connect to a :class:`Hub`, and each round goes out and comes back over their connections.

Blocking sockets, and of each connection a thread that reads and one that writes: copies of the kernel's and of numpy's let other
threads run. One thread at a time drives the machine: in a round the one that called :meth:`Hub.round`, between rounds one of the hub's
own, so that workers hear of the driver and lost ones are noticed however long the caller takes.
"""

import atexit
import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from sparknet.errors import ClusterError, SparknetError
from sparknet.transport.actions import Begin, Combine, Drop, End, GiveUp, RunAgain, Send
from sparknet.transport.driver_side import DriverAction, DriverSide
from sparknet.transport.frames import works
from sparknet.transport.limits import Limits
from sparknet.transport.messages import Done, Hello
from sparknet.transport.peers import Peer, end_all, greet, read_all, shut
from sparknet.transport.wire import receive

__all__ = ["Hub"]

_ENDS = 1.0  # seconds for threads to end after their connections
_STRANGERS = 64  # connections at once that have not proved themselves; another one ends the oldest
_PAUSE = 0.05  # seconds until it is tried again to accept a connection
_CLOSED = "the session was closed while a round was open"


class Hub:
    """The driver's end: workers connect to it, and each round goes out and comes back over their connections.

    Parameters
    ----------
    shards
        How many; each wants a worker.
    secret
        What workers have to know, as :func:`~sparknet.transport.new_secret` makes it.
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
        Called with a shard and a reason where the hub has closed the connection to a worker, which may live on.

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
        limits: Limits | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        longest: int = 1 << 26,
        about: Mapping[str, str] | None = None,
        raised: Callable[[int, bytes], SparknetError] | None = None,
        run_again: Callable[[], None] = lambda: None,
        dropped: Callable[[int, str], None] = lambda shard, reason: None,  # noqa: ARG005 - it has to take them
    ) -> None:
        self._shards, self._limits, self._secret, self._longest = shards, limits or Limits(), secret, longest
        self._machine = DriverSide(shards, self._limits, time.monotonic(), about=about, raised=raised)
        self._run_again, self._dropped = run_again, dropped
        self._events = queue.SimpleQueue[Callable[[float], list[DriverAction]]]()
        self._driving = threading.RLock()  # of the machine: held by the thread that drives it
        self._resting = threading.Event()  # set while no round is open
        self._resting.set()
        self._lock = threading.Lock()  # of what follows
        self._peers: dict[int, Peer] = {}
        self._greeting: dict[
            int, socket.socket
        ] = {}  # connections that have not proved themselves, the oldest one first
        self._accepted, self._is_closed = 0, False
        self._threads: list[threading.Thread] = []
        self.strangers = 0  # connections that did not prove themselves
        self._listener = socket.create_server((address, port), backlog=128)
        host, number = self._listener.getsockname()[:2]
        self.address: tuple[str, int] = (host, number)  # that workers connect to
        self._acceptor = self._spawn(self._accept, name="accepts workers")
        self._spawn(self._rest, name="drives between rounds")
        self._owner = os.getpid()
        self._driver = threading.current_thread()  # that called for the last round
        atexit.register(self._close_at_exit)

    @property
    def ignored(self) -> int:
        """Messages that came late, twice, or for nobody."""
        return self._machine.ignored

    def round(
        self,
        bodies: Mapping[int, Any],
        *,
        combine: Callable[[int, tuple[memoryview, ...]], None],
        begin: Callable[[Mapping[int, Done]], None] = lambda done: None,  # noqa: ARG005 - it has to take it
        deadline: float | None = None,
        quorum: int | None = None,
    ) -> Mapping[int, Done]:
        """Send work to each shard, and combine what comes back slice by slice.

        Parameters
        ----------
        bodies
            Shard -> bytes, or a sequence of them, sent as they are; they must not change before the round has ended.
        combine
            Called with the number of a slice and that slice of each result, in the order of the shards. Their memory is used
            again afterwards.
        begin
            Called before, with what each of those that take part has said; called again where others take part, and what was
            combined is to be forgotten.
        deadline, quorum
            From so many seconds on the round does with those that are done, once they are so many.

        Returns
        -------
        Mapping[int, Done]
            What each shard that took part has said.

        Raises
        ------
        ClusterError
            The session cannot go on: a shard has no worker, a worker raised an error, or its results differ.
        DataError
            A body is not bytes, or is of no shard. The session is as before.
        """
        bodies = works(bodies, self._shards)
        self._driver = threading.current_thread()
        try:
            self._resting.clear()
            self._wake()
            with self._driving:
                return self._round(bodies, combine, begin, deadline, quorum)
        finally:
            self._resting.set()

    def waiting(self) -> str:
        """Return what the open round waits for, in words."""
        return self._machine.waiting(time.monotonic())

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
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._acceptor.join(_ENDS)
        self._listener.close()
        with self._lock:
            peers = list(self._peers.values())
            for connection in self._greeting.values():
                shut(connection)
        end_all(peers, self._threads, _ENDS)

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
        deadline: float | None,
        quorum: int | None,
    ) -> Mapping[int, Done]:
        now = time.monotonic()
        late = None if deadline is None else now + deadline
        actions: Sequence[DriverAction] = self._machine.open(bodies, now, deadline=late, quorum=quorum)
        done: Mapping[int, Done] = {}
        try:
            while True:
                for action in actions:
                    match action:
                        case Begin(_, done):
                            begin(done)
                        case Combine(_, number, slices):
                            combine(number, slices)
                        case End():
                            return done
                        case GiveUp(error):
                            raise error  # noqa: TRY301 - what is caught below says it to the workers
                        case _:
                            self._perform([action])
                actions = [GiveUp(ClusterError(_CLOSED))] if self._is_closed else self._next()
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
        wait = min(self._machine.wake() - time.monotonic(), threading.TIMEOUT_MAX)
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
                        peer.break_off()
                        self._dropped(peer.shard, reason)
                case RunAgain():
                    self._run_again()

    def _spawn(self, work: Callable[..., None], *args: Any, name: str) -> threading.Thread:
        thread = threading.Thread(target=work, args=args, name=name, daemon=True)
        thread.start()
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        return thread

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._is_closed:
                    return
                time.sleep(_PAUSE)  # the peer has gone already, or this process may open no more files for now
                continue
            with self._lock:
                if len(self._greeting) >= _STRANGERS:
                    shut(self._greeting.pop(next(iter(self._greeting))))
                self._accepted += 1
                number = self._accepted
                self._greeting[number] = connection
            try:
                self._spawn(self._serve, number, connection, name=f"worker {number}")
            except RuntimeError:  # no more threads for now
                self._greeted(number)
                connection.close()

    def _serve(self, number: int, connection: socket.socket) -> None:
        """Read what a peer says, from its greeting to its end."""
        try:
            greet(connection, self._secret)
            hello = receive(connection, longest=0, allowed=[Hello])
        except (SparknetError, OSError):
            self._greeted(number, stranger=True)
            connection.close()
            return
        peer = Peer(connection, hello.shard)
        try:
            connection.settimeout(2 * self._limits.silence)  # the machine is to find a silent worker, and say so
            with self._lock:
                self._peers[number] = peer
            self._greeted(number)
            if self._is_closed:
                return
            self._tell(self._machine.joined, number, hello)
            heard = partial(self._tell, self._machine.heard, number)
            received = partial(self._tell, self._machine.received, number)
            reason = read_all(connection, self._longest, self._limits.beat, heard, received)
            self._tell(self._machine.lost, number, reason=reason)
        finally:
            with self._lock:
                self._peers.pop(number, None)
            peer.finish()

    def _greeted(self, number: int, *, stranger: bool = False) -> None:
        with self._lock:
            self._greeting.pop(number, None)
            self.strangers += stranger
