"""Position: all that the next round of a training starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparknet.averaging import RuleState
from sparknet.nets.base import SolverState
from sparknet.weights import WeightCollection

__all__ = ["Position"]


@dataclass(frozen=True)
class Position:
    """The position of a training between two rounds.

    Parameters
    ----------
    rounds
        Number of finished rounds.
    weights, states
        Weights and solver states at the start of the next round: one state for all workers, or one for each.
    steps
        Number of minibatches that each worker has gone through: its place in its shard.
    rule_state
        State for the rule's next call; empty if the rule has no state.
    pace
        What clocks decided about the last round, and what was measured of the steps of the workers, as plain values: a training of
        rounds by the clock goes on with it.
    """

    rounds: int
    weights: WeightCollection = field(repr=False)
    states: Sequence[SolverState] = field(repr=False)
    steps: Sequence[int]
    rule_state: RuleState = field(default_factory=dict, repr=False)
    pace: Mapping[str, Any] = field(default_factory=dict, repr=False)
