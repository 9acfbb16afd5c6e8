"""decode_images: rows with images, encoded or from Spark's ``image`` source, become rows with pixels.

It is for rows that are used several times, or whose bad images are to be left out before they are packed. ``pack``, ``predict``
and their like also decode themselves, with ``decoder=``. :class:`sparknet.data.preprocess.Decode` keeps images encoded in the
packed data set, and decodes them when a minibatch is used.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from sparknet.clusters.spark.jobs.sessions import check_rows
from sparknet.clusters.spark.jobs.tallies import Tallies, Tally
from sparknet.clusters.spark.packing.frames import check_image_column, check_rdd, is_frame
from sparknet.data.columns import check_columns
from sparknet.data.images import ImageDecoder
from sparknet.data.images.encoded import decoded
from sparknet.data.on_error import ERROR_OR_DROP, checked_on_error
from sparknet.errors import DataError

__all__ = ["BadImages", "decode_images"]

_LOG = logging.getLogger(__name__)
_NAMES = ("id", "path")  # columns that name the image of a row

Array = np.ndarray[Any, Any]


def decode_images(
    rows: Any,
    decoder: ImageDecoder,
    *,
    image: str = "image",
    columns: Sequence[str] = ("image", "label"),
    on_error: str = "error",
) -> tuple[Any, "BadImages"]:
    """Decode the images of an RDD or DataFrame of rows.

    Parameters
    ----------
    rows
        Rows, mappings or tuples; a DataFrame of Spark's ``binaryFile`` or ``image`` source, or any other.
    decoder
        Size and channels of the pixels.
    image
        The column with the images: the bytes of an image file, or a struct of Spark's ``image`` source (whose channels
        B, G, R become R, G, B), or a struct with the bytes as ``bytes``.
    columns
        The names of the values in plain tuples.
    on_error
        ``"error"``: a bad image raises a DataError, which fails the job. ``"drop"``: its row is left out and
        counted, and its name is in the log of the executor.

    Returns
    -------
    decoded
        The good rows, with pixels (c, h, w) uint8 in place of the images. Nothing is decoded yet. A DataFrame becomes a
        DataFrame whose image column is binary: the c·h·w bytes of the pixels, row by row, which :func:`sparknet.spark.pack`,
        :func:`~sparknet.spark.predict` and their like take for a field of uint8. An RDD becomes an RDD of dicts
        column -> value, with the pixels as a numpy array.
    bad
        The dropped images. It is complete after a job has gone through all rows.

    Raises
    ------
    DataError
        ``rows`` or ``decoder`` is of another type. The DataFrame has no such column, or one of another type. ``on_error`` is
        unknown.

    Notes
    -----
    To pack or predict once and drop nothing, ``decoder=`` of these functions costs less: the pixels of a DataFrame from
    here go through Spark's JVM before they are used.
    """
    on_error = checked_on_error(on_error, "decode_images()", ERROR_OR_DROP)
    check_rows(rows, "decode_images()")
    if not isinstance(decoder, ImageDecoder):
        msg = f"decode_images(): decoder: got {str(decoder)[:60]}, expected an ImageDecoder, such as ImageDecoder(224, 224)"
        raise DataError(msg)
    if isinstance(columns, str):  # a sequence of letters
        msg = f"decode_images(): columns: got {columns!r:.60}, expected a sequence of names, such as ({columns!r:.60},)"
        raise DataError(msg)
    bad = BadImages()
    rdd = rows.rdd if is_frame(rows) else rows
    check_rdd(rdd, "decode_images()")
    tallies = bad.counted_by(rdd.context)
    dropped = tallies if on_error == "drop" else None
    work = partial(_decoded, decoder=decoder, image=image, columns=tuple(columns), dropped=dropped)
    return (rdd.mapPartitionsWithIndex(work) if rdd is rows else _frame(rows, image, work)), bad


def _frame(frame: Any, image: str, work: Callable[..., Any]) -> Any:
    """Return the DataFrame with pixels, as binary, in place of its images."""
    from pyspark.sql.types import BinaryType, StructField, StructType

    (place,) = check_columns([image], frame.columns, "decode_images(): the DataFrame")
    check_image_column(frame.schema[place], "decode_images()")
    kinds = [*frame.schema.fields]
    kinds[place] = StructField(image, BinaryType(), nullable=False)
    rows = frame.rdd.mapPartitionsWithIndex(partial(work, join=partial(_with_bytes, place=place)))
    return frame.sparkSession.createDataFrame(rows, StructType(kinds), verifySchema=False)


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
    join: Callable[[Any, Array], Any] | None = None,
) -> Iterator[Any]:
    bad = Tally()
    for i, row in enumerate(rows):
        place = f"row {i} of partition {partition}"
        values = _as_mapping(row, columns, place)
        check_columns([image], list(values), place)
        try:
            pixels = decoded(values[image], decoder)
        except DataError as error:
            name = _name(values, values[image], place)
            if dropped is None:
                msg = f"image {name!r}: {error}; repair it, leave it out, or pass on_error='drop'"
                raise DataError(msg) from error
            if bad.add(name, str(error)):
                _LOG.warning("dropped image %r: %s", name, error)
        else:
            yield join(row, pixels) if join else {**values, image: pixels}
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
    """Return the name of a row's image, or the place of the row if it has none."""
    names = (*map(values.get, _NAMES), getattr(image, "origin", None), place)
    return next(str(name) for name in names if name)


def _with_bytes(row: Any, pixels: Array, *, place: int) -> tuple[Any, ...]:
    return (*row[:place], pixels.tobytes(), *row[place + 1 :])
