"""The weights of a net as one value: named layers of arrays, with arithmetic, means and norms."""

from sparknet.weights.collection import WeightCollection

__all__ = ["WeightCollection"]
