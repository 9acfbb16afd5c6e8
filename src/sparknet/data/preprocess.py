"""Preprocessors: what is done to a whole batch between storage and the net.

A preprocessor is a picklable value, called with the batch, a random generator (seeded for the step)
and whether this is training. It returns a new mapping and leaves its input's arrays as they are.
Images are (n, c, h, w). In training crops and mirrors are random, in test they are fixed.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from sparknet.data.fields import Field
from sparknet.errors import DataError
from sparknet.ndarray import NDArray

__all__ = ["Compose", "Crop", "Mirror", "Preprocessor", "Scale", "SubtractMean"]

Arrays = dict[str, NDArray]
_IMAGE = 3  # axes of one image (c, h, w)


class Preprocessor(Protocol):
    """A step between the packed data set and the net."""

    def __call__(self, batch: Arrays, rng: np.random.Generator, *, train: bool) -> Arrays:
        """Return the processed batch; the arrays of ``batch`` are not written to."""
        ...

    def fields(self, fields: Sequence[Field]) -> list[Field]:
        """Return what comes out for ``fields`` coming in; a DataError if they do not fit."""
        ...


class _OneField(ABC):
    """A step on one field: reads it as numpy on the host, replaces it, keeps the others."""

    field: str

    def __call__(self, batch: Arrays, rng: np.random.Generator, *, train: bool) -> Arrays:
        """Return the batch with the field replaced."""
        self._check(batch)
        return {**batch, self.field: NDArray(self._apply(batch[self.field].to_host(), rng, train=train))}

    def fields(self, fields: Sequence[Field]) -> list[Field]:
        """Return the fields with this one's shape and dtype changed as the step does."""
        self._check([f.name for f in fields])
        return [self._changed(f) if f.name == self.field else f for f in fields]

    def _check(self, names: Any) -> None:
        if self.field not in names:
            msg = f"{type(self).__name__}: no field {self.field!r}; there are {', '.join(map(repr, names))}"
            raise DataError(msg)

    @abstractmethod
    def _apply(self, x: Any, rng: np.random.Generator, *, train: bool) -> Any:
        """Return the new value of the field."""

    def _changed(self, field: Field) -> Field:
        return replace(field, dtype="float32")


@dataclass(frozen=True)
class Scale(_OneField):
    """Multiply the field by ``factor``; float32 comes out (``Scale("data", 1 / 256)``)."""

    field: str
    factor: float

    def _apply(self, x: Any, rng: np.random.Generator, *, train: bool) -> Any:
        del rng, train
        return np.multiply(x, np.float32(self.factor), dtype=np.float32)


@dataclass(frozen=True)
class SubtractMean(_OneField):
    """Subtract ``mean``: one number, one per channel (c,), or an image (c, h, w); float32 comes out.

    The arithmetic is float32, so whole numbers up to 2**24 come out exactly.
    """

    field: str
    mean: Any

    def _apply(self, x: Any, rng: np.random.Generator, *, train: bool) -> Any:
        del rng, train
        return np.subtract(x, self._fitting(x.shape[1:]), dtype=np.float32)

    def _fitting(self, shape: tuple[int, ...]) -> Any:
        """Return the mean as something that broadcasts against one example of this shape."""
        mean = np.asarray(self.mean, np.float32)
        if mean.shape in ((), shape):
            return mean
        if len(shape) == _IMAGE and mean.shape == shape[:1]:
            return mean[:, None, None]  # one per channel
        msg = f"SubtractMean: a mean of shape {mean.shape} does not fit {self.field!r} of shape {shape}"
        raise DataError(msg)

    def _changed(self, field: Field) -> Field:
        self._fitting(field.shape)
        return super()._changed(field)


@dataclass(frozen=True)
class Crop(_OneField):
    """Cut ``height`` x ``width`` out of the last two axes: at random in training, the centre in test.

    Each image of a batch is cut at its own place.
    """

    field: str
    height: int
    width: int

    def _apply(self, x: Any, rng: np.random.Generator, *, train: bool) -> Any:
        free = self._free(x.shape)
        if not train:
            top, left = free[0] // 2, free[1] // 2
            return x[..., top : top + self.height, left : left + self.width]
        windows = np.lib.stride_tricks.sliding_window_view(x, (self.height, self.width), axis=(-2, -1))
        tops = rng.integers(0, free[0], len(x), endpoint=True)
        lefts = rng.integers(0, free[1], len(x), endpoint=True)
        index: tuple[Any, ...] = (np.arange(len(x)), *([slice(None)] * (x.ndim - 3)), tops, lefts)
        return np.ascontiguousarray(windows[index])

    def _free(self, shape: tuple[int, ...]) -> tuple[int, int]:
        if len(shape) < 3 or shape[-2] < self.height or shape[-1] < self.width:
            msg = f"Crop: {self.height}x{self.width} does not fit into {self.field!r} of shape {shape[1:]}"
            raise DataError(msg)
        return shape[-2] - self.height, shape[-1] - self.width

    def _changed(self, field: Field) -> Field:
        self._free((1, *field.shape))
        return replace(field, shape=(*field.shape[:-2], self.height, self.width))


@dataclass(frozen=True)
class Mirror(_OneField):
    """Flip each image left to right with probability one half in training; nothing in test."""

    field: str

    def _apply(self, x: Any, rng: np.random.Generator, *, train: bool) -> Any:
        self._check_image(x.shape[1:])
        if not train:
            return x
        flip = rng.integers(0, 2, len(x)).astype(bool)
        return np.where(flip.reshape(-1, *[1] * (x.ndim - 1)), x[..., ::-1], x)

    def _changed(self, field: Field) -> Field:
        self._check_image(field.shape)
        return field

    def _check_image(self, shape: tuple[int, ...]) -> None:
        if len(shape) < _IMAGE - 1:
            msg = f"Mirror: {self.field!r} has examples of shape {shape}, expected images (c, h, w) or (h, w)"
            raise DataError(msg)


@dataclass(frozen=True, init=False)
class Compose:
    """Several preprocessors, one after the other.

    Examples
    --------
    >>> steps = Compose(Scale("data", 1 / 256), Crop("data", 24, 24))
    >>> steps.fields([Field("data", (1, 28, 28), "uint8")])
    [Field(name='data', shape=(1, 24, 24), dtype='float32')]
    """

    steps: tuple[Preprocessor, ...]

    def __init__(self, *steps: Preprocessor) -> None:
        object.__setattr__(self, "steps", steps)

    def __call__(self, batch: Arrays, rng: np.random.Generator, *, train: bool) -> Arrays:
        """Return the batch after all steps."""
        for step in self.steps:
            batch = step(batch, rng, train=train)
        return batch

    def fields(self, fields: Sequence[Field]) -> list[Field]:
        """Return the fields after all steps."""
        for step in self.steps:
            fields = step.fields(fields)
        return list(fields)
