"""The interface of rules, and how the driver calls one.

The driver knows :class:`Rule` only. A rule without state may also be a function with ``shares`` (:class:`PlainRule`);
:func:`as_rule` makes a Rule of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sparknet.ndarray import NDArray
from sparknet.weights import WeightCollection

__all__ = [
    "PlainRule",
    "Rule",
    "RuleState",
    "Stateless",
    "as_rule",
    "checked_end",
    "is_rule",
    "is_stateless",
    "next_start",
    "shares_of",
]

RuleState = Mapping[str, WeightCollection | NDArray]


class Rule(Protocol):
    """A rule: how a round ends.

    It may also have the method ``shares(examples)`` of :class:`PlainRule`, and ``by_slices(start, examples, state)``, which returns
    how it ends a round whose results come slice by slice (:class:`~sparknet.averaging.BySlices`), or None where it needs them whole.
    """

    def init(self, weights: WeightCollection) -> RuleState:
        """Return the state before round 0 for weights of this schema; an empty mapping if the rule has no state."""
        ...

    def update(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int], state: RuleState
    ) -> tuple[WeightCollection, RuleState]:
        """Return the next round's start, and the state for the next call. The arguments are not changed.

        Parameters
        ----------
        start
            The weights that the round began with.
        results
            The weights of each worker that takes part, in the order of the workers.
        examples
            Number of examples that each of them has trained on in this round.
        state
            The state that the last call returned: before round 0 that of ``init``, after a checkpoint that of the checkpoint.
        """
        ...


class PlainRule(Protocol):
    """A rule without state: a function of the round alone. ``averaged_sgd`` takes it wherever it takes a :class:`Rule`."""

    def __call__(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int]
    ) -> WeightCollection:
        """Return the next round's start; the arguments are those of :meth:`Rule.update`."""
        ...

    def shares(self, examples: Sequence[int]) -> Sequence[float]:
        """Return each worker's weight in a mean, in any scale; solver states are averaged with these weights."""
        ...


class Stateless:
    """Base of rules that have ``__call__`` and no state; by default all workers count alike."""

    def init(self, weights: WeightCollection) -> RuleState:
        """Return no state."""
        del weights
        return {}

    def update(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int], state: RuleState
    ) -> tuple[WeightCollection, RuleState]:
        """Return the result of ``__call__``, and the state unchanged."""
        return self(start, results, examples), state

    def __call__(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int]
    ) -> WeightCollection:
        """Return the next round's start."""
        raise NotImplementedError

    def shares(self, examples: Sequence[int]) -> Sequence[float]:
        """Return 1 for each."""
        return [1.0] * len(examples)


@dataclass(frozen=True)
class _Adapted(Stateless):
    """A plain rule as a Rule."""

    rule: PlainRule

    def __call__(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int]
    ) -> WeightCollection:
        return self.rule(start, results, examples)

    def shares(self, examples: Sequence[int]) -> Sequence[float]:
        return self.rule.shares(examples)


def _is_whole(rule: Any) -> bool:
    """Say whether a rule has ``init`` and ``update`` of its own; a subclass of the Protocol without them is a plain rule."""
    own = getattr(type(rule), "update", None)
    return callable(own) and own is not Rule.update and callable(getattr(rule, "init", None))


def is_stateless(rule: Rule) -> bool:
    """Say whether a rule certainly has no state."""
    return isinstance(rule, Stateless) and type(rule).init is Stateless.init


def is_rule(rule: Any) -> bool:
    """Say whether this can be a rule, with state or without; a class cannot."""
    return not isinstance(rule, type) and (_is_whole(rule) or (callable(rule) and hasattr(rule, "shares")))


def as_rule(rule: Rule | PlainRule) -> Rule:
    """Return ``rule`` itself if it is a Rule, else a Rule that calls it."""
    return rule if _is_whole(rule) else _Adapted(rule)  # type: ignore[arg-type, return-value]


def shares_of(rule: Any, examples: Sequence[int]) -> Sequence[float]:
    """Return each worker's weight in the mean of solver states: that of the rule's ``shares``, else 1."""
    shares = getattr(rule, "shares", None)
    return [1.0] * len(examples) if shares is None else shares(examples)


def next_start(
    rule: Rule,
    start: WeightCollection,
    results: Sequence[WeightCollection],
    examples: Sequence[int],
    state: RuleState,
) -> tuple[WeightCollection, RuleState]:
    """Return the result of ``rule.update``; a TypeError that says what was expected if it is of another kind."""
    return checked_end(rule, rule.update(start, results, examples, state))


def checked_end(rule: Rule, found: Any) -> tuple[WeightCollection, RuleState]:
    """Return what a rule has returned at the end of a round; a TypeError if it is of another kind than expected."""
    is_pair = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping)
    if not is_pair or not all(isinstance(value, WeightCollection | NDArray) for value in found[1].values()):
        msg = (
            f"rule {rule!r}: update() returned {_kinds(found)}, expected (weights, state): a WeightCollection, and a mapping of "
            "names to WeightCollections and NDArrays, {} if there is no state"
        )
        raise TypeError(msg)
    end: tuple[WeightCollection, RuleState] = found
    return end


def _kinds(found: Any) -> str:
    if isinstance(found, tuple):
        return f"({', '.join(map(_kinds, found))})"
    if isinstance(found, Mapping) and not isinstance(found, WeightCollection):
        return f"a mapping of {', '.join(sorted({type(v).__name__ for v in found.values()})) or 'nothing'}"
    return type(found).__name__
