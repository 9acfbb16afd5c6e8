"""How long a round may take: limits and grace, of moving averages of what was measured.

No clock is read here. What was measured comes in, and what is decided goes out: the same measurements give the same decisions. The
averages are a part of the checkpoint, so that a training that goes on knows what its workers need.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, TypeAlias

__all__ = ["Averages", "Decided", "Limit", "Pace", "Quorum"]

Limit: TypeAlias = float | Literal["auto"] | None

_NEW = 0.3  # share of a new measurement in a moving average
_SLACK = 1.1  # a worker that is as fast as the others takes its tau steps within so many times their time
_GAMMA = 0.25  # share of what is left of a round's time that late workers get


def moved(before: float | None, new: float | None) -> float | None:
    """Return a moving average after a new measurement, in seconds; one that no clock can measure does not count.

    Examples
    --------
    >>> moved(None, 2.0), moved(2.0, 3.0), moved(2.0, -5.0)
    (2.0, 2.3, 2.0)
    """
    if new is None or not math.isfinite(new) or new < 0:  # a clock that was set back
        return before
    return new if before is None else before + _NEW * (new - before)


@dataclass(frozen=True)
class Averages:
    """Moving averages of seconds; None where nothing was measured yet.

    Parameters
    ----------
    step
        Of each worker: a solver step.
    quorum
        From the first worker that is done until enough are.
    sync
        From there, the grace aside, until all results are there.
    """

    step: tuple[float | None, ...]
    quorum: float | None = None
    sync: float | None = None

    @classmethod
    def read(cls, facts: Any, workers: int) -> Self:
        """Return the averages of a checkpoint; none of one that does not have them, or has something else there."""
        step = facts.get("step") if isinstance(facts, Mapping) else None
        if not isinstance(step, Sequence) or len(step) != workers:
            return cls((None,) * workers)
        return cls(tuple(map(_seconds, step)), _seconds(facts.get("quorum")), _seconds(facts.get("sync")))

    def facts(self) -> dict[str, Any]:
        """Return what :meth:`read` reads."""
        return {**asdict(self), "step": list(self.step)}

    def after_steps(self, seconds: Mapping[int, float]) -> Self:
        """Return the averages after steps of some workers: worker -> seconds of a step."""
        return replace(self, step=tuple(moved(each, seconds.get(worker)) for worker, each in enumerate(self.step)))

    def after_exchange(self, quorum: float | None, sync: float | None) -> Self:
        """Return the averages after the end of a round."""
        return replace(self, quorum=moved(self.quorum, quorum), sync=moved(self.sync, sync))

    @property
    def typical(self) -> float | None:
        """The seconds of a step, such that half of the workers or more are as fast: the lower median."""
        known = sorted(each for each in self.step if each is not None)
        return known[(len(known) - 1) // 2] if known else None


@dataclass(frozen=True)
class Pace:
    """How long the rounds of a run may take.

    Parameters
    ----------
    tau, max_seconds, min_workers
        As for :func:`averaged_sgd`.
    """

    tau: int
    max_seconds: Limit = None
    min_workers: int | None = None

    @classmethod
    def of(cls, tau: Any, max_seconds: Any, min_workers: Any = None) -> Self:
        """Return the pace of numbers of any kind, such as numpy's."""
        limit = max_seconds if max_seconds in (None, "auto") else float(max_seconds)
        return cls(int(tau), limit, None if min_workers is None else int(min_workers))

    def limit(self, averages: Averages) -> float | None:
        """Return the seconds after which a worker takes no further step in the next round; None: it takes all of them.

        With ``"auto"`` a worker as fast as the typical one takes its ``tau`` steps, and a slower one as many as it can meanwhile.

        Examples
        --------
        >>> Pace(50, "auto").limit(Averages((0.01, 0.03)))
        0.55
        >>> Pace(50, "auto").limit(Averages((None, None))) is None
        True
        """
        if self.max_seconds != "auto":
            return self.max_seconds
        typical = averages.typical
        if typical is None or len(averages.step) == 1:  # nothing is known, or nobody waits
            return None
        return max(_SLACK * self.tau * typical, math.ulp(0.0))

    def grace(self, averages: Averages, seconds: Mapping[int, float], waited: float) -> float:
        """Return for how long late workers are waited for, once enough are done.

        Parameters
        ----------
        averages
            Before the round.
        seconds
            Worker -> seconds of a step in this round, of those that are done.
        waited
            Seconds from the first of them until enough were done.

        Notes
        -----
        It is a share of tau * xi_step - xi_quorum - xi_sync, and never below zero (Decoupled DiLoCo, arXiv 2604.21428), where xi_step is
        the time of a step, xi_quorum that until enough are done after the first one, and xi_sync that of the exchange.

        Examples
        --------
        >>> Pace(50, min_workers=1).grace(Averages((None, None)), {0: 0.01}, 0.0)
        0.125
        >>> Pace(50, min_workers=1).grace(Averages((0.01, 0.01), sync=9.0), {0: 0.01}, 0.0)
        0.0
        """
        typical = averages.after_steps(seconds).typical or 0.0
        limit = self.limit(averages)
        steps = self.tau * typical if self.tau else math.inf
        expected = min(steps, math.inf if limit is None else limit)
        after = averages.after_exchange(waited, None)
        left = _GAMMA * (expected - (after.quorum or 0.0) - (after.sync or 0.0))
        return left if math.isfinite(left) and left > 0 else 0.0


