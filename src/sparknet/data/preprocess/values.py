"""Steps that compute with the values of a field, and do not move them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparknet.data.layout import is_whole
from sparknet.data.preprocess.base import IMAGE, Arrays, FieldStep, Rng, Shape
from sparknet.data.preprocess.pixels import PixelStep
from sparknet.data.ranges import number
from sparknet.errors import DataError
from sparknet.formats import Contents
from sparknet.ndarray import NDArray

__all__ = ["LabelMap", "Scale", "SubtractMean"]

_SHOWN = 4  # numbers in a description
_MOST = 2**63  # labels are smaller


@dataclass(frozen=True)
class Scale(PixelStep):
    """Multiply the field by ``factor``, as in ``Scale("data", 1 / 256)``; the result is float32.

    The factor is one number, or an array of the shape of an example: ``(30,)`` for 30 columns. For images ``(c, h, w)`` it may
    also be one number per channel, ``(c,)``.

    Examples
    --------
    >>> from sparknet import NDArray
    >>> step = Scale("data", [1, 0.5])
    >>> step({"data": NDArray([[2, 4], [6, 8]])}, np.random.default_rng(0), train=True)["data"].to_host().tolist()
    [[2.0, 2.0], [6.0, 4.0]]
    """

    field: str
    factor: Any

    def __post_init__(self) -> None:
        """Check that all numbers are finite."""
        _check_finite(self, self.factor)

    def describe(self) -> str:
        """Return the factor, as in ``"x 0.5"``, or the shape of a large array."""
        return f"x {_shown(self.factor)}"

    def _operand(self, shape: Shape) -> Any:
        return _fitting(self, "a factor", self.factor, shape)

    def _compute(self, x: Any, operand: Any, out: Any) -> Any:
        return np.multiply(x, operand, out=out, dtype=np.float32)

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        del dtype
        self._operand(shape)
        return shape, "float32"


@dataclass(frozen=True)
class SubtractMean(PixelStep):
    """Subtract ``mean``; the result is float32.

    The mean is one number, or an array of the shape of an example: ``(30,)`` for 30 columns. For images ``(c, h, w)`` it may also
    be one number per channel, ``(c,)``. A mean image may have a first axis of length 1, as in ``.binaryproto`` files, and may be
    the object that ``sparknet.formats.read`` returns for such a file. The arithmetic is float32: exact for whole numbers up to
    2**24.
    """

    field: str
    mean: Any

    def __post_init__(self) -> None:
        """Check that all numbers are finite."""
        object.__setattr__(self, "mean", _given_mean(self.mean, self.field))
        _check_finite(self, self.mean)

    def describe(self) -> str:
        """Return the mean, as in ``"- 104, 117, 123"``, or the shape of a large array, such as a mean image."""
        return f"- {_shown(self.mean, 'mean image ')}"

    def _operand(self, shape: Shape) -> Any:
        return _fitting(self, "a mean", self.mean, shape)

    def _compute(self, x: Any, operand: Any, out: Any) -> Any:
        return np.subtract(x, operand, out=out, dtype=np.float32)

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        del dtype
        self._operand(shape)
        return shape, "float32"


@dataclass(frozen=True)
class LabelMap(FieldStep):
    """Replace each stored label by the net's label, which ``labels`` maps it to; the result is int64.

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
        """Check that ``labels`` is a mapping of labels, and not empty."""
        if not self.labels:
            msg = f"LabelMap: got no labels for {self.field!r}, expected at least one"
            raise DataError(msg)
        pairs = self.labels.items() if isinstance(self.labels, Mapping) else ()
        if not pairs or not all(is_whole(n, -_MOST) and n < _MOST for pair in pairs for n in pair):
            msg = f"LabelMap: got {self.labels!r:.60} for {self.field!r}, expected a mapping from stored labels to the net's, int64"
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
    """Return a mean, taken out of Contents of a file if it is in some; a DataError for a path or a mapping."""
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


def _fitting(step: FieldStep, what: str, value: Any, shape: Shape) -> Any:
    """Return the operand of a step as float32, broadcast to the shape of an example."""
    array = np.asarray(value, np.float32)
    if array.shape == (1, *shape):
        array = array[0]
    elif len(shape) == IMAGE and array.shape == shape[:1]:
        array = array[:, None, None]  # one per channel
    elif array.shape not in ((), shape):
        channels = f" or {shape[:1]}, one per channel" if len(shape) == IMAGE else ""
        msg = (
            f"{type(step).__name__}: {what} of shape {array.shape} does not fit {step.field!r} of shape {shape}; "
            f"expected one number, or {shape}{channels}"
        )
        raise DataError(msg)
    return np.broadcast_to(array, shape)


def _shown(value: Any, kind: str = "") -> str:
    """Return a few numbers as text; of an array of several axes return the shape, with ``kind`` before it."""
    array = np.asarray(value)
    if array.ndim > 1:
        return f"{kind}{array.shape}"
    few = ", ".join(map(number, array.ravel()[:_SHOWN]))
    return few if array.size <= _SHOWN else f"{few}, ... ({array.size} in all)"


def _check_finite(step: FieldStep, value: Any) -> None:
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        got = f"{value!r:.60}" if array.ndim == 0 else f"{array.dtype} {array.shape}"
        msg = f"{type(step).__name__} of {step.field!r}: got {got}, expected finite numbers"
        raise DataError(msg)
