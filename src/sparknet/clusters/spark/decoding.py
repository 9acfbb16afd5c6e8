"""decode_images: rows with images, encoded or as Spark's ``image`` source gives them, to rows with pixels.

Images are decoded when rows are packed, once. To keep them encoded in the packed data set, and decode
them when a minibatch is used, is :class:`sparknet.data.preprocess.Decode`'s part.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sparknet.clusters.spark.frames import is_frame
from sparknet.clusters.spark.sessions import check_rows
from sparknet.clusters.spark.tallies import Tallies, Tally
from sparknet.data.columns import check_columns
from sparknet.data.images import ImageDecoder, check_on_error
from sparknet.errors import DataError

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["BadImages", "decode_images"]

_LOG = logging.getLogger(__name__)
_NAMES = ("id", "path")  # columns that say which image a row has


def decode_images(
    rows: Any,
    decoder: ImageDecoder,
    *,
    image: str = "image",
    columns: Sequence[str] = ("image", "label"),
    on_error: str = "raise",
) -> tuple["RDD[Any]", "BadImages"]:
    """Decode the images of an RDD or DataFrame of rows.

    Parameters
    ----------
    rows
        Rows, mappings or tuples; a DataFrame of Spark's ``binaryFile`` or ``image`` source, or any other.
    decoder
        Size and channels of the pixels.
    image
        The column with the images: bytes of an image file, or what Spark's ``image`` source makes of
        one (whose channels, B, G, R, become R, G, B).
    columns
        What the values of plain tuples are called.
    on_error
        ``"raise"``: a bad image is a DataError, which fails the job. ``"drop"``: its row is left out,
        counted, and logged by its name in the executor's log.

    Returns
    -------
    rdd
        A dict column -> value for each good row, the image as pixels (c, h, w) uint8, for
        :func:`sparknet.spark.pack`. Nothing is decoded yet.
    bad
        What was dropped; complete once a job has gone through all rows.

    Raises
    ------
    DataError
        The DataFrame has no such column, or ``on_error`` is an unknown one.
    """
    check_on_error(on_error)
    check_rows(rows, "decode_images()")
    if is_frame(rows):
        check_columns([image], rows.columns, "decode_images(): the DataFrame")
        rows = rows.rdd
    bad = BadImages()
    tallies = bad.counted_by(rows.context)
    dropped = tallies if on_error == "drop" else None
    work = partial(_decoded, decoder=decoder, image=image, columns=tuple(columns), dropped=dropped)
    return rows.mapPartitionsWithIndex(work), bad


class BadImages(Tallies):
    """The images that :func:`decode_images` dropped.

    Attributes
    ----------
    count
        How many there are.
    reasons
        Name of an image -> what is wrong, for the first 20 of each partition.

    Notes
    -----
    A partition that is decoded again, because a task failed or its rows are used twice, counts once.
    """


# ---- in the Python workers
def _decoded(
    partition: int,
    rows: Iterable[Any],
    *,
    decoder: ImageDecoder,
    image: str,
    columns: Sequence[str],
    dropped: Any,
) -> Iterator[dict[str, Any]]:
    bad = Tally()
    for i, row in enumerate(rows):
        place = f"row {i} of partition {partition}"
        values = _as_mapping(row, columns, place)
        check_columns([image], list(values), place)
        try:
            pixels = _pixels(values[image], decoder)
        except DataError as error:
            name = _name(values, values[image], place)
            if dropped is None:
                msg = f"image {name!r}: {error}; repair it, leave it out, or pass on_error='drop'"
                raise DataError(msg) from error
            if bad.add(name, str(error)):
                _LOG.warning("dropped image %r: %s", name, error)
        else:
            yield {**values, image: pixels}
    if bad.count:
        _LOG.warning("dropped %d images of partition %d", bad.count, partition)
        dropped.add({partition: bad})


def _as_mapping(row: Any, columns: Sequence[str], place: str) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return row
    names = getattr(row, "__fields__", columns)  # pyspark.sql.Row
    if not isinstance(row, tuple | list) or len(row) != len(names):
        got = f"{len(row)} values" if isinstance(row, tuple | list) else f"a {type(row).__name__}"
        msg = f"{place} has {got}, expected {len(names)}: {', '.join(map(repr, names))} (pass columns= for others)"
        raise DataError(msg)
    return dict(zip(names, row, strict=True))


def _name(values: Mapping[str, Any], image: Any, place: str) -> str:
    """Return what the image of a row is called, or where the row is."""
    names = (*map(values.get, _NAMES), getattr(image, "origin", None), place)
    return next(str(name) for name in names if name)


def _pixels(value: Any, decoder: ImageDecoder) -> "np.ndarray[Any, Any]":
    if not hasattr(value, "nChannels"):
        return decoder(value)
    # Spark's `image` source: rows of B, G, R (and transparency) or gray; all lengths -1 where it failed.
    shape = value.height, value.width, value.nChannels
    if value.nChannels not in (1, 3, 4) or value.mode & 7 or len(value.data) != np.prod(shape):
        msg = (
            f"Spark's image source gives {shape[0]}x{shape[1]} pixels of {shape[2]} channels, OpenCV mode {value.mode}, "
            f"{len(value.data)} bytes; expected 1, 3 or 4 channels of 8 bits (is it a whole image file?)"
        )
        raise DataError(msg)
    return decoder.of_pixels(np.frombuffer(value.data, np.uint8).reshape(shape)[..., 2::-1])
