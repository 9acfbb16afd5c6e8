"""What the driver's side knows of its workers and of the open round; :mod:`.driver_side` alone changes it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparknet.transport.limits import Deadline, Enough, Limits
from sparknet.transport.messages import Done, Rest

__all__ = ["KnownPeer", "OpenRound", "Patience", "Seat", "making_room", "waited_for"]

_TIMES = 3  # the longest silence after which a worker was heard again: so long another one may be
_MOST = 8  # the silence of the limits: longer none may be
_NAMED = 8  # shards that a message names


@dataclass
class KnownPeer:
    """A worker that is connected: its shard, when it was last heard and spoken to, and where it is, in words."""

    shard: int
    heard: float
    said: float
    place: str = ""


class Patience:
    """How long a worker may say nothing: what the limits say, or longer where workers were seen to take longer.

    A step that runs outside of Python may keep all threads of its worker waiting, also the one that beats. How long it does so is known
    once a worker was heard again. Before, each worker of a shard may take twice as long as the one that was given up. None may take longer
    than eight times what the limits say: it may stand still for ever.

    Examples
    --------
    >>> patience, peer = Patience(Limits(silence=60.0)), KnownPeer(shard=0, heard=0.0, said=0.0)
    >>> patience.until(peer)
    60.0
    >>> patience.given_up(peer, now=60.0)
    'it has said nothing for 60 s, and may for 60 s; the next worker of its shard may for 120 s'
    >>> patience.hear(peer, now=100.0)
    >>> patience.until(peer)  # three times as long
    400.0
    """

    def __init__(self, limits: Limits, now: float = 0.0) -> None:
        self._limits, self._awake = limits, now  # when the driver was last seen to be at work
        self._longest = 0.0  # silence after which a worker was heard again
        self._given_up = dict[int, int]()  # shard -> workers since a round has ended

    def hear(self, peer: KnownPeer, now: float) -> None:
        """Take that a worker is heard."""
        self._longest, peer.heard = max(self._longest, now - peer.heard), now

    def until(self, peer: KnownPeer) -> float:
        """Return the time until which a worker may say nothing."""
        return peer.heard + self._limit(peer.shard)

    def given_up(self, peer: KnownPeer, now: float) -> str:
        """Take that a worker is given up because it said nothing; return the reason in words."""
        limit = self._limit(peer.shard)
        self._given_up[peer.shard] = self._given_up.get(peer.shard, 0) + 1
        return (
            f"it has said nothing for {now - peer.heard:.0f} s, and may for {limit:.0f} s; the next worker of its shard may for "
            f"{self._limit(peer.shard):.0f} s"
        )

    def end_round(self) -> None:
        """Take that a round has ended: how long workers are silent is known."""
        self._given_up.clear()

    def awake(self, peers: Iterable[KnownPeer], now: float) -> None:
        """Take that the driver is at work now. If it stood still before, it has heard nobody; less than two beats are no matter."""
        stood_still, self._awake = now - self._awake, now
        if stood_still > 2 * self._limits.beat:
            for peer in peers:
                peer.heard = min(now, peer.heard + stood_still)

    def _limit(self, shard: int) -> float:
        least = self._limits.silence
        return min(_MOST * least, max(least * (1 << self._given_up.get(shard, 0)), _TIMES * self._longest))


@dataclass
class Seat:
    """A shard, who serves it, and how far its part of the open round is."""

    since: float  # time from which it is without a worker
    peer: int | None = None
    reason: str = ""  # for which the connection to the last one was closed
    spares: list[int] = field(default_factory=list)
    done: Done | None = None  # what an attempt at the open work has said
    ready: bool = False  # the worker that is there now has said it too
    ahead: int = 0  # slices that its worker sends unasked
    asked: int = 0  # slices asked of it in all
    slices: dict[int, Any] = field(default_factory=dict)
    began: float | None = None  # time from which its worker has had the open work; None: it has none

    def open(self, now: float) -> None:
        """Forget the last round."""
        self.done, self.ready, self.asked, self.slices, self.began = None, False, 0, {}, None
        self.since = now

    def leave(self, now: float, reason: str, round_: "OpenRound | None") -> None:
        """Take that its worker is gone. What that did not send is asked for again, and before pulling began, all of it."""
        self.peer, self.ready, self.since, self.reason = None, False, now, reason
        self.asked = 0 if round_ is None else round_.next
        if round_ is None or not round_.pulls:
            self.slices = {}

    def waits_for(self, number: int, since: int) -> bool:
        """Say whether a slice is to come; those before ``since`` were combined."""
        return self.ready and since <= number < self.asked and number not in self.slices

    def is_missing(self, since: float) -> bool:
        """Say whether it has been without a worker since then or longer."""
        return self.peer is None and self.since <= since

    def waste(self, now: float) -> float:
        """Take that what its worker does is for nothing; return the seconds of it."""
        began, self.began = self.began, None
        return 0.0 if began is None else max(0.0, now - began)

    @property
    def count(self) -> int:
        """In how many slices the result comes."""
        return 0 if self.done is None else self.done.slices


@dataclass
class OpenRound:
    """A round that was begun and has not ended."""

    number: int
    bodies: Mapping[int, Any]  # shard -> body
    deadline: Deadline | None  # a time, or the function that says for how long after the quorum
    enough: Enough
    taking_part: tuple[int, ...] | None = None  # None: it is not fixed yet
    next: int = 0  # slice to be combined next
    first: float | None = None  # time at which the first worker was done
    uncounted: set[int] = field(default_factory=set)  # shards whose results do not count

    def body(self, shard: int, peer: int) -> Any:
        """Return what this peer gets as the worker of a shard."""
        body = self.bodies[shard]
        if not isinstance(body, Rest):
            return body
        return body.rest if peer == body.holder else body.whole

    @property
    def due(self) -> float | None:
        """Time from which on it does with those that are done; None: there is none, or it is not known yet."""
        return None if callable(self.deadline) else self.deadline

    def hear(self, shard: int, done: Mapping[int, Done], now: float) -> None:
        """Take that one more is done, of these in all: the first one, or enough of them."""
        self.first = now if self.first is None else self.first
        if not self.enough.counts(done[shard]):
            self.uncounted.add(shard)
        if callable(self.deadline) and self.are_enough(done):
            self.deadline = now + max(0.0, self.deadline(done, max(0.0, now - self.first)))

    def can_end(self, done: Collection[int], now: float) -> bool:
        """Say whether it goes on with these: all are done, or it is late and enough are."""
        is_late = self.due is not None and now >= self.due
        return len(done) == len(self.bodies) or (is_late and self.are_enough(done))

    def can_do_without(self, missing: Collection[int]) -> bool:
        """Say whether enough can be done where these have no worker."""
        return not self.pulls and self.are_enough(self.bodies.keys() - missing)

    def are_enough(self, shards: Collection[int]) -> bool:
        """Say whether the results of these are enough; one that is not known yet may count."""
        return sum(shard not in self.uncounted for shard in shards) >= max(1, self.enough.results)

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
    if not any(seats[shard].is_missing(since) for shard in awaited):
        return []
    return [seat.peer for seat in seats if seat.peer is not None and seat.spares]


def waited_for(
    awaited: Mapping[int, Seat], peers: Mapping[int, KnownPeer], round_: OpenRound | None, now: float
) -> str:
    """Return what is waited for of these shards, in words, those without a worker first; "" for nothing."""
    missing, said = list[str](), list[str]()
    for shard, seat in awaited.items():
        if seat.peer is None:
            missing.append(f"shard {shard}: no worker for {now - seat.since:.0f} s")
            continue
        place = peers[seat.peer].place
        who = f"shard {shard} ({place})" if place else f"shard {shard}"
        if not seat.ready:
            said.append(f"{who}: its steps" + ("" if seat.began is None else f", for {now - seat.began:.0f} s"))
        elif round_ is not None and round_.pulls and round_.next not in seat.slices and round_.next < seat.count:
            said.append(f"{who}: slice {round_.next}")
    said = [*missing, *said]
    more = [f"{len(said) - _NAMED} more shards"] if len(said) > _NAMED else []
    return "; ".join(said[:_NAMED] + more)
