"""Steps that compute with the values of a field and leave their places alone."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparknet.data.preprocess.base import IMAGE, Arrays, FieldStep, Rng, Shape
from sparknet.data.preprocess.pixels import PixelStep
from sparknet.data.ranges import number
from sparknet.errors import DataError
from sparknet.formats import Contents
from sparknet.ndarray import NDArray

__all__ = ["LabelMap", "Scale", "SubtractMean"]


@dataclass(frozen=True)
class Scale(PixelStep):
    """Multiply the field by ``factor``; float32 comes out (``Scale("data", 1 / 256)``)."""

    field: str
    factor: float

    def __post_init__(self) -> None:
        """Refuse what would leave no finite number."""
        _check_finite(self, self.factor)

    def describe(self) -> str:
        """Return the factor, as in ``"x 0.5"``."""
        return f"x {number(self.factor)}"

    def _operand(self, shape: Shape) -> Any:
        return np.broadcast_to(np.float32(self.factor), shape)

    def _compute(self, x: Any, operand: Any, out: Any) -> Any:
        return np.multiply(x, operand, out=out, dtype=np.float32)

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        del dtype
        return shape, "float32"


@dataclass(frozen=True)
class SubtractMean(PixelStep):
    """Subtract ``mean``: one number, one per channel (c,), or an image (c, h, w); float32 comes out.

    The image may have a first axis of length 1, as in ``.binaryproto`` files; what ``sparknet.formats.read`` returned of one
    is taken too. The arithmetic is float32, so whole numbers up to 2**24 come out exactly.
    """

    field: str
    mean: Any

    def __post_init__(self) -> None:
        """Refuse what would leave no finite number."""
        object.__setattr__(self, "mean", _given_mean(self.mean, self.field))
        _check_finite(self, self.mean)

    def describe(self) -> str:
        """Return the mean, as in ``"- 104, 117, 123"``, or the shape of a mean image."""
        mean = np.asarray(self.mean)
        return f"- mean image {mean.shape}" if mean.ndim > 1 else f"- {', '.join(map(number, mean.ravel()))}"

    def _operand(self, shape: Shape) -> Any:
        return np.broadcast_to(self._fitting(shape), shape)

    def _compute(self, x: Any, operand: Any, out: Any) -> Any:
        return np.subtract(x, operand, out=out, dtype=np.float32)

    def _fitting(self, shape: Shape) -> Any:
        """Return the mean as something that broadcasts against one example of this shape."""
        mean = np.asarray(self.mean, np.float32)
        if mean.shape in ((), shape):
            return mean
        if mean.shape == (1, *shape):
            return mean[0]
        if len(shape) == IMAGE and mean.shape == shape[:1]:
            return mean[:, None, None]  # one per channel
        msg = f"SubtractMean: a mean of shape {mean.shape} does not fit {self.field!r} of shape {shape}"
        raise DataError(msg)

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        del dtype
        self._fitting(shape)
        return shape, "float32"


@dataclass(frozen=True)
class LabelMap(FieldStep):
    """Replace each whole number by what ``labels`` says: the labels that are stored by those of the net; int64 comes out.

    Examples
    --------
    >>> from sparknet import NDArray
    >>> step = LabelMap("label", {7: 0, 9: 1})
    >>> step({"label": NDArray([9, 7, 9])}, np.random.default_rng(0), train=True)["label"].to_host().tolist()
    [1, 0, 1]
    """

    field: str
    labels: Mapping[int, int]

    def __post_init__(self) -> None:
        """Refuse a map that no label is in."""
        if not self.labels:
            msg = f"LabelMap: got no labels for {self.field!r}, expected at least one"
            raise DataError(msg)

    def __call__(self, batch: Arrays, rng: Rng, *, train: bool) -> Arrays:
        """Return the batch with the labels replaced."""
        del rng, train
        return {**batch, self.field: NDArray(self._mapped(self._fitting_array(batch)))}

    def _mapped(self, x: Any) -> Any:
        stored = np.array(sorted(self.labels), np.int64)
        mapped = np.array([self.labels[int(label)] for label in stored], np.int64)
        places = np.searchsorted(stored, x).clip(max=len(stored) - 1)
        unknown = stored[places] != x
        if unknown.any():
            msg = (
                f"LabelMap: example {np.argwhere(unknown)[0][0]} of the batch has the {self.field} {x[unknown][0]}; "
                f"expected one of the {len(stored)} labels {str(stored[:10])[1:-1]}{' ...' if len(stored) > 10 else ''}"
            )
            raise DataError(msg)
        return mapped[places]

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if np.dtype(dtype).kind not in "iu":
            raise self._misfit(shape, dtype, "whole numbers, int64")
        return shape, "int64"


def _given_mean(given: Any, field: str) -> Any:
    """Return the numbers of a mean, or of what was read from a file; a DataError if that holds something else."""
    if isinstance(given, Contents):
        given = given.obj
    if isinstance(given, str | bytes | os.PathLike):
        got, fix = f"the path {os.fspath(given)!r}", "sparknet.formats.read(path).obj is the mean image of a file"
    elif isinstance(given, Mapping):
        got, fix = f"a {type(given).__name__} of {', '.join(map(repr, list(given)[:5]))}", "take the mean from it"
    else:
        return given
    msg = f"SubtractMean of {field!r}: got {got}, expected finite numbers: {fix}"
    raise DataError(msg)


def _check_finite(step: FieldStep, value: Any) -> None:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        got = repr(value) if array.ndim == 0 else f"{array.dtype} {array.shape}"
        msg = f"{type(step).__name__} of {step.field!r}: got {got}, expected finite numbers"
        raise DataError(msg)
