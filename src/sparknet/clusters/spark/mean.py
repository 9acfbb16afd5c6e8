"""The mean image of a packed data set, added up where its minibatches are: one job, one pass."""

from collections.abc import Iterable, Iterator
from functools import partial, reduce
from itertools import islice
from operator import add
from typing import Any

from sparknet.clusters.spark.jobs import run_job
from sparknet.clusters.spark.packed import PackedDataset
from sparknet.data.mean import PixelSum, check_images, checked, pixel_sums
from sparknet.data.preprocess import Preprocessor
from sparknet.errors import SparknetError, located
from sparknet.ndarray import NDArray
from sparknet.serialization import loads

__all__ = ["channel_means", "mean_image"]


def mean_image(data: PackedDataset, field: str = "data", preprocessor: Preprocessor | None = None) -> NDArray:
    """Return the mean image of a packed data set, for :class:`sparknet.data.preprocess.SubtractMean`.

    Parameters
    ----------
    data
        What :func:`sparknet.spark.pack` returned. Its own preprocessor is left out, as the mean is
        part of that.
    field
        The images, (c, h, w).
    preprocessor
        Steps before the mean is subtracted, if the images are not stored as they are then (``Decode``).

    Returns
    -------
    NDArray
        (c, h, w) float64. For whole-number pixels it has the bits of ``images.mean(axis=0,
        dtype="float64")`` of numpy, however the images are partitioned.

    Raises
    ------
    DataError
        There is no such field, it holds no images, or one of them cannot be decoded.
    """
    return _sum(data, field, preprocessor).mean_image()


def channel_means(data: PackedDataset, field: str = "data", preprocessor: Preprocessor | None = None) -> NDArray:
    """Return the mean of each channel of a packed data set's images, (c,) float64; see :func:`mean_image`."""
    return _sum(data, field, preprocessor).channel_means()


def _sum(data: PackedDataset, field: str, preprocessor: Preprocessor | None) -> PixelSum:
    check_images(data, field, preprocessor)
    sums = data.rdd.mapPartitionsWithIndex(partial(_of_partition, field=field, preprocessor=preprocessor))
    total = run_job(lambda: sums.treeReduce(_merged))
    if isinstance(total, SparknetError):
        raise total
    return checked(total)


def _of_partition(
    shard: int, partition: Iterable[tuple[int, bytes]], *, field: str, preprocessor: Preprocessor | None
) -> Iterator[Any]:
    batches = (loads(message) for _, message in partition)
    try:
        with located(f"shard {shard}"):
            sums = pixel_sums(batches, field, preprocessor)
            yield from (reduce(add, sums, first) for first in islice(sums, 1))  # nothing, where there is no minibatch
    except SparknetError as error:  # as a value: an exception would be tried again, in vain
        yield error


def _merged(left: Any, right: Any) -> Any:
    """Return the sum of both; an error takes the place of every sum that it meets."""
    for part in (left, right):
        if isinstance(part, SparknetError):
            return part
    return left + right
