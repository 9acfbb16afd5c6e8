"""A worker's side of the protocol: a state machine without sockets, threads and clocks.

Each method takes what happened and the time, and returns what is to be done.
"""

from dataclasses import replace

from sparknet.transport.actions import Abandon, Answer, Say, Stop, Train
from sparknet.transport.limits import Limits
from sparknet.transport.messages import Beat, Close, Done, Failed, FromDriver, FromWorker, Hello, Pull, Work

__all__ = ["WorkerAction", "WorkerSide"]

WorkerAction = Say | Train | Answer | Abandon | Stop

_STANDS = 8  # times in a row that this side stood still; by then the thread that reads has had its turn


class WorkerSide:
    """One attempt to serve a shard, from its connection to its end.

    Parameters
    ----------
    hello
        Who it is.
    limits
        How long it waits.
    now
        The time of its connection, in seconds from any beginning.

    Examples
    --------
    >>> worker = WorkerSide(Hello(shard=0), Limits(), now=0.0)
    >>> worker.begin()
    [Say(message=Hello(shard=0, about={}))]
    >>> worker.received(Work(1, "task and weights"), now=0.1)
    [Train(work=Work(round=1, body='task and weights', exactly=None, ahead=0))]
    >>> worker.ended(Done(round=1, steps=50, slices=2), now=9.0)
    [Say(message=Done(round=1, steps=50, slices=2, result=b'', notes=b''))]
    >>> worker.received(Pull(1, 0), now=9.1)
    [Answer(round=1, number=0)]
    """

    def __init__(self, hello: Hello, limits: Limits, now: float) -> None:
        self._hello, self._limits = hello, limits
        self._heard = self._said = self._ticked = now
        self._stood = 0  # times that this side stood still, since the driver was heard
        self._work: Work | None = None  # that is done, or whose result is kept
        self._done: Done | None = None
        self._is_over = False

    def begin(self) -> list[WorkerAction]:
        """Return what is done first."""
        return [Say(self._hello)]

    def received(self, message: FromDriver, now: float) -> list[WorkerAction]:
        """Take a message of the driver's."""
        if self._is_over:
            return []
        self.heard(now)
        match message:
            case Work():
                return self._begun(message)
            case Pull() if self._done is not None and message.round == self._done.round:
                if 0 <= message.number < self._done.slices:
                    self._said = now
                    return [Answer(message.round, message.number)]
            case Close():
                return self._over(message.reason or "the session is over", is_lost=False)
        return []

    def heard(self, now: float) -> None:
        """Take that a part of a message has come."""
        self._heard, self._stood = now, 0

    def ended(self, done: Done, now: float) -> list[WorkerAction]:
        """Take what came of the work; the result is kept until there is other work. The driver is sent what it wants of it unasked."""
        if self._is_over or self._work is None or done.round != self._work.round or self._done is not None:
            return []
        self._done = done
        unasked = range(min(self._work.ahead, done.slices))
        return [*self._say(done, now), *(Answer(done.round, number) for number in unasked)]

    def failed(self, round_: int, reason: bytes, now: float) -> list[WorkerAction]:
        """Take that the work raised an error; the worker stays, and the driver decides."""
        if self._is_over or self._work is None or round_ != self._work.round:
            return []
        return self._say(Failed(round_, reason), now)

    def lost(self) -> list[WorkerAction]:
        """Take that the connection is gone."""
        return [] if self._is_over else self._over("the connection to the driver was lost", is_lost=True)

    def tick(self, now: float) -> list[WorkerAction]:
        """Take that time has passed.

        What the worker stood still for is no silence of the driver's, whose messages are not read yet. Where steps keep the other threads
        waiting one after the other, it is none for some of them only: a driver that has vanished would never be missed.
        """
        stood_still, self._ticked = now - self._ticked, now
        if stood_still > 2 * self._limits.beat:
            self._stood += 1
            if self._stood <= _STANDS:
                self._heard = min(now, self._heard + stood_still)
        if self._is_over:
            return []
        if now - self._heard >= self._limits.silence:
            return self._over(f"the driver has said nothing for {now - self._heard:.0f} s", is_lost=True)
        return self._say(Beat(), now) if now - self._said >= self._limits.beat else []

    def wake(self) -> float:
        """Return when :meth:`tick` is to be called next."""
        return min(self._heard + self._limits.silence, self._said + self._limits.beat)

    def _begun(self, work: Work) -> list[WorkerAction]:
        if self._work is not None and work.round <= self._work.round:
            return []
        before = [] if self._work is None else [Abandon(self._work.round)]
        self._work, self._done = replace(work, body=None), None
        return [*before, Train(work)]

    def _say(self, message: FromWorker, now: float) -> list[WorkerAction]:
        self._said = now
        return [Say(message)]

    def _over(self, reason: str, *, is_lost: bool) -> list[WorkerAction]:
        self._is_over = True
        return [Stop(reason, is_lost)]
