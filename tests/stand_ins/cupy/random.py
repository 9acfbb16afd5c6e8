"""cupy.random: numbers for a bench, which are made on the device (cupy/random/_generator.py)."""

import numpy as np

from cupy._core.kernel import kernel


class Generator:
    """As far as a bench asks."""

    def __init__(self, seed):
        self._numbers = np.random.default_rng(seed)

    def random(self, size, dtype=np.float64):
        return kernel(lambda: self._numbers.random(size, dtype))()


def default_rng(seed=None):
    return Generator(seed)
