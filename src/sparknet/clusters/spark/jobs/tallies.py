"""Counts of what tasks leave out: a Tally for each partition, and the Tallies of all partitions on the driver.

They travel in an accumulator of Spark, so those of a lazy RDD are counted when a job computes it.
"""

from dataclasses import dataclass, field
from typing import Any

from sparknet.clusters.spark.jobs.running import PerPartition

__all__ = ["Tallies", "Tally"]

_TOLD = 20  # of each partition so many have their reason kept


@dataclass
class Tally:
    """What was left out of one partition: how many, and the names and reasons of the first ones."""

    count: int = 0
    first: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> bool:
        """Count one more, and say whether its reason is kept."""
        told = self.count < _TOLD
        if told:
            self.first[name] = reason
        self.count += 1
        return told


class Tallies:
    """What was left out of all partitions. A partition that is computed again counts once."""

    def __init__(self) -> None:
        self._tallies: Any = None

    def counted_by(self, context: Any) -> Any:
        """Return a new accumulator of ``context``, whose count this is from now on; tasks add {partition: Tally} to it."""
        self._tallies = context.accumulator({}, PerPartition())
        return self._tallies

    @property
    def is_taken(self) -> bool:
        """Whether it counts for a call already."""
        return self._tallies is not None

    def _found(self) -> list[Tally]:
        return [] if self._tallies is None else [tally for _, tally in sorted(self._tallies.value.items())]

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(tally.count for tally in self._found())

    @property
    def reasons(self) -> dict[str, str]:
        """Name or place -> what is wrong, for the first 20 of each partition."""
        return {name: reason for tally in self._found() for name, reason in tally.first.items()}

    def __repr__(self) -> str:
        some = [f"; {name}: {reason}" for name, reason in self.reasons.items()]
        return f"<{type(self).__name__}: {self.count}{''.join(some[:3])}>"
