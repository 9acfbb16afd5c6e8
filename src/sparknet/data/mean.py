"""The mean image of a data set, and the mean of each channel, in one pass over the minibatches; a cluster does it in tasks.

Sums are float64, which is exact for whole numbers up to 2**53. So the sum of uint8 pixels is exact up to 3.5e13 images (for the
mean of a channel up to 3.5e13 / (h * w)), and only the division rounds: the mean has the same bits in whatever order, and in
however many parts, the images are added up.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from sparknet.data.fields import Field
from sparknet.data.preprocess import Preprocessor
from sparknet.data.preprocess.base import check_preprocessor, preprocessed, steps_of
from sparknet.data.preprocess.summary import summary
from sparknet.errors import DataError, located
from sparknet.ndarray import NDArray

__all__ = ["PixelSum", "channel_means", "mean_image"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PixelSum:
    """The sum of ``count`` images: ``total`` is float64 of their shape (c, h, w), or () if there is no image."""

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


class Summed(Protocol):
    """A data set, in memory or on a cluster, that adds up the results of a function of its minibatches."""

    @property
    def fields(self) -> Sequence[Field]:
        """The fields of a minibatch, as stored."""
        ...

    def _summed(self, part: Callable[[Iterable[Mapping[str, NDArray]]], Any], /) -> Any:
        """Return ``part(minibatches)`` of each shard, added up with ``+``."""
        ...


def mean_image(data: Summed, field: str = "data", preprocessor: Preprocessor | None = None) -> NDArray:
    """Return the mean image of a data set, for :class:`sparknet.data.preprocess.SubtractMean`.

    Parameters
    ----------
    data
        What :func:`sparknet.data.pack` or :func:`sparknet.spark.pack` returned. Its own preprocessor is not applied, because the
        mean is usually part of it; a warning says so.
    field
        The images, (c, h, w).
    preprocessor
        The steps before the mean is subtracted, such as ``Decode`` and ``ToBGR``. ``Compose()``, which has no steps, asks for
        the mean of the images as they are stored, and there is no warning.

    Returns
    -------
    NDArray
        (c, h, w) float64. For whole-number pixels it has the bits of numpy's ``images.mean(axis=0, dtype="float64")``,
        wherever the images are. Sums of other pixels are rounded in the order in which the shards of a cluster finish, so
        their last bits may differ from one call to the next.

    Raises
    ------
    DataError
        There is no such field, it holds no images, or one of them cannot be decoded.

    Examples
    --------
    >>> from sparknet.data import Field, pack
    >>> pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    >>> data = pack({"data": pixels}, [Field("data", (3, 2, 2), "uint8")], batch_size=1)
    >>> mean_image(data).to_host()[0].tolist(), channel_means(data).to_host().tolist()
    ([[6.0, 7.0], [8.0, 9.0]], [7.5, 11.5, 15.5])
    """
    return _sum(data, field, preprocessor).mean_image()


def channel_means(data: Summed, field: str = "data", preprocessor: Preprocessor | None = None) -> NDArray:
    """Return the mean of each channel of a data set's images, (c,) float64; see :func:`mean_image`."""
    return _sum(data, field, preprocessor).channel_means()


def _sum(data: Summed, field: str, preprocessor: Preprocessor | None) -> PixelSum:
    _check_images(data.fields, field, preprocessor)
    if preprocessor is None:
        _warn_of_own_steps(data, field)
    total: PixelSum = data._summed(partial(_pixel_sum, field=field, preprocessor=preprocessor))
    if not total.count:
        msg = "the mean of no images: every one was dropped"
        raise DataError(msg)
    return total


def _warn_of_own_steps(data: Summed, field: str) -> None:
    """Log a warning if the data set has a preprocessor of its own that changes ``field``, or may do so."""
    own = getattr(data, "preprocessor", None)
    if any(getattr(step, "field", field) == field for step in steps_of(own)):
        _LOG.warning(
            "the mean of %r is that of the images as they are stored, without the data's own preprocessor [%s]; pass those of its "
            "steps that come before the mean, as in mean_image(data, %r, ToBGR(%r)), or Compose() for none",
            field,
            summary(own),
            field,
            field,
        )


def _pixel_sum(batches: Iterable[Mapping[str, NDArray]], *, field: str, preprocessor: Preprocessor | None) -> PixelSum:
    """Return the sum of the images of some minibatches, preprocessed as in test."""
    total = PixelSum(np.zeros(()), 0)
    for number, stored in enumerate(batches):
        with located(f"minibatch {number}"):
            images = preprocessed(stored, preprocessor, np.random.default_rng(0), train=False)[field].to_host()
        total += PixelSum(images.sum(axis=0, dtype=np.float64), len(images))
    return total


def _check_images(fields: Sequence[Field], field: str, preprocessor: Preprocessor | None) -> None:
    """Raise a DataError unless ``field`` has images (c, h, w) after the preprocessor."""
    after = check_preprocessor(preprocessor, fields)
    shapes = {f.name: f.shape for f in after}
    if len(shapes.get(field, ())) != 3:
        msg = f"mean of {field!r}: expected a field of images (c, h, w); there are {', '.join(map(str, after))}"
        raise DataError(msg)
