"""One case of a layer: its inputs, its weights, and what it computes, as a formula of numpy in float64."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """What a layer is given and what it must compute.

    Parameters
    ----------
    kind
        The layer's type.
    inputs
        Its bottoms, in their order.
    formula
        Takes inputs and weights; returns the top, or a list of the tops. With ``random`` it takes the top first.
    settings
        The rest of the layer's text.
    weights
        Its blobs, in their order.
    constant, constant_weights
        Places of the inputs and weights that Caffe computes no gradient for: labels, indices, statistics.
    tops
        How many tops it has.
    random
        The formula needs to know the top, since it depends on random numbers.
    """

    kind: str
    inputs: Sequence[np.ndarray]
    formula: Callable[..., Any]
    settings: str = ""
    weights: Sequence[np.ndarray] = ()
    constant: Sequence[int] = ()
    constant_weights: Sequence[int] = ()
    tops: int = 1
    random: bool = False

    def __str__(self) -> str:
        """Name the case: its type, how many inputs it has, and the words of its prototxt."""
        return " ".join(f"{self.kind} of {len(self.inputs)} {self.settings}".split())

    @property
    def prototxt(self) -> str:
        """The text of a net of this layer alone."""
        # What parameters give needs a gradient, unless they do not learn; Power copies it, for some layers share it.
        fed = [
            f'layer {{ name: "in{i}" type: "Parameter" top: "given{i}" parameter_param {{ shape {{ {dims(value.shape)} }} }} '
            f'param {{ lr_mult: {int(i not in self.constant)} }} }} layer {{ type: "Power" bottom: "given{i}" top: "in{i}" }}'
            for i, value in enumerate(self.inputs)
        ]
        bottoms = " ".join(f'bottom: "in{i}"' for i in range(len(self.inputs)))
        # A gradient is computed of what is part of the loss; where there is no top, it is asked for.
        tops = " ".join(f'top: "out{i}" loss_weight: 1' for i in range(self.tops))
        layer = f'layer {{ name: "it" type: "{self.kind}" {bottoms} {tops} {self.settings} }}'
        return "\n".join([f"force_backward: {str(not self.tops).lower()}", *fed, layer])


def dims(shape: Sequence[int]) -> str:
    """Return the text of a shape."""
    return " ".join(f"dim: {n}" for n in shape)


def spread(*shape: int, seed: int = 0, step: float = 0.125) -> np.ndarray:
    """Return shuffled float32 numbers around 0, each ``step`` from the next and half of it from 0 and from its multiples.

    So what a numeric gradient adds, less than half a step, changes no order, no sign and no maximum.
    """
    count = int(np.prod(shape))
    values = (np.arange(count) - count // 2 + 0.5) * step
    return np.random.default_rng(seed).permutation(values).reshape(shape).astype(np.float32)
