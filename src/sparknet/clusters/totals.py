"""The means of an evaluation, from the sums that its minibatches report."""

import math
from collections.abc import Iterable, Mapping

__all__ = ["mean_metrics"]


def mean_metrics(parts: Iterable[Mapping[str, tuple[float, float]]]) -> dict[str, float]:
    """Return metric -> mean, from (sum, divisor) of the metric in each minibatch; NaN where all divisors are 0.

    ``math.fsum`` rounds once, so the result does not depend on how the minibatches are spread over workers.

    Examples
    --------
    >>> mean_metrics([{"accuracy": (3.0, 4)}, {"accuracy": (1.0, 4)}])
    {'accuracy': 0.5}
    """
    parts = list(parts)
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: _mean([part[name] for part in parts if name in part]) for name in names}


def _mean(totals: Iterable[tuple[float, float]]) -> float:
    sums, counts = zip(*totals, strict=True)
    count = math.fsum(counts)
    return math.fsum(sums) / count if count else math.nan
