"""Rules with state: an optimizer on the driver takes a step in the direction that the workers went.

The direction is d = the combined results - start, computed in float64. :class:`Momentum` adds up past directions,
:class:`Nesterov` also looks ahead. Both work on one array at a time, in chunks. Integers take no step: they are what is combined.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparknet import nd
from sparknet.averaging.contract import PlainRule, Rule, RuleState, as_rule, is_rule, shares_of
from sparknet.averaging.rules import Mean, is_computed
from sparknet.averaging.slices import BySlices, by_slices
from sparknet.errors import DataError, SchemaError
from sparknet.ndarray import NDArray
from sparknet.weights import WeightCollection, chunked
from sparknet.weights.schema import check_same_devices, check_same_schema

__all__ = ["Momentum", "Nesterov"]

_VELOCITY = "velocity"
_SPAN = 1 << 17  # elements at a time: 1 MiB of float64


@dataclass(frozen=True)
class _Outer:
    """The common part of both; ``sign`` is the sign of d in the velocity."""

    lr: float = 1.0
    momentum: float = 0.9
    combine: Rule | PlainRule = Mean()  # noqa: RUF009 - frozen, and without fields

    sign: ClassVar[int] = 1

    def __post_init__(self) -> None:
        name = type(self).__name__
        for what, expected in (("lr", "a positive number"), ("momentum", "a number from 0 up to, but not, 1")):
            value = getattr(self, what)
            is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not is_number or not (0 < value < math.inf if what == "lr" else 0 <= value < 1):
                msg = f"{name}: {what}={value!r}; expected {expected}"
                raise ValueError(msg)
            object.__setattr__(self, what, float(value))  # 1 and 1.0 are one setting
        if not is_rule(self.combine):
            msg = f"{name}: combine={self.combine!r}; expected a rule without state, such as Mean() or Median()"
            raise TypeError(msg)

    def init(self, weights: WeightCollection) -> RuleState:
        """Return a velocity of zeros, in float64; an empty state if ``momentum`` is 0."""
        if as_rule(self.combine).init(weights):
            msg = f"{type(self).__name__}: combine={self.combine!r} has state; expected a rule without, such as Mean()"
            raise TypeError(msg)
        if not self.momentum:
            return {}
        return {_VELOCITY: weights.map(lambda a: nd.zeros_like(a, dtype=nd.float64))}

    def update(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int], state: RuleState
    ) -> tuple[WeightCollection, RuleState]:
        """Return the weights after a step, and the new velocity; a round without examples changes neither."""
        target, _ = as_rule(self.combine).update(start, results, examples, {})
        return self._end(start, target, examples, state)

    def by_slices(self, start: WeightCollection, examples: Sequence[int], state: RuleState) -> BySlices | None:
        """Return how a round ends whose results come slice by slice, if ``combine`` can: the step is taken once all is combined."""
        way = by_slices(as_rule(self.combine), start, examples, {})
        if way is None:
            return None

        def finish(combined: WeightCollection) -> tuple[WeightCollection, RuleState]:
            target, _ = way.finish(combined)
            return self._end(start, target, examples, state, is_kept=True)

        return BySlices(way.combine, finish)

    def shares(self, examples: Sequence[int]) -> Sequence[float]:
        """Return the shares of ``combine``."""
        return shares_of(self.combine, examples)

    def _end(
        self,
        start: WeightCollection,
        target: WeightCollection,
        examples: Sequence[int],
        state: RuleState,
        *,
        is_kept: bool = False,
    ) -> tuple[WeightCollection, RuleState]:
        """Return the weights after a step towards ``target``, and the velocity. ``is_kept``: the memory of ``target`` may be written to."""
        if self.lr == 1 and not self.momentum:
            return target, state  # in exact numbers start + (target - start)
        if not any(examples):
            return start, state  # no worker took a step
        check_same_schema(start, target, f"{type(self).__name__}: combined results")
        check_same_devices(start, target, f"{type(self).__name__}: combined results")
        velocity = self._velocity(start, state)
        stepped = [
            self._stepped(begin, end, speed, end if is_kept else nd.empty_like(begin))
            for begin, end, speed in zip(start.arrays(), target.arrays(), velocity, strict=True)
        ]
        weights, speeds = (iter([pair[i] for pair in stepped]) for i in (0, 1))
        new = start.map(lambda _: next(weights))
        return new, {_VELOCITY: start.map(lambda _: next(speeds))} if self.momentum else state

    def _velocity(self, start: WeightCollection, state: RuleState) -> list[NDArray | None]:
        if not self.momentum:
            return [None] * len(start.arrays())
        velocity = state.get(_VELOCITY)
        if not isinstance(velocity, WeightCollection):
            msg = (
                f"{type(self).__name__}: got a state with {', '.join(state) or 'nothing'}, expected 'velocity', a "
                "WeightCollection; start with that of init(weights)"
            )
            raise DataError(msg)
        what = f"{type(self).__name__}: velocity"
        _check_shapes(start, velocity, what)
        check_same_devices(start, velocity, what)
        return list(velocity.arrays())

    def _stepped(
        self, start: NDArray, target: NDArray, velocity: NDArray | None, weights: NDArray
    ) -> tuple[NDArray, NDArray | None]:
        """Return ``weights``, which get the array after the step, and its velocity in new memory. ``weights`` may be ``target``."""
        if not is_computed(start):
            return target, None if velocity is None else nd.zeros_like(velocity)
        new = None if velocity is None else nd.empty_like(velocity)
        for span in chunked.chunks(start.shape, _SPAN):
            with np.errstate(over="ignore", invalid="ignore"):  # the driver looks for NaN and infinities afterwards
                begin, end = (nd.astype(array[span], nd.float64) for array in (start, target))
                step = end - begin if self.sign > 0 else begin - end
                speed = step if velocity is None else velocity[span] * self.momentum + step
                weights[span] = nd.astype(self._moved(begin, step, speed), start.dtype)
                if new is not None:
                    new[span] = speed
        return weights, new

    def _moved(self, start: NDArray, step: NDArray, velocity: NDArray) -> NDArray:
        raise NotImplementedError


def _check_shapes(start: WeightCollection, velocity: WeightCollection, what: str) -> None:
    """Raise a SchemaError unless the velocity is float64 and has the names and shapes of the weights."""
    expected = {name: tuple((shape, "float64") for shape, _ in arrays) for name, arrays in start.schema().items()}
    got = velocity.schema()
    for layer in expected | got:
        if expected.get(layer) != got.get(layer):
            msg = (
                f"{what}: layer {layer!r} is {got.get(layer)}, expected {expected.get(layer)}; "
                "start with the state of init(weights)"
            )
            raise SchemaError(msg, layer=layer, got=got.get(layer), expected=expected.get(layer))


@dataclass(frozen=True)
class Momentum(_Outer):
    """Momentum on the driver: v <- momentum v + d; w <- w + lr v, where d = ``combine``'s result - w.

    Parameters
    ----------
    lr
        The factor of v in a step. With ``lr=1, momentum=0`` the result is that of ``combine``, bit for bit.
    momentum
        The part of v that is kept from round to round: at least 0, less than 1.
    combine
        The rule without state that combines the results, such as ``Mean()`` or ``Median()``.

    Notes
    -----
    The state is ``velocity``: float64, with the weights' shapes. It makes a checkpoint larger, by twice the weights if they are
    float32. The arithmetic is float64; the result is rounded once to the dtype of the weights. Integers take no step: they are what
    ``combine`` makes of them. A round without examples changes nothing. This is FedAvgM of Hsu et al. 2019, arXiv 1909.06335.

    Examples
    --------
    >>> rule, w = Momentum(lr=0.5, momentum=0.9), WeightCollection({"ip": [[0.0]]})
    >>> w, state = rule.update(w, [w + 1, w + 3], [10, 10], rule.init(w))
    >>> float(w["ip"][0][0]), float(state["velocity"]["ip"][0][0])
    (1.0, 2.0)
    """

    def _moved(self, start: NDArray, step: NDArray, velocity: NDArray) -> NDArray:
        del step
        return start + velocity * self.lr


@dataclass(frozen=True)
class Nesterov(_Outer):
    """Nesterov's momentum on the driver: v <- momentum v - d; w <- w - lr (momentum v - d), where d = ``combine``'s result - w.

    This is torch's ``SGD(nesterov=True)`` on the gradient -d. It is the outer optimizer of DiLoCo (Douillard et al. 2023, arXiv
    2311.08105), and the defaults are DiLoCo's. Parameters and notes are those of :class:`Momentum`.

    Examples
    --------
    >>> rule, w = Nesterov(lr=0.5, momentum=0.5), WeightCollection({"ip": [[0.0]]})
    >>> w, state = rule.update(w, [w + 1, w + 3], [10, 10], rule.init(w))
    >>> float(w["ip"][0][0]), float(state["velocity"]["ip"][0][0])
    (1.5, -2.0)
    """

    lr: float = 0.7

    sign: ClassVar[int] = -1

    def _moved(self, start: NDArray, step: NDArray, velocity: NDArray) -> NDArray:
        return start - (step + velocity * self.momentum) * self.lr
