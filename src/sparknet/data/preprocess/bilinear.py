"""Bilinear resizing from four neighbours, like OpenCV's ``INTER_LINEAR``, which Caffe's ``ImageData`` uses.

Pillow (in :mod:`sparknet.data.images.decoder`) averages over all pixels that a new one covers. OpenCV takes four, so it skips
pixels when an image shrinks to less than half. At exactly one half, a new pixel is the mean of four.
"""

from typing import Any

import numpy as np

__all__ = ["resize_bilinear"]

Array = np.ndarray[Any, Any]
_BITS = 11  # of a coefficient: OpenCV resizes uint8 with whole numbers


def resize_bilinear(images: Array, height: int, width: int) -> Array:
    """Return images (n, c, h, w), uint8 or float32, in another size; a new array of the same dtype.

    Examples
    --------
    >>> resize_bilinear(np.array([[[[0, 100]]]], np.uint8), 1, 4).tolist()
    [[[[0, 25, 75, 100]]]]
    """
    rows, columns = images.shape[-2:]
    if (rows, columns) == (height, width):
        return images.copy()
    if (rows, columns) == (2 * height, 2 * width):
        return _halved(images)
    across, down = _neighbours(columns, width, at_edge=True), _neighbours(rows, height, at_edge=False)
    if images.dtype == np.uint8:
        return _in_whole_numbers(images, across, down)
    (left, right, x), (upper, lower, y) = across, down
    lines = images[..., left] * (1 - x) + images[..., right] * x
    out: Array = lines[..., upper, :] * (1 - y)[:, None] + lines[..., lower, :] * y[:, None]
    return out.astype(images.dtype, copy=False)


def _neighbours(old: int, new: int, *, at_edge: bool) -> tuple[Array, Array, Array]:
    """Return, for each new pixel, its two old neighbours and the weight of the second, float32."""
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.intp)
    part = place - first.astype(np.float32)
    if at_edge:  # along a row OpenCV takes the edge alone, along a column it mixes the edge with itself
        part[(first < 0) | (first >= old - 1)] = 0
    return first.clip(0, old - 1), (first + 1).clip(0, old - 1), part


def _in_whole_numbers(images: Array, across: tuple[Array, Array, Array], down: tuple[Array, Array, Array]) -> Array:
    (left, right, x), (upper, lower, y) = across, down
    whole = [np.rint(part * (1 << _BITS)).astype(np.int32) for part in (1 - x, x, 1 - y, y)]
    lines = images[..., left] * whole[0] + images[..., right] * whole[1]
    above = ((lines[..., upper, :] >> 4) * whole[2][:, None]) >> 16
    below = ((lines[..., lower, :] >> 4) * whole[3][:, None]) >> 16
    out: Array = ((above + below + 2) >> 2).astype(np.uint8)
    return out


def _halved(images: Array) -> Array:
    wide = images.astype(np.uint16 if images.dtype == np.uint8 else images.dtype)
    total = wide[..., ::2, ::2] + wide[..., ::2, 1::2] + wide[..., 1::2, ::2] + wide[..., 1::2, 1::2]
    out: Array = ((total + 2) >> 2).astype(np.uint8) if images.dtype == np.uint8 else total * images.dtype.type(0.25)
    return out
