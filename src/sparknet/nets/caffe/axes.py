"""The batch axis of a blob: the axis of the examples. It is the first, except in nets that put time first.

A batch always has its examples first, ``(n, T, ...)``. If an input has another batch axis, the axes are moved when it is fed,
``(T, n, ...)``, and those of the outputs are moved back.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparknet.errors import NetError

__all__ = ["batch_first", "by_row", "check_rows", "input_shape", "output_axes"]

Shape = tuple[int, ...]


def batch_first(shape: Sequence[int], axis: int) -> Shape:
    """Return the shape of a batch for an input of ``shape`` whose batch is on ``axis``.

    Examples
    --------
    >>> batch_first((5, 4, 3), 1)
    (4, 5, 3)
    """
    return (shape[axis], *shape[:axis], *shape[axis + 1 :])


def input_shape(rows: int, example: Sequence[int], axis: int) -> Shape:
    """Return the shape of an input for ``rows`` examples of the shape ``example``.

    Examples
    --------
    >>> input_shape(4, (5, 3), 1)
    (5, 4, 3)
    """
    return (*example[:axis], rows, *example[axis:])


def by_row(values: Any, axis: int) -> Any:
    """Return an array with its batch axis ``axis`` moved to the front; a view, or the array itself.

    Examples
    --------
    >>> by_row(np.zeros((5, 4, 3)), 1).shape
    (4, 5, 3)
    """
    return np.moveaxis(values, axis, 0) if axis else values  # moveaxis takes as long as all other work on a label


def check_rows(inputs: Mapping[str, Shape], axes: Mapping[str, int]) -> None:
    """Raise a NetError if an input has a batch axis other than the first, and the inputs differ in their number of rows."""
    rows = {name: shape[axes.get(name, 0)] for name, shape in inputs.items()}
    if axes and len(set(rows.values())) > 1:
        said = ", ".join(
            f"{name} {shape} has {rows[name]} on axis {axes.get(name, 0)}" for name, shape in inputs.items()
        )
        msg = f"the inputs differ in their rows: {said}; say the batch_axis of each input that has not the batch first"
        raise NetError(msg)


def output_axes(net: Any, feeder: Any) -> dict[str, int]:
    """Return blob -> batch axis, for the blobs of ``net`` whose batch axis is not the first.

    The batch axis is the one that grows by one when the batch does, so no type of layer needs to be known. A blob with time and
    batch in one axis, or without a row for each example, has none.
    """
    rows = feeder.rows
    before = _shapes(net)
    try:
        feeder.resize(rows + 1)
        after = _shapes(net)
    except RuntimeError:  # the net takes no other number of rows
        return _axes_of_inputs(feeder, before)
    finally:
        feeder.resize(rows)
    grown = {name: np.flatnonzero(np.subtract(after[name], before[name]) == 1) for name in before}
    return {
        name: int(axes[0])
        for name, axes in grown.items()
        if len(axes) == 1 and axes[0] and before[name][axes[0]] == rows
    }


def _axes_of_inputs(feeder: Any, shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Return the batch axis for blobs with the same number of steps and rows as an input with another batch axis."""
    begins = {feeder.input_shape(name)[: axis + 1]: axis for name, axis in feeder.axes.items()}
    return {
        name: axis for name, shape in shapes.items() for begin, axis in begins.items() if shape[: axis + 1] == begin
    }


def _shapes(net: Any) -> dict[str, Shape]:
    return {name: tuple(blob.shape) for name, blob in net.blobs.items()}
