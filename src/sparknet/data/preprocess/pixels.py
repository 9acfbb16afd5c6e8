"""Steps that move pixels or compute with them, and several such steps in one pass.

Moving first and computing then gives the same bits as computing first, if the operand (a mean image) is moved too. So an image
goes through all such steps at once: it is read through views, and each value is written once, to its final place. No
intermediate batch is made, whatever the number of steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from sparknet.data.fields import Field
from sparknet.data.preprocess.base import Arrays, FieldStep, Preprocessor, Rng, Shape, check_is_preprocessor
from sparknet.ndarray import NDArray

__all__ = ["Compose", "PixelStep"]


class PixelStep(FieldStep):
    """A step that either moves the values of an example (``_view``) or computes with each (``_operand``, ``_compute``)."""

    def __call__(self, batch: Arrays, rng: Rng, *, train: bool) -> Arrays:
        """Return the batch with the field replaced; a new array."""
        return _after([self], batch, rng, train=train)

    def _draw(self, n: int, shape: Shape, rng: Rng) -> tuple[Any, ...]:
        """Return the random choices of a step in training: arrays with a value for each of ``n`` examples of this shape."""
        del n, shape, rng
        return ()

    def _view(self, x: Any, *drawn: Any) -> Any:
        """Return a view of ``x`` with its values moved: of one example with its random choices, or of any number without any."""
        raise NotImplementedError

    def _operand(self, shape: Shape) -> Any:
        """Return the operand of the computation, broadcast to the shape of an example; None for a step that moves."""
        del shape

    def _compute(self, x: Any, operand: Any, out: Any) -> Any:
        """Compute with ``x`` and the operand, write the result to ``out``, which may be ``x``, and return it."""
        raise NotImplementedError


def _after(steps: Sequence[PixelStep], batch: Arrays, rng: Rng, *, train: bool) -> Arrays:
    """Return the batch after several steps on one field, with the bits that they give one by one."""
    field = steps[0].field
    steps[0]._check_name(batch)
    x = batch[field].to_host()
    shape, dtype = x.shape[1:], x.dtype.name
    drawn: list[tuple[Any, ...]] = []
    operands = []
    for step in steps:
        changed, dtype = step._changed(shape, dtype)
        drawn.append(step._draw(len(x), shape, rng) if train else ())
        operands.append(step._operand(shape))
        shape = changed
    out = np.empty((len(x), *shape), dtype)
    if any(drawn):
        rows = [list(zip(*map(np.ndarray.tolist, of_step), strict=True)) or [()] * len(x) for of_step in drawn]
        for image, place, *values in zip(x, out, *rows, strict=True):
            _write(steps, operands, values, image, place)
    else:
        _write(steps, operands, drawn, x, out)
    return {**batch, field: NDArray(out)}


def _write(steps: Sequence[PixelStep], operands: Sequence[Any], drawn: Sequence[Any], x: Any, out: Any) -> None:
    """Write the result for ``x`` to ``out``: for one example with its random choices, or for all if there are none."""
    computing: list[tuple[PixelStep, Any]] = []
    for step, operand, values in zip(steps, operands, drawn, strict=True):
        if operand is None:
            x = step._view(x, *values)
            computing = [(other, step._view(moved, *values)) for other, moved in computing]
        else:
            computing.append((step, operand))
    for step, operand in computing:
        x = step._compute(x, operand, out)
    if not computing:
        out[...] = x


@dataclass(frozen=True, init=False)
class Compose:
    """Several preprocessors, one after the other.

    Examples
    --------
    >>> from sparknet.data.preprocess import Crop, Scale
    >>> steps = Compose(Scale("data", 1 / 256), Crop("data", 24, 24))
    >>> steps.fields([Field("data", (1, 28, 28), "uint8")])
    [Field(name='data', shape=(1, 24, 24), dtype='float32')]
    """

    steps: tuple[Preprocessor, ...]

    def __init__(self, *steps: Preprocessor) -> None:
        for step in steps:
            check_is_preprocessor(step, "Compose")
        object.__setattr__(self, "steps", steps)

    def __call__(self, batch: Arrays, rng: Rng, *, train: bool) -> Arrays:
        """Return the batch after all steps."""
        for field, group in groupby(self.steps, lambda step: step.field if isinstance(step, PixelStep) else None):
            steps: list[Any] = list(group)
            if field is not None:
                batch = _after(steps, batch, rng, train=train)
                continue
            for step in steps:
                batch = step(batch, rng, train=train)
        return batch

    def fields(self, fields: Sequence[Field]) -> list[Field]:
        """Return the fields after all steps."""
        for step in self.steps:
            fields = step.fields(fields)
        return list(fields)
