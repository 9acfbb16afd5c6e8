"""The plain rules: the mean of the workers' weights, and the mean weighted by the work done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sparknet.weights import WeightCollection

__all__ = ["Mean", "Rule", "WeightedMean"]


class Rule(Protocol):
    """How a round ends."""

    def __call__(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int]
    ) -> WeightCollection:
        """Return the next round's start.

        Parameters
        ----------
        start
            The weights that the round began with.
        results
            The weights of each worker, in the order of the workers.
        examples
            How many examples each worker has trained on in this round.
        """
        ...

    def shares(self, examples: Sequence[int]) -> Sequence[float]:
        """Return each worker's part in a mean, in any scale; the solver state is averaged by it."""
        ...


@dataclass(frozen=True)
class Mean:
    """The unweighted mean, as in SparkNet (Moritz et al. 2016, arXiv 1511.06051), summed in float64.

    Examples
    --------
    >>> a, b = (WeightCollection({"ip": [[v]]}) for v in (1.0, 3.0))
    >>> float(Mean()(a, [a, b], [10, 10])["ip"][0][0])
    2.0
    """

    def __call__(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int]
    ) -> WeightCollection:
        """Return the mean of ``results``."""
        del start
        return WeightCollection.mean(results, weights=self.shares(examples))

    def shares(self, examples: Sequence[int]) -> list[float]:
        """Return 1 for each."""
        return [1.0] * len(examples)


@dataclass(frozen=True)
class WeightedMean:
    """The mean weighted by the number of examples that each worker trained on in the round.

    For workers that do unequal work, as in rounds of a fixed length of time. A round in which no
    worker saw an example changes nothing.
    """

    def __call__(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int]
    ) -> WeightCollection:
        """Return the weighted mean of ``results``."""
        del start
        return WeightCollection.mean(results, weights=self.shares(examples))

    def shares(self, examples: Sequence[int]) -> list[float]:
        """Return the examples; equal shares where there were none, since then nothing has changed."""
        return [float(n) for n in examples] if sum(examples) else [1.0] * len(examples)
