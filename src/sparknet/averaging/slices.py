"""The second way into a rule: slice by slice, for results that are never in memory as a whole.

A rule that computes each element from the same element of the results needs no whole models. Its method ``by_slices`` says so. The
driver then combines a part of the weights as soon as that part of each result is there, and its memory does not grow with the
number of workers. A rule without the method gets whole results, by ``update``. Both ways have the same bits. Only where several results
have NaN is it the processor's choice whose sign and payload the NaN of the mean has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sparknet.averaging.contract import Rule, RuleState, checked_end
from sparknet.ndarray import NDArray
from sparknet.overriding import is_as_new
from sparknet.weights import WeightCollection

__all__ = ["BySlices", "Combine", "are_numbers", "as_given", "by_slices"]

Combine: TypeAlias = Callable[[Sequence[NDArray]], NDArray]

# An override of one of these changes what a rule does; a `by_slices` from further up does not know of it.
_DECIDING = ("init", "update", "__call__")


def as_given(combined: WeightCollection) -> tuple[WeightCollection, RuleState]:
    """Return the combined weights themselves as the next start, and no state."""
    return combined, {}


@dataclass(frozen=True)
class BySlices:
    """How a rule ends a round whose results come slice by slice: what the method ``by_slices`` of a rule returns.

    Together both give the bits of ``update``, whatever the slices are.

    Parameters
    ----------
    combine
        Called with the same part of one array of each worker, in the order of the workers: one-dimensional, on the host, to be read
        only. It returns the combination in memory of its own, with the shape and dtype of each.
    finish
        Called once, with the combined weights, in memory that the rule may change and keep. It returns the next start and the state
        for the next round, as ``update`` does. Default: the combined weights, and no state.

    Examples
    --------
    >>> from sparknet.averaging import Mean
    >>> start = WeightCollection({"ip": [[0.0, 0.0]]})
    >>> way = Mean().by_slices(start, [10, 10], {})
    >>> way.combine([NDArray([1.0]), NDArray([4.0])])
    NDArray([2.5], shape=(1,), dtype=float64, device='cpu')
    """

    combine: Combine
    finish: Callable[[WeightCollection], tuple[WeightCollection, RuleState]] = as_given


def are_numbers(dtypes: Sequence[Any]) -> bool:
    """Say whether arrays of these dtypes can be combined; what cannot is named by the whole way's own error."""
    return all(dtype.kind in "fiu" for dtype in dtypes)


def by_slices(rule: Rule, start: WeightCollection, examples: Sequence[int], state: RuleState) -> BySlices | None:
    """Return how ``rule`` ends this round by slices; None if it needs whole results.

    A subclass that changes ``update`` or ``__call__`` alone needs whole results: the ``by_slices`` that it inherits is of another rule.

    Examples
    --------
    >>> from sparknet.averaging import Mean
    >>> class Doubled(Mean):
    ...     def __call__(self, start, results, examples):
    ...         return super().__call__(start, results, examples) * 2
    >>> by_slices(Doubled(), WeightCollection({}), [1], {}) is None
    True
    """
    if not is_as_new(type(rule), "by_slices", _DECIDING) or not are_numbers([a.dtype for a in start.arrays()]):
        return None
    way: BySlices | None = rule.by_slices(start, examples, state)  # type: ignore[attr-defined]
    if way is None:
        return None
    if not isinstance(way, BySlices):
        msg = f"rule {rule!r}: by_slices() returned {type(way).__name__}, expected a BySlices, or None where it needs whole results"
        raise TypeError(msg)
    return BySlices(way.combine, lambda combined: checked_end(rule, way.finish(combined)))
