"""Who came late, in the log: the first time, and where a worker never comes in time. Each round has it in ``Round.decided``."""

import logging
from collections.abc import Collection

__all__ = ["Lateness"]

_LOG = logging.getLogger(__name__)
_ALWAYS = 10  # rounds one after the other


class Lateness:
    """What the log is told of late workers in one run: not each round, which would be all that it says.

    Examples
    --------
    >>> lateness = Lateness()
    >>> lateness.hear(0, [1])
    >>> lateness.in_a_row
    {1: 1}
    >>> lateness.hear(1, [])
    >>> lateness.in_a_row
    {}
    """

    def __init__(self) -> None:
        self.in_a_row: dict[int, int] = {}  # worker -> rounds
        self._is_told = False
        self._told: set[int] = set()

    def hear(self, index: int, absent: Collection[int]) -> None:
        """Take who was left out of a round as late."""
        self.in_a_row = {worker: self.in_a_row.get(worker, 0) + 1 for worker in sorted(absent)}
        if absent and not self._is_told:
            self._is_told = True
            _LOG.warning(
                "round %d: worker %s came late and is left out; it joins the next round. Round.decided and the events say who else does",
                index,
                ", ".join(map(str, sorted(absent))),
            )
        for worker, rounds in self.in_a_row.items():
            if rounds >= _ALWAYS and worker not in self._told:
                self._told.add(worker)
                _LOG.warning(
                    "worker %d came late in %d rounds one after the other, and nothing of its data was learned: it stands still, or is "
                    "always slower, and max_seconds='auto' lets it bring what it has",
                    worker,
                    rounds,
                )
