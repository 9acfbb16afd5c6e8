"""The weights of a net as one value: named layers of arrays, their arithmetic, means and norms, and what must fit before they meet."""

from sparknet.weights.collection import WeightCollection

__all__ = ["WeightCollection"]
