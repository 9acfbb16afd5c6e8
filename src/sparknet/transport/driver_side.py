"""The driver's side of the protocol: a state machine without sockets, threads and clocks.

Each method takes what happened and the time, and returns what is to be done. A round goes out as work, each worker says
when it is done and sends the first slices of its result, the driver fixes who takes part and pulls the others: all workers' slice j
before slice j + 1 is combined, in the order of the workers. So the order of arrival changes no bit, and the driver holds a few slices and
no result. What a worker sends comes in the order in which it was sent, as a connection has it.

A worker that is lost comes back as another attempt at its shard. It gets the same work, and where its predecessor said how many
steps it took, exactly so many. A second attempt whose predecessor lives waits as a spare. It takes over where another shard has no worker:
whoever runs the workers may have no place for that one but the predecessor's.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sparknet.errors import ClusterError, SparknetError
from sparknet.transport import faults
from sparknet.transport.actions import Begin, Combine, Drop, End, GiveUp, RunAgain, Send
from sparknet.transport.limits import Deadline, Enough, Limits, Quorum
from sparknet.transport.messages import Beat, Close, Done, Failed, FromDriver, FromWorker, Hello, Pull, Slice, Work
from sparknet.transport.standing import KnownPeer, OpenRound, Patience, Seat, making_room, waited_for

__all__ = ["DriverAction", "DriverSide"]

DriverAction = Send | Drop | Begin | Combine | End | RunAgain | GiveUp


class DriverSide:
    """The driver of one session.

    Parameters
    ----------
    shards
        How many; each wants one worker.
    limits
        How long it waits.
    now
        The time, in seconds from any beginning.
    about
        What each worker's ``Hello.about`` must say.
    raised
        Called with a shard and what its worker told of an error; returns the error to give up with.

    Examples
    --------
    >>> driver = DriverSide(1, Limits(window=1), now=0.0)
    >>> driver.joined(7, Hello(shard=0), now=0.1)
    []
    >>> driver.open({0: "task and weights"}, now=0.2)
    [Send(peer=7, message=Work(round=1, body='task and weights', exactly=None, ahead=1))]
    >>> driver.received(7, Done(1, steps=50, slices=2), now=9.0)
    [Begin(round=1, done={0: Done(round=1, steps=50, slices=2, result=b'', notes=b'')})]
    >>> driver.received(7, Slice(1, 0, b"su"), now=9.1)
    [Combine(round=1, number=0, slices=(b'su',)), Send(peer=7, message=Pull(round=1, number=1))]
    >>> driver.received(7, Slice(1, 1, b"m"), now=9.2)
    [Combine(round=1, number=1, slices=(b'm',)), End(round=1)]
    """

    def __init__(
        self,
        shards: int,
        limits: Limits,
        now: float,
        *,
        about: Mapping[str, str] | None = None,
        raised: Callable[[int, bytes], SparknetError] | None = None,
    ) -> None:
        self._limits = limits
        self._about = dict(about or {})
        self._raised = raised or faults.raised
        self._peers: dict[int, KnownPeer] = {}
        self._patience = Patience(limits, now)
        self._seats = [Seat(since=now) for _ in range(shards)]
        self._window = limits.window_of(shards)
        self._number = 0
        self._round: OpenRound | None = None
        self._failures = 0  # of the job, since something was last finished
        self._ticked = now
        self._error: SparknetError | None = None  # why no more rounds can be opened
        self.join, self.where = limits.join, ""  # the latter: where it listens, in words, for an error
        self.served = dict[int, int | None]()  # shard -> the peer whose result the last round took
        self.ignored = 0  # messages that came late, twice, or from nobody known
        self.lost_work = 0.0  # seconds that workers had work for nothing: they were lost, or left out

    def open(
        self, bodies: Mapping[int, Any], now: float, *, deadline: Deadline | None = None, quorum: Quorum | None = None
    ) -> list[DriverAction]:
        """Begin a round: give each shard of ``bodies`` its work. A session that is over gives up, with what ended it.

        Parameters
        ----------
        bodies
            Shard -> task and weights; or the :class:`Rest` of them, for one of ``served``.
        now
            The time.
        deadline
            Time from which on the round does with the workers that are done, once they are ``quorum``; None: it waits for all. A
            function, as for :meth:`Hub.round`, says for how many seconds more from then on.
        quorum
            How many results are needed, or an :class:`Enough`; default: all.
        """
        if self._error is not None:
            return [GiveUp(self._error)]
        assert self._round is None, "a round is open"
        self._number += 1
        self._round = OpenRound(self._number, dict(bodies), deadline, Enough.of(quorum, most=len(bodies)))
        actions: list[DriverAction] = []
        for shard, seat in enumerate(self._seats):
            seat.open(now)
            if shard in bodies and seat.peer is not None:
                actions += self._work(shard, now)
        return actions

    def joined(self, peer: int, hello: Hello, now: float) -> list[DriverAction]:
        """Take that a worker has said who it is, on the connection ``peer``, a number that never comes again."""
        if self._is_over:
            return [Drop(peer, "the session is over")]
        if peer in self._peers:
            self.ignored += 1
            return []
        if not 0 <= hello.shard < len(self._seats):
            self.ignored += not hello.is_probe
            return [Drop(peer, f"there is no shard {hello.shard}")]
        for name, expected in self._about.items():
            if hello.about.get(name) != expected:
                return self._give_up(faults.unfit(hello.shard, name, hello.about.get(name), expected), now)
        self._peers[peer] = KnownPeer(hello.shard, now, now, hello.place)
        seat = self._seats[hello.shard]
        if seat.peer is not None:
            seat.spares.append(peer)
            return []
        return self._seated(hello.shard, peer, now)

    def received(self, peer: int, message: FromWorker, now: float) -> list[DriverAction]:
        """Take a message of a worker's."""
        known = self._peers.get(peer)
        if known is None or self._is_over:
            self.ignored += 1
            return []
        self.heard(peer, now)
        if isinstance(message, Beat):
            return []
        actions = None
        if not isinstance(message, Hello) and self._seats[known.shard].peer == peer:
            actions = self._of_the_round(known.shard, message, now)
        self.ignored += actions is None
        return actions or []

    def _of_the_round(self, shard: int, message: Done | Failed | Slice, now: float) -> list[DriverAction] | None:
        """Take a message of the worker that serves a shard; None: it comes late or twice."""
        seat, round_ = self._seats[shard], self._round
        if round_ is None or message.round != round_.number:
            return None
        match message:
            case Failed():
                return self._give_up(self._raised(shard, message.reason), now)
            case Done() if not seat.ready:
                return self._done(shard, message, now)
            case Slice() if shard not in self._awaited():
                return []  # its worker came late, and has sent it unasked
            case Slice() if seat.waits_for(message.number, round_.next):
                seat.slices[message.number] = message.data
                return self._pulled(now)
        return None

    def heard(self, peer: int, now: float) -> list[DriverAction]:
        """Take that a part of a message has come."""
        self._patience.awake(self._peers.values(), now)
        if peer in self._peers:
            self._patience.hear(self._peers[peer], now)
        return []

    def lost(self, peer: int, now: float, reason: str = "") -> list[DriverAction]:
        """Take that a connection is gone; ``reason`` is told where no other worker comes."""
        if (known := self._peers.pop(peer, None)) is None or self._is_over:
            return []
        if (seat := self._seats[known.shard]).peer != peer:
            seat.spares.remove(peer)
            return []
        seat.leave(now, reason, self._round)
        self.lost_work += seat.waste(now) if self._round is not None else 0.0
        return self._seated(known.shard, seat.spares.pop(0), now) if seat.spares else []

    def job_failed(self, error: SparknetError, now: float) -> list[DriverAction]:
        """Take that the job which runs the workers has failed: all of them are lost."""
        if self._is_over:
            return []
        actions: list[DriverAction] = []
        for peer in list(self._peers):
            actions += [Drop(peer, faults.JOB_FAILED), *self.lost(peer, now)]
        self._failures += 1
        if self._failures >= self._limits.tries:
            return [*actions, *self._give_up(error, now)]
        for seat in self._seats:
            seat.since = now
        return [*actions, RunAgain()]

    def fail(self, error: SparknetError, now: float) -> list[DriverAction]:
        """Take that the session cannot go on."""
        return [] if self._is_over else self._give_up(error, now)

    def tick(self, now: float) -> list[DriverAction]:
        """Take that time has passed."""
        self._patience.awake(self._peers.values(), now)
        self._ticked = now
        if self._is_over:
            return []
        actions: list[DriverAction] = []
        for number, peer in list(self._peers.items()):
            if now >= self._patience.until(peer):
                actions += [Drop(number, self._patience.given_up(peer, now)), *self.lost(number, now)]
            elif now - peer.said >= self._limits.beat:
                actions += self._send(number, Beat(), now)
        for number in making_room(self._seats, self._awaited(), now - self._limits.spare):
            actions += [Drop(number, faults.MAKES_ROOM), *self.lost(number, now)]
        actions += self._fixed(now)
        actions += self._without_the_lost(now)
        missing = [k for k in self._awaited() if self._seats[k].is_missing(now - self.join)]
        if missing and not self._is_over and self._round is not None and not self._round.can_do_without(missing):
            seat, waiting = self._seats[missing[0]], self.waiting(now) + self.where
            actions += self._give_up(faults.missing(missing[0], now - seat.since, self.join, waiting, seat.reason), now)
        return actions

    def wake(self) -> float:
        """Return when :meth:`tick` is to be called next, later than the last time; infinity: only after something else."""
        times = [min(self._patience.until(peer), peer.said + self._limits.beat) for peer in self._peers.values()]
        times += [self._seats[shard].since + self.join for shard in self._awaited() if self._seats[shard].peer is None]
        if self._round is not None and self._round.due is not None:
            if not self._round.pulls:
                times.append(self._round.due)
            times += [self._seats[k].since + self._limits.grace for k in self._awaited() if self._seats[k].peer is None]
        return min((time for time in times if time > self._ticked), default=float("inf"))

    def close(self, now: float, reason: str = "") -> list[DriverAction]:
        """End the session: every worker is told so, spares too."""
        if self._is_over:
            return []
        self._error, self._round = self._error or ClusterError("the session is closed"), None
        return [action for peer in self._peers for action in self._send(peer, Close(reason), now)]

    def waiting(self, now: float) -> str:
        """Return what is waited for, in words; "" for nothing."""
        return waited_for({shard: self._seats[shard] for shard in self._awaited()}, self._peers, self._round, now)

    def without_worker(self, now: float) -> dict[int, float]:
        """Return shard -> seconds, of the shards that work waits for and that have no worker for so long."""
        return {shard: now - seat.since for shard in self._awaited() if (seat := self._seats[shard]).peer is None}

    @property
    def _is_over(self) -> bool:
        return self._error is not None

    def _awaited(self) -> tuple[int, ...]:
        """Return the shards without which the open round does not go on; those without a result may yet be left out."""
        if self._round is None:
            return ()
        return self._round.taking_part or tuple(self._round.bodies)

    def _send(self, peer: int, message: FromDriver, now: float) -> list[DriverAction]:
        self._peers[peer].said = now
        return [Send(peer, message)]

    def _seated(self, shard: int, peer: int, now: float) -> list[DriverAction]:
        """Give a shard to a worker, and the shard's part of the open round with it."""
        self._seats[shard].peer = peer
        if self._round is None or shard not in self._awaited():
            return []
        return self._work(shard, now)

    def _work(self, shard: int, now: float) -> list[DriverAction]:
        assert self._round is not None
        seat = self._seats[shard]
        assert seat.peer is not None
        seat.began = now
        exactly = None if seat.done is None or seat.done.is_nothing else seat.done.steps
        seat.ahead = 0 if self._round.pulls else self._window
        body = self._round.body(shard, seat.peer)
        return self._send(seat.peer, Work(self._round.number, body, exactly, seat.ahead), now)

    def _done(self, shard: int, done: Done, now: float) -> list[DriverAction]:
        seat = self._seats[shard]
        if seat.done is not None and faults.disagree(seat.done, done):
            return self._give_up(faults.differs(shard, seat.done, done), now)
        self._failures = self._failures if seat.done else 0  # work that is done again is no progress
        seat.done, seat.ready = done, True
        seat.asked = max(seat.asked, min(seat.ahead, seat.count))
        if self._round is None or self._round.pulls:
            return self._pulled(now)
        self._round.hear(shard, self._said(self._ready()), now)
        return self._fixed(now)

    def _fixed(self, now: float) -> list[DriverAction]:
        """Fix who takes part, if all are done, or the deadline has passed and enough are."""
        if self._round is None or self._round.pulls or not self._round.can_end(done := self._ready(), now):
            return []
        return self._pulled_from(done, now)

    def _ready(self) -> tuple[int, ...]:
        return tuple(shard for shard, seat in enumerate(self._seats) if seat.ready)

    def _said(self, shards: tuple[int, ...]) -> dict[int, Done]:
        return {shard: said for shard in shards if (said := self._seats[shard].done) is not None}

    def _pulled_from(self, shards: tuple[int, ...], now: float) -> list[DriverAction]:
        """Let these take part. If others did before, all slices are asked for again."""
        assert self._round is not None
        for shard, seat in enumerate(self._seats):
            if self._round.pulls:
                seat.asked, seat.slices = 0, {}
            self.lost_work += 0.0 if shard in shards else seat.waste(now)
        self._round.taking_part, self._round.next = shards, 0
        return [Begin(self._round.number, self._said(shards)), *self._pulled(now)]

    def _pulled(self, now: float) -> list[DriverAction]:
        """Combine the slices that are there for all, and ask for the next ones."""
        round_, actions = self._round, list[DriverAction]()
        if round_ is None or round_.taking_part is None:
            return []
        seats = [self._seats[shard] for shard in round_.taking_part]
        last = max(seat.count for seat in seats)
        while round_.next < last and all(round_.next in seat.slices or round_.next >= seat.count for seat in seats):
            slices = tuple(seat.slices.pop(round_.next, b"") for seat in seats)
            actions.append(Combine(round_.number, round_.next, slices))
            round_.next += 1
        if round_.next == last:
            self.served = {shard: self._seats[shard].peer for shard in round_.taking_part}
            self._round, self._failures = None, 0
            self._patience.end_round()
            return [*actions, End(round_.number)]
        for seat in seats:
            while seat.peer is not None and seat.ready and seat.asked < min(seat.count, round_.next + self._window):
                number, seat.asked = seat.asked, seat.asked + 1
                if number not in seat.slices and number >= round_.next:
                    actions += self._send(seat.peer, Pull(round_.number, number), now)
        return actions

    def _without_the_lost(self, now: float) -> list[DriverAction]:
        """In a round with a deadline, go on without the workers that were lost while they were pulled and did not come back."""
        round_ = self._round
        if round_ is None or round_.taking_part is None or round_.due is None:
            return []
        away = [shard for shard in round_.taking_part if not self._seats[shard].ready]
        gone = [shard for shard in away if now - self._seats[shard].since >= self._limits.grace]
        left = tuple(shard for shard in round_.taking_part if shard not in gone)
        return self._pulled_from(left, now) if gone and round_.are_enough(left) else []

    def _give_up(self, error: SparknetError, now: float) -> list[DriverAction]:
        told = self.close(now, str(error))
        self._error = error
        return [*told, GiveUp(error)]
