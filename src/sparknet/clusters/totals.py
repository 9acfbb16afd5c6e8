"""Adding up what the minibatches of an evaluation report."""

import math
from collections.abc import Iterable

__all__ = ["mean_metrics"]


def mean_metrics(parts: Iterable[tuple[dict[str, float], int]]) -> dict[str, float]:
    """Return metric -> mean over all examples, from (sums over the minibatch, examples) of each.

    ``math.fsum`` rounds once, so the result does not depend on how the minibatches are spread.

    Examples
    --------
    >>> mean_metrics([({"accuracy": 3.0}, 4), ({"accuracy": 1.0}, 4)])
    {'accuracy': 0.5}
    """
    parts = list(parts)
    examples = sum(n for _, n in parts)
    names = dict.fromkeys(name for sums, _ in parts for name in sums)
    return {name: math.fsum(sums.get(name, 0.0) for sums, _ in parts) / examples for name in names}
