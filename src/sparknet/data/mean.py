"""The mean image of a data set, and the mean of each channel, in one pass.

Sums are float64: those of whole numbers are exact up to 2**53, so for uint8 pixels (up to 3.5e13
images, for the mean of a channel 3.5e13 / (h * w)) the mean is rounded once, and has the same bits in
whatever order, and in however many parts, the images were added up.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from sparknet.data.dataset import Dataset
from sparknet.data.preprocess import Preprocessor
from sparknet.data.preprocess.base import preprocessed
from sparknet.errors import DataError, located
from sparknet.ndarray import NDArray

__all__ = ["PixelSum", "channel_means", "mean_image", "pixel_sums"]


@dataclass(frozen=True, eq=False)
class PixelSum:
    """The sum of ``count`` images: ``total`` of their shape (c, h, w), float64."""

    total: "np.ndarray[Any, Any]"
    count: int

    def __add__(self, other: "PixelSum") -> "PixelSum":
        """Return the sum of the images of both."""
        return PixelSum(self.total + other.total, self.count + other.count)

    def mean_image(self) -> NDArray:
        """Return the mean of each pixel, (c, h, w) float64."""
        return NDArray(self.total / self.count)

    def channel_means(self) -> NDArray:
        """Return the mean of each channel, (c,) float64."""
        pixels = self.total.reshape(len(self.total), -1)
        return NDArray(pixels.sum(axis=1) / (self.count * pixels.shape[1]))


def pixel_sums(
    batches: Iterable[Mapping[str, NDArray]], field: str, preprocessor: Preprocessor | None = None
) -> Iterator[PixelSum]:
    """Yield the sum of the images of each minibatch, after the preprocessor's test behaviour."""
    for number, stored in enumerate(batches):
        with located(f"minibatch {number}"):
            images = preprocessed(stored, preprocessor, np.random.default_rng(0), train=False)[field].to_host()
        yield PixelSum(images.sum(axis=0, dtype=np.float64), len(images))


def mean_image(data: Dataset, field: str = "data", preprocessor: Preprocessor | None = None) -> NDArray:
    """Return the mean image of a data set, for :class:`sparknet.data.preprocess.SubtractMean`.

    Parameters
    ----------
    data
        What :func:`sparknet.data.pack` returned. Its own preprocessor is left out, as the mean is
        part of that.
    field
        The images, (c, h, w).
    preprocessor
        Steps before the mean is subtracted, if the images are not stored as they are then (``Decode``).

    Returns
    -------
    NDArray
        (c, h, w) float64.

    Raises
    ------
    DataError
        There is no such field, or it holds no images.

    Examples
    --------
    >>> from sparknet.data import Field, pack
    >>> pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    >>> data = pack({"data": pixels}, [Field("data", (3, 2, 2), "uint8")], batch_size=1)
    >>> mean_image(data).to_host()[0].tolist(), channel_means(data).to_host().tolist()
    ([[6.0, 7.0], [8.0, 9.0]], [7.5, 11.5, 15.5])
    """
    return _sum(data, field, preprocessor).mean_image()


def channel_means(data: Dataset, field: str = "data", preprocessor: Preprocessor | None = None) -> NDArray:
    """Return the mean of each channel of a data set's images, (c,) float64; see :func:`mean_image`."""
    return _sum(data, field, preprocessor).channel_means()


def _sum(data: Dataset, field: str, preprocessor: Preprocessor | None) -> PixelSum:
    check_images(data, field, preprocessor)
    return checked(reduce(add, pixel_sums(data.batches, field, preprocessor)))


def checked(total: PixelSum) -> PixelSum:
    """Return ``total``; a DataError if it is the sum of no images, as where all of them were dropped."""
    if not total.count:
        msg = "the mean of no images: every one was dropped"
        raise DataError(msg)
    return total


def check_images(data: Any, field: str, preprocessor: Preprocessor | None) -> None:
    """Raise a DataError unless ``data`` has images (c, h, w) in ``field`` after the preprocessor."""
    fields = data.fields if preprocessor is None else preprocessor.fields(data.fields)
    shapes = {f.name: f.shape for f in fields}
    if len(shapes.get(field, ())) != 3:
        msg = f"mean of {field!r}: expected a field of images (c, h, w); there are {', '.join(map(str, fields))}"
        raise DataError(msg)
