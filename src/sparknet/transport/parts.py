"""Workers among each other: each has some bytes for the others, who pull them slice by slice.

There are no rounds here, nobody is waited for, and nothing is asked twice: what cannot be had is said at once, as a :class:`PeerLostError`,
and the driver decides what follows. The connections are those of a hub: both sides prove that they know the session's secret.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sparknet.errors import ClusterError, SparknetError
from sparknet.serialization.memory.leased import Leases
from sparknet.transport.connecting import connected
from sparknet.transport.door import Door
from sparknet.transport.handshake import Credentials
from sparknet.transport.messages import Close, Hello, Pull, Slice
from sparknet.transport.peers import shut
from sparknet.transport.wire import Connection, receive, send

__all__ = ["NotWantedError", "Offers", "PeerLostError", "Pulls", "Source"]

_AHEAD = 2  # slices that are asked of each source before the first of them has come
_LOOK = 0.5  # seconds without a byte after which it is looked whether the slices are still wanted
_ENDS = 1.0  # seconds for threads to end after their connections


class PeerLostError(ClusterError):
    """A worker does not have, or does not send, what was asked of it.

    Parameters
    ----------
    peer
        The worker.
    reason
        In words.
    """

    def __init__(self, peer: int, reason: str) -> None:
        super().__init__(f"worker {peer}: {reason}")
        self.peer, self.reason = peer, reason


class NotWantedError(Exception):
    """What was pulled is no longer wanted."""


@dataclass(frozen=True)
class Source:
    """Slices that a worker offers.

    Parameters
    ----------
    peer
        The worker.
    address
        Where it listens.
    stage
        The number under which it offers them.
    numbers
        Which ones.
    """

    peer: int
    address: tuple[str, int]
    stage: int
    numbers: range


class Offers:
    """What this worker has for others: a port where they pull it.

    Parameters
    ----------
    host
        To listen at; on any free port.
    secret
        Of the session.
    key
        Of the side that listens, with its certificate, in PEM; None: connections are plain.
    peers
        How many workers there are.
    silence
        Seconds after which a worker that does not read is let go.

    Examples
    --------
    >>> from sparknet.transport import new_secret
    >>> offers = Offers("127.0.0.1", secret=new_secret(), key=None, peers=1, silence=5.0)
    >>> offers.put(7, [b"some", b"weights"])
    >>> pulls = Pulls(0, offers.credentials, silence=5.0)
    >>> source = Source(0, offers.address, stage=7, numbers=range(1, 2))
    >>> [bytes(slice_) for (slice_,) in pulls.in_step([source], lambda: True)]
    [b'weights']
    >>> pulls.close(), offers.close()
    (None, None)
    """

    def __init__(self, host: str, *, secret: bytes, key: bytes | None, peers: int, silence: float) -> None:
        self._silence = silence
        self._lock = threading.Lock()  # of what follows
        self._offers: dict[int, Sequence[Any]] = {}
        self._connections: set[Connection] = set()
        self._is_closed = False
        self.credentials = Credentials(secret)
        self._door = Door(host, 0, secret=secret, key=key, workers=peers, entered=self._entered)
        self.address = self._door.address
        self._door.open()

    @property
    def strangers(self) -> int:
        """Connections that did not prove themselves."""
        return self._door.strangers

    def put(self, stage: int, slices: Sequence[Any]) -> None:
        """Offer slices, each of bytes or a sequence of them. They are sent as they are, by several threads, and must not change."""
        with self._lock:
            self._offers[stage] = slices

    def offered(self, stage: int) -> Sequence[Any]:
        """Return what is offered under a number; nothing where nothing is."""
        with self._lock:
            return self._offers.get(stage, ())

    def forget(self, before: int) -> None:
        """Offer no more what has a smaller number."""
        with self._lock:
            self._offers = {stage: slices for stage, slices in self._offers.items() if stage >= before}

    def close(self) -> None:
        """Offer nothing more, and end all connections."""
        threads = self._door.close(_ENDS)
        with self._lock:
            self._is_closed = True
            for connection in self._connections:
                shut(connection)
        for thread in threads:
            thread.join(_ENDS)

    def _entered(self, _number: int, connection: Connection, _hello: Hello) -> Callable[[], None]:
        return partial(self._serve, connection)

    def _serve(self, connection: Connection) -> None:
        """Answer each Pull, until the connection ends."""
        connection.settimeout(self._silence)
        with self._lock:
            self._connections.add(connection)
            if self._is_closed:
                shut(connection)
        try:
            while True:
                asked = receive(connection, longest=0, allowed=[Pull], waits=lambda: True)
                slices = self.offered(asked.round)
                if asked.number >= len(slices):
                    send(connection, Close(f"it does not have slice {asked.number} of {asked.round}"))
                    return
                send(connection, Slice(asked.round, asked.number, slices[asked.number]))
                del slices
        except (OSError, SparknetError):  # whoever pulls finds out
            pass
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()


class Pulls:
    """Pulls slices of several workers at the same time, over connections that are kept.

    Parameters
    ----------
    me
        The worker that pulls; -1: the driver.
    credentials
        Of the session.
    silence
        Seconds without a byte after which a source is taken for lost.
    longest
        Bytes that a slice may have.
    """

    def __init__(self, me: int, credentials: Credentials, *, silence: float, longest: int = 1 << 26) -> None:
        self._me, self._credentials, self._silence, self._longest = me, credentials, silence, longest
        self._links: dict[tuple[str, int], _Link] = {}
        self.own: Offers | None = None  # what this worker offers itself: it needs no connection for that

    def in_step(self, sources: Sequence[Source], is_wanted: Callable[[], bool]) -> Iterator[list[memoryview]]:
        """Yield the first slice of each source, then the second of each, until none has one; empty where a source has no more.

        What was yielded lies in memory that is used again once nobody has it.

        Raises
        ------
        PeerLostError
            A source does not have a slice, or sends nothing, or cannot be reached.
        NotWantedError
            ``is_wanted()`` said no.
        """
        try:
            links = [self._linked(source) for source in sources]
            count = max((len(source.numbers) for source in sources), default=0)
            for ahead in range(min(_AHEAD, count)):
                self._ask(sources, links, ahead)
            for step in range(count):
                # Not all workers are to read of the same one first.
                order = sorted(range(len(sources)), key=lambda place: (place - self._me) % len(sources))
                found = {
                    place: self._slice(sources[place], links[place], step, is_wanted)
                    for place in order
                    if step < len(sources[place].numbers)
                }
                self._ask(sources, links, step + _AHEAD)
                yield [found.pop(place, memoryview(b"")) for place in range(len(sources))]
        except BaseException:  # what was asked and has not come would be taken for what is asked next
            self.close()
            raise

    def close(self) -> None:
        """End all connections."""
        while self._links:
            self._links.popitem()[1].close()

    def _linked(self, source: Source) -> "_Link | None":
        if self.own is not None and source.address == self.own.address:
            return None
        if source.address not in self._links:
            try:
                self._links[source.address] = _Link(source.address, self._me, self._credentials)
            except (OSError, SparknetError) as error:
                raise PeerLostError(source.peer, f"it cannot be reached: {error}") from error
        return self._links[source.address]

    def _ask(self, sources: Sequence[Source], links: "Sequence[_Link | None]", step: int) -> None:
        for source, link in zip(sources, links, strict=True):
            if link is not None and step < len(source.numbers):
                try:
                    send(link.connection, Pull(source.stage, source.numbers[step]))
                except OSError as error:
                    raise PeerLostError(source.peer, f"the connection to it was lost: {error}") from error

    def _own_slice(self, source: Source, step: int) -> memoryview:
        assert self.own is not None
        slices, number = self.own.offered(source.stage), source.numbers[step]
        if number >= len(slices):
            raise PeerLostError(source.peer, f"it does not have slice {number} of {source.stage}")
        data = slices[number]
        try:
            return memoryview(data)
        except TypeError:  # several parts
            return memoryview(b"".join(data))

    def _slice(self, source: Source, link: "_Link | None", step: int, is_wanted: Callable[[], bool]) -> memoryview:
        if link is None:
            return self._own_slice(source, step)
        heard = time.monotonic()

        def hear() -> None:
            nonlocal heard
            heard = time.monotonic()

        def waits() -> bool:
            if not is_wanted():
                raise NotWantedError
            return time.monotonic() - heard < self._silence

        try:
            got = receive(
                link.connection,
                longest=self._longest,
                allowed=[Slice, Close],
                heard=hear,
                memory=link.memory,
                waits=waits,
            )
        except (OSError, SparknetError, MemoryError) as error:
            raise PeerLostError(source.peer, f"it does not send what it has: {error}") from error
        if not isinstance(got, Slice) or (got.round, got.number) != (source.stage, source.numbers[step]):
            raise PeerLostError(source.peer, got.reason if isinstance(got, Close) else "it sent another slice")
        data: memoryview = got.data
        return data


class _Link:
    """A connection to a worker, and memory for what it sends."""

    def __init__(self, address: tuple[str, int], me: int, credentials: Credentials) -> None:
        self.memory = Leases()
        self._kept = contextlib.ExitStack()
        self.connection = self._kept.enter_context(connected(address, credentials, "the worker"))
        self.connection.settimeout(_LOOK)
        try:
            send(self.connection, Hello(max(me, 0)))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._kept.close()
