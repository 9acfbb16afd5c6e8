"""Position: what the next round of a training starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sparknet.averaging import RuleState
from sparknet.nets.base import SolverState
from sparknet.weights import WeightCollection

__all__ = ["Position"]


@dataclass(frozen=True)
class Position:
    """Where a training stands between two rounds.

    Parameters
    ----------
    rounds
        How many are finished.
    weights, states
        What the next round starts from; one solver state for all workers, or one for each.
    steps
        Minibatches that each worker has gone through: its place in its shard.
    rule_state
        What the rule's next call is given; empty for a rule without state.
    """

    rounds: int
    weights: WeightCollection = field(repr=False)
    states: Sequence[SolverState] = field(repr=False)
    steps: Sequence[int]
    rule_state: RuleState = field(default_factory=dict, repr=False)
