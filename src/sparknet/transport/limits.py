"""How long a driver and its workers wait for each other, in seconds."""

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sparknet.errors import DataError
from sparknet.transport.messages import Done

__all__ = ["GREETS", "Deadline", "Enough", "Limits", "Quorum", "check_quorum", "check_shards"]

GREETS = 10.0  # seconds in which both sides have to prove themselves, whatever else the limits say

_HELD = 16  # slices of all results, that the driver holds
_LEAST = 2  # of each: one comes while the other is combined

# Seconds, or time, from which on a round does with those that are done. A function is called once, when enough are done: with what they
# have said, and the seconds since the first of them was done. It returns for how many seconds more the others are waited for.
Deadline: TypeAlias = float | Callable[[Mapping[int, Done], float], float]


@dataclass(frozen=True)
class Enough:
    """How many results are enough for a round to end early, where not each result counts.

    One that does not count still takes part once the round ends: it is there, and what becomes of it is the caller's business.

    Parameters
    ----------
    results
        How many that count are enough.
    counts
        Called with what a worker has said of its result; returns whether it counts, for the same words the same.

    Examples
    --------
    >>> enough = Enough(1, counts=lambda done: done.result != b"nan")
    >>> enough.counts(Done(round=7, steps=50, slices=3, result=b"nan"))
    False
    """

    results: int
    counts: Callable[[Done], bool]

    @staticmethod
    def of(quorum: "Quorum | None", most: int) -> "Enough":
        """Return the quorum of a round: of a number, where each result counts, and of None, where ``most`` are needed."""
        return quorum if isinstance(quorum, Enough) else Enough(most if quorum is None else quorum, lambda _: True)


Quorum: TypeAlias = int | Enough


@dataclass(frozen=True)
class Limits:
    """Limits of a session, in seconds unless said otherwise.

    Parameters
    ----------
    beat
        A side that has said nothing for so long says that it lives.
    silence
        A side that has heard nothing for so long takes the other for lost. A driver waits for longer, eight times as long at most, where
        workers were silent for long and were heard again, or where the last worker of a shard was given up.
    join
        A shard that work waits for may be without a worker for so long.
    grace
        In a round with a deadline, a worker that is lost while its result is pulled may take so long to come back.
    tries
        How often the job that runs the workers may fail without progress in between: a round's end, or the end of a shard's work for the
        first time in its round.
    window
        Slices of a result that are sent before the first of them is combined; of many workers' results fewer (:meth:`window_of`).
    spare
        Where a shard that work waits for has been without a worker for so long, workers whose own shards have a spare make room for it.

    Examples
    --------
    >>> Limits(beat=30, silence=20)
    Traceback (most recent call last):
    sparknet.errors.DataError: Limits: beat=30 s and silence=20 s; expected a silence of more than two beats
    """

    beat: float = 5.0
    silence: float = 30.0
    join: float = 120.0
    grace: float = 10.0
    tries: int = 4
    window: int = 4
    spare: float = 10.0

    def __post_init__(self) -> None:
        for name, (is_right, expected) in _EXPECTED.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not is_right(value):
                msg = f"Limits: {name}={value!r}; expected {expected}"
                raise DataError(msg)
        if self.silence <= 2 * self.beat:
            msg = f"Limits: beat={self.beat} s and silence={self.silence} s; expected a silence of more than two beats"
            raise DataError(msg)

    def window_of(self, workers: int) -> int:
        """Return the window for so many workers, of whose results the driver holds 16 slices in all, or two of each.

        Examples
        --------
        >>> [Limits().window_of(workers) for workers in (1, 4, 8, 100)]
        [4, 4, 2, 2]
        """
        return min(self.window, max(_LEAST, _HELD // workers))

    def told(self) -> dict[str, str]:
        """Return what a worker tells of its limits, which have to fit the driver's; :meth:`unfit` takes it."""
        return {"beat": repr(float(self.beat)), "silence": repr(float(self.silence))}

    def unfit(self, about: Mapping[str, str]) -> str:
        """Return in words why one side would take the other for lost though it lives; "" where they fit, or nothing is told.

        Examples
        --------
        >>> Limits(beat=30.0, silence=90.0).unfit(Limits().told())
        'its Limits have beat=5.0 s and silence=30.0 s, the driver has beat=30.0 s and silence=90.0 s; give both the same'
        >>> Limits().unfit(Limits(silence=60.0).told())
        ''
        """
        try:
            beat, silence = float(about["beat"]), float(about["silence"])
        except (KeyError, ValueError):
            return ""
        if self.silence > 2 * beat and silence > 2 * self.beat:
            return ""
        return (
            f"its Limits have beat={beat} s and silence={silence} s, the driver has beat={float(self.beat)} s and "
            f"silence={float(self.silence)} s; give both the same"
        )


def _is_time(value: float) -> bool:
    return 0 < value < math.inf


def _is_at_least_0(value: float) -> bool:
    return value >= 0  # not NaN


def _is_count(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and int(value) >= 1


_EXPECTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("beat", "silence"), (_is_time, "seconds, more than 0")),
    **dict.fromkeys(("join", "grace", "spare"), (_is_at_least_0, "seconds, 0 or more")),
    **dict.fromkeys(("tries", "window"), (_is_count, "a whole number of at least 1")),
}


def check_shards(shards: Any) -> None:
    """Raise a DataError unless a hub can have so many shards."""
    if isinstance(shards, bool) or not isinstance(shards, int) or shards < 1:
        msg = f"Hub: shards={shards!r}; expected a number of at least 1: each shard has a worker"
        raise DataError(msg)


def check_quorum(deadline: Deadline | None, quorum: Quorum | None, workers: int) -> None:
    """Raise a DataError unless a round of so many workers can end by its deadline and quorum: one alone would wait for all."""
    if deadline is None and quorum is None:
        return
    is_time = callable(deadline) or (isinstance(deadline, numbers.Real) and deadline >= 0)
    count = quorum.results if isinstance(quorum, Enough) else quorum
    if not is_time or isinstance(count, bool) or not isinstance(count, numbers.Integral) or not 1 <= count <= workers:
        msg = (
            f"round(): deadline={deadline!r} and quorum={quorum!r}; expected both, seconds from now and a number of workers from 1 to "
            f"{workers}, or neither where the round waits for all"
        )
        raise DataError(msg)
