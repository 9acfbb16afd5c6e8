"""Averaging: how the workers' weights become the next round's start.

A rule is a picklable value. It is given the round's start and what came back, in the order of the workers, and returns the
next start. What it carries from round to round, such as a velocity, is its state: the driver keeps it and the checkpoint
holds it, never the rule itself. So a rule is a pure function, and a training that goes on has the bits of one in one piece.
"""

from sparknet.averaging.contract import PlainRule, Rule, RuleState
from sparknet.averaging.finite import Nonfinite, first_nonfinite
from sparknet.averaging.outer import Momentum, Nesterov
from sparknet.averaging.rules import Mean, Median, WeightedMean

__all__ = [
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