@dataclass
class Quorum:
    """How a session may end a round without late workers, and what came of it.

    Parameters
    ----------
    workers
        How many results are enough, of those that are not left out for want of finite numbers.
    pace, averages
        What the grace follows from.
    said
        What the log was told in this run already.
    given
        Seconds of grace that late workers had; None: enough were never done before all, or the session waits for all.
    waited
        Seconds from the first worker that was done until enough were.
    sync
        Seconds of the exchange after it was fixed who takes part.
    """

    workers: int
    pace: Pace
    averages: Averages
    said: set[str]
    given: float | None = None
    waited: float | None = None
    sync: float | None = None

    def grace(self, seconds: Mapping[int, float], waited: float) -> float:
        """Return for how long late workers are waited for: as :meth:`Pace.grace`, of worker -> seconds of a step."""
        self.waited, self.given = waited, self.pace.grace(self.averages, seconds, waited)
        return self.given


@dataclass(frozen=True)
class Decided:
    """What clocks decided about a round: all that a replay needs to have its bits.

    Parameters
    ----------
    worker_steps
        Of each worker: the minibatches that it went through; None for one that came late and was left out.
    max_seconds
        The limit of the round, in seconds; None: there was none.
    grace
        Seconds that late workers had, once enough were done; None: all were waited for.
    rule
        How the results were averaged, in words.
    """

    worker_steps: tuple[int | None, ...] = ()
    max_seconds: float | None = None
    grace: float | None = None
    rule: str = ""

    @classmethod
    def read(cls, facts: Any) -> Self:
        """Return what :meth:`facts` has returned; of anything else a LookupError or TypeError is raised."""
        return cls(tuple(facts["worker_steps"]), facts["max_seconds"], facts["grace"], facts["rule"])

    @classmethod
    def of_position(cls, pace: Mapping[str, Any]) -> Self | None:
        """Return what was decided about the last round of a position; None if that is not known."""
        try:
            return cls.read(pace["decided"])
        except (LookupError, TypeError):  # of an older checkpoint, or before round 0
            return None

    @property
    def absent(self) -> frozenset[int]:
        """The workers that came late and were left out."""
        return frozenset(worker for worker, steps in enumerate(self.worker_steps) if steps is None)

    def facts(self) -> dict[str, Any]:
        """Return it as plain values, for events and checkpoint."""
        return {**asdict(self), "worker_steps": list(self.worker_steps)}


def _seconds(value: Any) -> float | None:
    is_time = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if is_time else None
