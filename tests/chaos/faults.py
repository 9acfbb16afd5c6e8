"""What can go wrong, where, and which of it goes wrong in which round: drawn from a seed."""

import random
import signal
from dataclasses import dataclass

from chaos.training import TAU

_QUIET = 2  # rounds before the first fault, and after the last one
_ALL = ("processes", "local-cluster", "standalone")
_SPARK = ("local-cluster", "standalone")


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Parameters
    ----------
    name
        Under which it is counted.
    who
        Which process gets a signal: "worker", "driver", "executor" or "Spark worker".
    number
        The signal; None: a process is ordered to do something by itself.
    clusters
        Where it can happen.
    is_anywhere
        The signal comes some milliseconds after the workers have met, and not while they wait.
    goes_on
        SIGCONT follows.
    ends_driver
        The driver ends of it, and is started again.
    """

    name: str
    who: str
    number: signal.Signals | None = None
    clusters: tuple[str, ...] = _ALL
    is_anywhere: bool = False
    goes_on: bool = False
    ends_driver: bool = False


# The orders are the faults of hivemind's tests of its all-reduce: of one that sends, and of the one that sums.
KINDS = {
    kind.name: kind
    for kind in (
        Kind("nothing", ""),
        Kind("worker killed", "worker", signal.SIGKILL),
        Kind("worker killed anywhere", "worker", signal.SIGKILL, is_anywhere=True),
        Kind("worker stopped", "worker", signal.SIGSTOP, goes_on=True),
        Kind("worker stopped for ever", "worker", signal.SIGSTOP),
        Kind("executor killed", "executor", signal.SIGKILL, _SPARK),
        Kind("executor stopped", "executor", signal.SIGSTOP, _SPARK, goes_on=True),
        Kind("Spark worker killed", "Spark worker", signal.SIGKILL, ("standalone",)),
        Kind("driver killed", "driver", signal.SIGKILL, ends_driver=True),
        Kind("driver killed anywhere", "driver", signal.SIGKILL, is_anywhere=True, ends_driver=True),
        Kind("cancelled", "driver", signal.SIGINT),
        Kind("fails before", "worker"),
        Kind("fails sending", "worker"),
        Kind("sends slowly", "worker"),
        Kind("fails summing", "driver", ends_driver=True),
        Kind("sums slowly", "driver"),
    )
}


@dataclass(frozen=True)
class Fault:
    """What happens in a round.

    Parameters
    ----------
    name
        Of its kind.
    round
        0-based.
    step
        Of the round, before which the workers meet.
    victim
        Which of the workers that have met, in the order of their process numbers.
    delay
        Seconds: from the moment when they go on to a signal that may come anywhere, or from SIGSTOP to SIGCONT.
    """

    name: str
    round: int
    step: int
    victim: int
    delay: float

    @property
    def kind(self):
        return KINDS[self.name]


def plan(cluster, seed, rounds, faults, only=()):
    """Return the faults of a run, in the order of their rounds. The seeds take the kinds in turn, so that all come equally often."""
    names = [kind.name for kind in KINDS.values() if cluster in kind.clusters and kind.name in (only or KINDS)]
    dealt = random.Random(cluster).sample(names, len(names)) * (2 + faults // len(names))
    first, dice = seed * faults % len(names), random.Random(f"{cluster} {seed}")
    drawn = dice.sample(dealt[first : first + faults], faults)
    rounds_of = sorted(dice.sample(range(_QUIET, rounds - _QUIET), faults))
    return [_drawn(name, round_, dice) for name, round_ in zip(drawn, rounds_of, strict=True)]


def _drawn(name, round_, dice):
    step = 0 if name == "fails before" else dice.randrange(TAU)
    longest = 2.0 if KINDS[name].goes_on else 0.03
    return Fault(name, round_, step, dice.randrange(2), dice.random() * longest)
