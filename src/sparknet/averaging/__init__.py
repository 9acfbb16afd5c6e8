"""Averaging: the rules that make the next round's start of the workers' weights.

A rule is a picklable value. It takes the start of the round and the workers' results, in the order of the workers, and returns the
next start. A rule may have state, such as a velocity, that goes from round to round. The driver keeps the state and the checkpoint
holds it, never the rule itself. So a rule is a pure function, and a training that goes on from a checkpoint has the bits of one
that was never broken off.
"""

from sparknet.averaging.contract import PlainRule, Rule, RuleState
from sparknet.averaging.finite import Nonfinite, first_nonfinite
from sparknet.averaging.outer import Momentum, Nesterov
from sparknet.averaging.rules import Mean, Median, WeightedMean
from sparknet.averaging.slices import BySlices

__all__ = [
    "BySlices",
    "Mean",
    "Median",
    "Momentum",
    "Nesterov",
    "Nonfinite",
    "PlainRule",
    "Rule",
    "RuleState",
    "WeightedMean",
    "first_nonfinite",
]
