"""Averaging: how the workers' weights become the next round's start.

A rule is a picklable value without state of its own; it is given the round's start and what came
back, in the order of the workers, and returns the next start.
"""

from sparknet.averaging.finite import Nonfinite, first_nonfinite
from sparknet.averaging.rules import Mean, Rule, WeightedMean

__all__ = ["Mean", "Nonfinite", "Rule", "WeightedMean", "first_nonfinite"]
