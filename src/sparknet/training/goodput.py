"""Goodput: which part of the workers' time went into steps that count, and what became of the rest."""

from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass
from typing import Self

__all__ = ["Goodput"]


@dataclass(frozen=True)
class Goodput:
    """Where the time of all workers went, in worker-seconds: of a round, or of a run as a sum of rounds.

    Parameters
    ----------
    steps
        Solver steps whose result was averaged.
    waiting
        A worker was done and waited for others, or for those whose grace was not over.
    exchange
        Weights and results were on their way, or were averaged.
    lost
        Work for nothing: of workers that came late, were left out because they are not finite, or died.
    evaluate
        Evaluation.
    checkpoint
        The driver wrote a checkpoint, and the workers waited.

    Examples
    --------
    >>> once = Goodput(steps=8.0, waiting=1.0, exchange=1.0)
    >>> print(once)
    goodput 80.0 % (waiting 10.0 %, exchange 10.0 %)
    >>> (once + once).steps, once.ratio
    (16.0, 0.8)
    """

    steps: float = 0.0
    waiting: float = 0.0
    exchange: float = 0.0
    lost: float = 0.0
    evaluate: float = 0.0
    checkpoint: float = 0.0

    @property
    def total(self) -> float:
        """All worker-seconds."""
        return float(sum(astuple(self)))

    @property
    def ratio(self) -> float:
        """Useful worker-seconds by all worker-seconds; 0 where no time has passed."""
        return self.steps / self.total if self.total > 0 else 0.0

    def __add__(self, other: Self) -> Self:
        """Return the sum of each part."""
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        """Return the ratio, and what the rest was, in a line."""
        shares = {name: f"{100 * seconds / self.total:.1f} %" for name, seconds in asdict(self).items() if seconds > 0}
        rest = ", ".join(f"{name} {share}" for name, share in shares.items() if name != "steps" and share != "0.0 %")
        return f"goodput {100 * self.ratio:.1f} %" + (f" ({rest})" if rest else "")

    def facts(self) -> dict[str, float]:
        """Return the parts and the ratio, for events."""
        return {**asdict(self), "ratio": self.ratio}

    @classmethod
    def of_round(
        cls,
        useful: Iterable[float],
        lost: float,
        *,
        workers: int,
        training: float,
        exchange: float,
        evaluate: float = 0.0,
        checkpoint: float = 0.0,
    ) -> Self:
        """Return the goodput of a round.

        Parameters
        ----------
        useful
            Seconds of the steps of each worker whose result was averaged.
        lost
            Worker-seconds of all other work.
        workers
            How many could work at the same time.
        training, exchange, evaluate, checkpoint
            Seconds of the round that were for steps, and for all else.

        Notes
        -----
        The parts add up to ``workers`` times the seconds of the round. Workers that take turns count as one.
        """
        steps = sum(useful)
        rest = (
            workers * training - steps - lost
        )  # below zero where work was lost after the time for steps: while results came
        return cls(
            steps=steps,
            waiting=max(0.0, rest),
            exchange=max(0.0, workers * exchange + min(0.0, rest)),
            lost=lost,
            evaluate=workers * evaluate,
            checkpoint=workers * checkpoint,
        )
