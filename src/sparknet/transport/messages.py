"""What a driver and its workers say to each other, as values; how they become bytes is the business of :mod:`.frames`.

A message belongs to a round by its number, so that what comes late is known as such.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Beat", "Close", "Done", "Failed", "FromDriver", "FromWorker", "Hello", "Pull", "Rest", "Slice", "Work"]


@dataclass(frozen=True)
class Hello:
    """A worker is there and serves a shard.

    Parameters
    ----------
    shard
        Which, 0-based.
    about
        What must be the same on all workers and on the driver, such as versions and the schema of the weights; and for people, ``"host"``
        and ``"pid"``, which :func:`~sparknet.transport.serve` adds where they are not given.
    """

    shard: int
    about: dict[str, str] = field(default_factory=dict)

    @property
    def is_probe(self) -> bool:
        """Whether this is no worker: it only tries whether it gets here."""
        return "probe" in self.about

    @property
    def place(self) -> str:
        """Where the worker is, in words; "" where it does not tell both.

        Examples
        --------
        >>> Hello(3, {"host": "node7", "pid": "4711"}).place
        'pid 4711 on node7'
        """
        host, pid = self.about.get("host", ""), self.about.get("pid", "")
        return f"pid {pid} on {host}" if host and pid else ""


@dataclass(frozen=True)
class Work:
    """What a worker is to do in a round.

    Parameters
    ----------
    round
        Number of the round; it grows with each piece of work of a session.
    body
        The task and the weights. The protocol does not look into it.
    exactly
        Steps to take, where another attempt at the same work has told how many it took; None: as the task says.
    ahead
        Slices of the result that are sent without being asked for, the first ones, as soon as the work is done.
    """

    round: int
    body: Any
    exactly: int | None = None
    ahead: int = 0


@dataclass(frozen=True)
class Rest:
    """A body of which one worker has a part already, from a round before; the driver sends it the rest, and the whole to any other one.

    Parameters
    ----------
    holder
        The number of that worker, from ``Hub.served``.
    rest
        What it gets.
    whole
        What a worker gets that has taken its place.
    """

    holder: int
    rest: Any
    whole: Any


@dataclass(frozen=True)
class Done:
    """A worker has ended its work; what came of it waits to be pulled.

    Parameters
    ----------
    round
        Of which round.
    steps
        Solver steps taken.
    slices
        In how many slices the result can be pulled.
    result
        What each attempt at this work must give alike, such as the loss.
    notes
        What may differ between attempts, such as seconds.
    """

    round: int
    steps: int
    slices: int
    result: bytes = b""
    notes: bytes = b""

    @property
    def is_nothing(self) -> bool:
        """Whether nothing came of the work but notes."""
        return not (self.steps or self.slices or self.result)


@dataclass(frozen=True)
class Failed:
    """The work of a round raised an error, which another attempt would raise too."""

    round: int
    reason: bytes


@dataclass(frozen=True)
class Pull:
    """The driver asks for a slice of a result."""

    round: int
    number: int


@dataclass(frozen=True)
class Slice:
    """A slice of a result."""

    round: int
    number: int
    data: Any


@dataclass(frozen=True)
class Beat:
    """The sender lives. Said where nothing else was said for a while."""


@dataclass(frozen=True)
class Close:
    """The session is over; a worker that is told so ends."""

    reason: str = ""


FromDriver: TypeAlias = Work | Pull | Beat | Close
FromWorker: TypeAlias = Hello | Done | Failed | Slice | Beat
