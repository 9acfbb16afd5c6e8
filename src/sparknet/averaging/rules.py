"""The rules without state: the mean of the workers' weights, the mean weighted by the examples seen, and the median.

Each combines one array at a time: ``combine`` takes this array of each worker. It needs no whole models, and gives a part of an
array the same bits as the whole.

None computes with integers: counts, indices and codes have no mean. A mean takes those of one worker, the first that counts, and the
median takes the middle one, so each integer of the result is one that a worker has.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from sparknet import nd
from sparknet.averaging.contract import RuleState, Stateless
from sparknet.averaging.slices import BySlices
from sparknet.ndarray import NDArray
from sparknet.weights import WeightCollection, chunked
from sparknet.weights.collection import combined
from sparknet.weights.schema import checked_weights

__all__ = ["Elementwise", "Mean", "Median", "Named", "WeightedMean", "is_computed", "mean_of", "named"]

_FEW = 16  # workers; the number of exchanges grows with the square of theirs
_SPAN = 1 << 15  # elements of each worker's array at a time: with 7 workers 1.75 MiB of float64


def is_computed(array: NDArray) -> bool:
    """Say whether rules compute with the numbers of an array; integers they take as they are."""
    return array.dtype.kind not in "iu"


def mean_of(arrays: Iterable[NDArray], shares: Sequence[float]) -> NDArray:
    """Return the mean of arrays, of integers too, in new memory; those of share 0 are left out, whatever they hold."""
    counted, counts = _counted(arrays, shares)
    return chunked.mean(counted, counts)


def _counted(arrays: Iterable[NDArray], shares: Sequence[float]) -> tuple[list[NDArray], list[float]]:
    """Return the arrays whose share is not 0, and their shares."""
    arrays = list(arrays)
    pairs = [(a, share) for a, share in zip(arrays, checked_weights(shares, len(arrays)), strict=True) if share]
    return [a for a, _ in pairs], [share for _, share in pairs]


class Elementwise(Stateless):
    """A rule without state that computes each element from the same element of the workers' results.

    A subclass has :meth:`combine`, and ``shares`` if the workers do not count alike. Its results may come slice by slice.
    """

    def __call__(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int]
    ) -> WeightCollection:
        """Return ``results`` combined."""
        del start
        shares = self.shares(examples)
        return combined(results, lambda arrays: self.combine(arrays, shares), type(self).__name__)

    def by_slices(self, start: WeightCollection, examples: Sequence[int], state: RuleState) -> BySlices:
        """Return how a round ends whose results come slice by slice: each slice is combined, and that is all."""
        del start
        shares = self.shares(examples)
        own = (name for name, rule in _OWN.items() if type(self).combine is type(rule).combine)
        combine = named(next(own, ""), shares) or (lambda arrays: self.combine(arrays, shares))
        return BySlices(combine, lambda combined: (combined, state))

    def combine(self, arrays: Iterable[NDArray], shares: Sequence[float]) -> NDArray:
        """Return the combination of one array of each worker, or of the same part of it, in new memory."""
        raise NotImplementedError


class _AnyMean(Elementwise):
    def combine(self, arrays: Iterable[NDArray], shares: Sequence[float]) -> NDArray:
        """Return the mean of one array of each worker, as :meth:`WeightCollection.mean` has it; of integers the first that counts."""
        counted, counts = _counted(arrays, shares)
        if is_computed(counted[0]):
            return chunked.mean(counted, counts)
        first: NDArray = nd.asarray(counted[0], copy=True)
        return first


@dataclass(frozen=True)
class Mean(_AnyMean):
    """The unweighted mean, as in SparkNet (Moritz et al. 2016, arXiv 1511.06051), summed in float64.

    Integers are not averaged: they are those of the first worker that takes part.

    Examples
    --------
    >>> a, b = (WeightCollection({"ip": [[v]]}) for v in (1.0, 3.0))
    >>> float(Mean()(a, [a, b], [10, 10])["ip"][0][0])
    2.0
    """


@dataclass(frozen=True)
class WeightedMean(_AnyMean):
    """The mean weighted by the number of examples that each worker trained on in the round.

    It suits workers that do unequal work, as in rounds of a fixed length of time. A round without examples changes nothing. Integers are
    not averaged: they are those of the first worker that trained on an example.
    """

    def shares(self, examples: Sequence[int]) -> list[float]:
        """Return the numbers of examples; equal shares if all are 0, because then all results are equal."""
        return [float(n) for n in examples] if sum(examples) else [1.0] * len(examples)


@dataclass(frozen=True)
class Median(Elementwise):
    """The median of each element. It stays plausible if fewer than half of the workers return wrong weights.

    Notes
    -----
    With an even number of workers it is the mean of the middle two, computed as :class:`Mean` does, of integers the lower one. All
    workers count alike, however many examples they saw, and solver states are averaged with equal shares. NaN of any worker gives
    NaN. A zero is -0.0 only if all workers have -0.0, so the order of the workers changes no bit.

    Examples
    --------
    >>> results = [WeightCollection({"ip": [[v]]}) for v in (1.0, 1000.0, 2.0)]
    >>> float(Median()(results[0], results, [10, 10, 10])["ip"][0][0])
    2.0
    """

    def combine(self, arrays: Iterable[NDArray], shares: Sequence[float]) -> NDArray:
        """Return the median of one array of each worker; the shares do not matter."""
        del shares
        arrays = list(arrays)
        out: NDArray = nd.empty_like(arrays[0])
        for span in chunked.chunks(out.shape, _SPAN):
            with np.errstate(invalid="ignore", over="ignore"):
                out[span] = _median([a[span] for a in arrays])
        return out


def _median(parts: Sequence[NDArray]) -> NDArray:
    ordered = _ordered(parts)
    low, high = ordered[(len(parts) - 1) // 2], ordered[len(parts) // 2]
    if not is_computed(low):
        return low
    middle: NDArray = low if len(parts) % 2 else chunked.mean([low, high], [1, 1])
    zero = nd.zeros_like(middle)
    is_negative = reduce(operator.and_, map(nd.signbit, parts))
    middle = nd.where(middle == 0, nd.where(is_negative, -zero, zero), middle)
    has_nan = reduce(operator.or_, map(nd.isnan, parts))
    median: NDArray = nd.where(has_nan, nd.full_like(middle, float("nan")), middle)
    return median


def _ordered(parts: Sequence[NDArray]) -> list[NDArray]:
    """Return the parts sorted in each element: the first has the least numbers. The place of NaN does not matter.

    For a few parts, exchanging neighbours is much faster than a sort along such a short axis.
    """
    count = len(parts)
    if count > _FEW:
        ordered = nd.sort(nd.stack(parts), axis=0)
        return [ordered[i, ...] for i in range(count)]
    found = list(parts)
    for last in range(count - 1, 0, -1):
        for i in range(last):
            a, b = found[i], found[i + 1]
            found[i], found[i + 1] = nd.minimum(a, b), nd.maximum(a, b)
    return found


@dataclass(frozen=True)
class Named:
    """A way to combine that is told by its name, so that a worker which combines a part of the weights is sent no code.

    Parameters
    ----------
    name
        A name in this module.
    shares
        Of each worker.

    Examples
    --------
    >>> Named("median", (1.0, 1.0))([NDArray([1.0]), NDArray([4.0])])
    NDArray([2.5], shape=(1,), dtype=float64, device='cpu')
    """

    name: str
    shares: tuple[float, ...]

    def __call__(self, arrays: Sequence[NDArray]) -> NDArray:
        """Return the combination of the same part of one array of each worker, in new memory."""
        return _NAMED[self.name](arrays, self.shares)


def named(name: str, shares: Sequence[float]) -> Named | None:
    """Return a way by its name; None if there is none, or if a share is not a float."""
    told = tuple(map(float, shares))
    return Named(name, told) if name in _NAMED and told == tuple(shares) else None


_OWN: Mapping[str, Elementwise] = {"mean": Mean(), "median": Median()}
_NAMED: Mapping[str, Callable[[Sequence[NDArray], Sequence[float]], NDArray]] = {
    **{name: rule.combine for name, rule in _OWN.items()},
    "mean of integers too": mean_of,
}
