"""When it is said what an open round waits for: a step has no limit of time, so a round is never ended for it, only told of."""

from collections.abc import MutableMapping

from sparknet.transport.driver_side import DriverSide

__all__ = ["Overdue"]

_FIRST = 30.0  # seconds of a round, or of a shard without a worker, from which on it is said
_TIMES = 3  # a round is late once it takes so many times as long as the longest one before it
_LOOK = 5.0  # seconds between two looks

_ADVICE = (
    ". It is waited for as long as the workers live, because a step may take hours: where one never ends, `py-spy dump --pid PID`, run "
    "on the machine of its worker, shows why, and Ctrl-C ends the round"
)


class Overdue:
    """What is to be said of an open round that takes long, and when: this class knows no clock.

    A round is told of once it takes three times as long as the longest one before it, and 30 s; a shard that has no worker after 30 s.
    Then each time twice as late.

    Parameters
    ----------
    took
        Name of a kind of rounds -> seconds of the longest one so far. It is changed: whoever comes after this one may go on with it.

    Examples
    --------
    >>> from sparknet.transport import Hello, Limits
    >>> driver, overdue = DriverSide(1, Limits(), now=0.0), Overdue({"round": 20.0})
    >>> driver.joined(7, Hello(shard=0), now=0.0)
    []
    >>> _ = driver.open({0: "task and weights"}, now=0.0)
    >>> overdue.begin("round", now=0.0)
    >>> [at for at in range(300) if overdue.words(driver, at)]
    [60, 120, 240]
    """

    def __init__(self, took: MutableMapping[str, float] | None = None) -> None:
        self._took: MutableMapping[str, float] = {} if took is None else took
        self._kind, self._began, self._look = "", 0.0, 0.0
        self._due = self._due_missing = _FIRST
        self._is_advised = False

    def begin(self, kind: str, now: float) -> None:
        """Take that a round of this kind begins."""
        self._kind, self._began, self._look = kind, now, now + _FIRST
        self._due, self._due_missing = self._late_from(), _FIRST

    def end(self, now: float) -> None:
        """Take that the round has ended. What one that stood still has taken is no measure."""
        taken, before = now - self._began, self._took.get(self._kind)
        self._took[self._kind] = taken if before is None else max(before, min(taken, self._late_from()))

    def words(self, driver: DriverSide, now: float) -> str:
        """Return what is to be said now of the round that this driver has opened, mostly ""."""
        if now < self._look:
            return ""
        self._look = now + _LOOK
        taken, alone = now - self._began, max(driver.without_worker(now).values(), default=0.0)
        if not alone:
            self._due_missing = _FIRST
        if (taken < self._due and alone < self._due_missing) or not (what := driver.waiting(now)):
            return ""
        self._due, self._due_missing = _after(self._due, taken), _after(self._due_missing, alone)
        advice, self._is_advised = "" if self._is_advised else _ADVICE, True
        return f"this {self._kind} has taken {taken:.0f} s{self._longest()}, and waits for {what}{advice}"

    def _late_from(self) -> float:
        return max(_FIRST, _TIMES * self._took.get(self._kind, 0.0))

    def _longest(self) -> str:
        before = self._took.get(self._kind)
        return "" if before is None else f", the longest before it {before:.1f} s"


def _after(due: float, seconds: float) -> float:
    """Return the next time, each twice as late as the one before."""
    while due <= seconds:
        due *= 2
    return due
