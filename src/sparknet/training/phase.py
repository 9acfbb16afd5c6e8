"""What a run does now: which run it is, which round, and which part of it. Clusters tell it on pages of their own.

A context variable carries it, because what starts a cluster's job lies many calls below the round. Nothing is decided by it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

__all__ = ["RunPhase", "current", "in_phase"]


@dataclass(frozen=True)
class RunPhase:
    """What a run does.

    Parameters
    ----------
    run
        The name of the run.
    part
        What is done: the session is opened, workers train, or the weights are evaluated.
    round, rounds
        Index of the round, of the next one while the session is opened; and the number of rounds in all.
    """

    run: str
    part: Literal["start", "train", "evaluate"]
    round: int
    rounds: int

    def __str__(self) -> str:
        return f"sparknet run {self.run}, round {self.round} ({self.rounds} in all): {self.part}"


_NOW: ContextVar[RunPhase | None] = ContextVar("phase", default=None)


def current() -> RunPhase | None:
    """Return what the run of this thread does; None outside of a run."""
    return _NOW.get()


@contextmanager
def in_phase(phase: RunPhase) -> Iterator[None]:
    """Say what the run does, for the length of a block in which nothing is yielded to the caller of the run."""
    token = _NOW.set(phase)
    try:
        yield
    finally:
        _NOW.reset(token)
