"""Position: all that the next round of a training starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    """

    rounds: int
    weights: WeightCollection = field(repr=False)
    states: Sequence[SolverState] = field(repr=False)
    steps: Sequence[int]
    rule_state: RuleState = field(default_factory=dict, repr=False)
