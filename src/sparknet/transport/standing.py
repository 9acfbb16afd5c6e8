"""What the driver's side knows of its workers and of the open round; :mod:`.driver_side` alone changes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparknet.transport.messages import Done

__all__ = ["KnownPeer", "OpenRound", "Seat"]


@dataclass
class KnownPeer:
    """A worker that is connected: its shard, and when it was last heard and spoken to."""

    shard: int
    heard: float
    said: float


@dataclass
class Seat:
    """A shard, who serves it, and how far its part of the open round is."""

    since: float  # time from which it is without a worker
    peer: int | None = None
    reason: str = ""  # for which the connection to the last one was closed
    spares: list[int] = field(default_factory=list)
    done: Done | None = None  # what an attempt at the open work has said
    ready: bool = False  # the worker that is there now has said it too
    asked: int = 0  # slices asked of it in all
    slices: dict[int, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """In how many slices the result comes."""
        return 0 if self.done is None else self.done.slices


@dataclass
class OpenRound:
    """A round that was begun and has not ended."""

    number: int
    bodies: Mapping[int, Any]  # shard -> body
    deadline: float | None
    quorum: int
    taking_part: tuple[int, ...] | None = None  # None: it is not fixed yet
    next: int = 0  # slice to be combined next

    @property
    def pulls(self) -> bool:
        """Whether it is fixed who takes part."""
        return self.taking_part is not None
