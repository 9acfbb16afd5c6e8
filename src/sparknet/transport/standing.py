"""What the driver's side knows of its workers and of the open round; :mod:`.driver_side` alone changes it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparknet.transport.messages import Done

__all__ = ["KnownPeer", "OpenRound", "Seat", "making_room", "waited_for"]


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


def making_room(seats: Sequence[Seat], awaited: Collection[int], since: float) -> list[int]:
    """Return the workers that make room for a shard that has none: their own shards have spares.

    Not the spare goes: whoever runs the workers would start it again in the same place. With Spark the spare is of a newer attempt at the
    stage, and nobody starts the worker again that is of the older one.

    Parameters
    ----------
    seats
        Of all shards.
    awaited
        Shards that work waits for.
    since
        Time since which one of them has to be without a worker.
    """
    if not any(seats[shard].peer is None and seats[shard].since <= since for shard in awaited):
        return []
    return [seat.peer for seat in seats if seat.peer is not None and seat.spares]


def waited_for(awaited: Mapping[int, Seat], round_: OpenRound | None, now: float) -> str:
    """Return what is waited for of these shards, in words; "" for nothing."""
    said = []
    for shard, seat in awaited.items():
        if seat.peer is None:
            said.append(f"shard {shard}: no worker for {now - seat.since:.0f} s")
        elif not seat.ready:
            said.append(f"shard {shard}: its steps")
        elif round_ is not None and round_.pulls and round_.next not in seat.slices and round_.next < seat.count:
            said.append(f"shard {shard}: slice {round_.next}")
    return "; ".join(said)
