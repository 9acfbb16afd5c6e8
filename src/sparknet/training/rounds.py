"""What the driver yields: a finished round, and where its time went."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparknet.weights import WeightCollection

__all__ = ["Round", "Seconds"]


@dataclass(frozen=True)
class Seconds:
    """Where a round's time went, in seconds; ``train`` has one entry for each worker."""

    broadcast: float
    train: tuple[float, ...]
    collect: float
    average: float
    evaluate: float
    checkpoint: float
    total: float

    def __getitem__(self, name: str) -> Any:
        """Return a part by its name, as in ``seconds["train"]``."""
        return getattr(self, name)


@dataclass(frozen=True)
class Round:
    """One finished round.

    Parameters
    ----------
    index
        0-based.
    weights
        The averaged weights. The next round starts from this very object: copy it to change it.
    loss
        Mean training loss over the round's steps, of the workers that took part.
    metrics
        Test metrics (loss, accuracy, ...) of these weights; empty in rounds without evaluation.
    seconds
        Where the time went.
    steps, examples
        Solver steps taken and examples seen in this round by all workers together, without padded rows. A minibatch whose
        examples were all dropped (``Decode(on_error="drop")``), or that became short by it and is left out
        (``ragged="drop"``), counts as a step, although the net does not see it.
    bytes_down, bytes_up
        Bytes of weights and solver state sent to the workers, and brought back.
    workers
        Which workers' results were averaged: all, but for those that ``on_nonfinite="leave_out"`` left out.
    """

    index: int
    weights: WeightCollection = field(repr=False)
    loss: float
    metrics: Mapping[str, float]
    seconds: Seconds
    steps: int
    examples: int
    bytes_down: int
    bytes_up: int
    workers: tuple[int, ...] = ()
