"""The means of an evaluation, from the sums that its minibatches report."""

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import zip_longest

__all__ = ["condensed", "mean_metrics"]


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


def condensed(parts: Iterable[Mapping[str, tuple[float, float]]]) -> list[dict[str, tuple[float, float]]]:
    """Return a few parts with the same :func:`mean_metrics`, also together with other parts, however many minibatches there are.

    Nothing is rounded: a sum becomes as many floats as it takes to write it down exactly.

    Examples
    --------
    >>> condensed([{"loss": (0.5, 2)}, {"loss": (1e30, 2)}, {"loss": (0.25, 2)}])
    [{'loss': (1e+30, 6.0)}, {'loss': (0.75, 0.0)}]
    """
    parts = list(parts)
    found: list[dict[str, tuple[float, float]]] = []
    for name in dict.fromkeys(name for part in parts for name in part):
        sums, counts = zip(*(part[name] for part in parts if name in part), strict=True)
        for place, pair in enumerate(zip_longest(_exact(sums), _exact(counts), fillvalue=0.0)):
            if place == len(found):
                found.append({})
            found[place][name] = pair
    return found


def _exact(values: Iterable[float]) -> list[float]:
    """Return a few floats, the largest first, whose sum is exactly that of the values as floats.

    Values that are not finite, or whose sum is none, stay as they are: so they end in the same result or error.
    """
    values = list(map(float, values))  # a net's own numbers may be of numpy's types
    if not all(map(math.isfinite, values)):
        return values
    rest, floats = sum(map(Fraction, values)), list[float]()
    try:
        while rest or not floats:
            floats.append(float(rest))
            rest -= Fraction(floats[-1])
    except OverflowError:
        return values
    return floats
