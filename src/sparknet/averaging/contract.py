"""What a rule is, and how the driver calls one: rules with state, and those without that are plain functions.

The driver knows :class:`Rule` alone. A rule without state may be written as a function with ``shares``
(:class:`PlainRule`), which is how all rules were written at first; :func:`as_rule` makes a Rule of it.
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
    "is_rule",
    "is_stateless",
    "next_start",
    "shares_of",
]

RuleState = Mapping[str, WeightCollection | NDArray]


class Rule(Protocol):
    """How a round ends. Of its own it may also have ``shares(examples)``, as :class:`PlainRule` says."""

    def init(self, weights: WeightCollection) -> RuleState:
        """Return the state before round 0, for weights like these; an empty mapping if there is none."""
        ...

    def update(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int], state: RuleState
    ) -> tuple[WeightCollection, RuleState]:
        """Return the next round's start, and the state for the next call. Nothing that was given is changed.

        Parameters
        ----------
        start
            The weights that the round began with.
        results
            The weights of each worker that takes part, in the order of the workers.
        examples
            How many examples each of them has trained on in this round.
        state
            What the last call returned; before round 0 what ``init`` did, after a checkpoint what was written there.
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
        """Return each worker's part in a mean, in any scale; the solver state is averaged by it."""
        ...


class Stateless:
    """Makes a Rule of a class that has ``__call__``: no state goes in, none comes out, and all workers count alike."""

    def init(self, weights: WeightCollection) -> RuleState:
        """Return no state."""
        del weights
        return {}

    def update(
        self, start: WeightCollection, results: Sequence[WeightCollection], examples: Sequence[int], state: RuleState
    ) -> tuple[WeightCollection, RuleState]:
        """Return what a call returns, and the state as it is."""
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
    """Say whether a rule has ``init`` and ``update`` of its own: a plain one may be a subclass of the Protocol Rule."""
    own = getattr(type(rule), "update", None)
    return callable(own) and own is not Rule.update and callable(getattr(rule, "init", None))


def is_stateless(rule: Rule) -> bool:
    """Say whether it is known of a rule that it has no state."""
    return isinstance(rule, Stateless) and type(rule).init is Stateless.init


def is_rule(rule: Any) -> bool:
    """Say whether this can be a rule, with state or without; a class is none."""
    return not isinstance(rule, type) and (_is_whole(rule) or (callable(rule) and hasattr(rule, "shares")))


def as_rule(rule: Rule | PlainRule) -> Rule:
    """Return what was given if it is a Rule, else a Rule that calls it."""
    return rule if _is_whole(rule) else _Adapted(rule)  # type: ignore[arg-type, return-value]


def shares_of(rule: Any, examples: Sequence[int]) -> Sequence[float]:
    """Return each worker's part in the mean of solver states: the rule's own, else 1 for each."""
    shares = getattr(rule, "shares", None)
    return [1.0] * len(examples) if shares is None else shares(examples)


def next_start(
    rule: Rule,
    start: WeightCollection,
    results: Sequence[WeightCollection],
    examples: Sequence[int],
    state: RuleState,
) -> tuple[WeightCollection, RuleState]:
    """Return what ``rule.update`` does, or a TypeError that says what it should have been."""
    found = rule.update(start, results, examples, state)
    # what another's rule returns may be anything
    is_pair = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping)
    if not is_pair or not all(isinstance(value, WeightCollection | NDArray) for value in found[1].values()):
        msg = (
            f"rule {rule!r}: update() returned {_kinds(found)}, expected (weights, state): a WeightCollection, and a mapping of "
            "names to WeightCollections and NDArrays, {} if there is no state"
        )
        raise TypeError(msg)
    return found


def _kinds(found: Any) -> str:
    if isinstance(found, tuple):
        return f"({', '.join(map(_kinds, found))})"
    if isinstance(found, Mapping) and not isinstance(found, WeightCollection):
        return f"a mapping of {', '.join(sorted({type(v).__name__ for v in found.values()})) or 'nothing'}"
    return type(found).__name__
