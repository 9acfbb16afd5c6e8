"""Image files as rows on Spark: from folders and tar files, with labels.

Spark's ``binaryFile`` source finds and reads the files, so any file system that Spark knows can be used. Only tar files on a
file system of the machine are opened by the tasks themselves, which read them image by image, whatever their size.
"""

import codecs
import io
import logging
import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sparknet.clusters.spark.jobs.running import run_job, telling_line
from sparknet.clusters.spark.jobs.sessions import running_context
from sparknet.data.images.decoder import SUFFIXES
from sparknet.data.images.folders import check_folders
from sparknet.data.images.labels import label_of, parse_labels
from sparknet.data.images.tars import images_of_tar
from sparknet.errors import DataError
from sparknet.files.regular import open_regular

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["image_classes", "read_image_tars", "read_images"]

_LOG = logging.getLogger(__name__)
AnyPath = str | os.PathLike[str]
Labels = Mapping[str, int] | AnyPath | None
_LOCAL = "file:"
_IMAGES = rf"(?i)({'|'.join(SUFFIXES).replace('.', '[.]')})$"


def read_images(spark: Any, path: AnyPath, labels: Labels = None) -> "RDD[Any]":
    """Read image files, in folders of any depth, as Rows ``(id, image, label)``.

    Parameters
    ----------
    spark
        A SparkSession.
    path
        A folder, a file or a pattern, on any file system that Spark knows. Files whose names do not end
        like those of images (.jpg, .jpeg, .png, .bmp, .gif, .ppm, .pgm, .webp) are left out. Spark also leaves
        out files and folders whose names begin with ``_`` or ``.``: rename them.
    labels
        The labels of the images: a mapping name -> label, or the path of a label file with ``name label`` on each
        line. A name is the path of the image or any end of it, or its folder; :func:`image_classes` gives labels
        by folders. None: rows have no label.

    Returns
    -------
    RDD of Row
        ``id`` is the path (str), ``image`` the contents (bytes; an empty file has none), ``label`` an int. Nothing is
        read yet. The order depends on the cluster; ``rows.sortBy(lambda row: row.id)`` gives the same order everywhere.

    Raises
    ------
    DataError
        The path does not exist, there is no image under it, or the label file is malformed. An image
        without a label raises it when the rows are used. On a file system of the machine: a link leads to a folder that
        it is in, or a FIFO, socket or device has the name of an image.

    Notes
    -----
    Spark follows links. On a file system of the machine the log (``sparknet.clusters.spark.images.reading``) names those that lead
    out of the folder, to files that are in it anyway, or nowhere, and files whose names Java cannot read, which are left out.
    """
    files, empty = _image_files(spark, path, "read_images()")
    images = files.select("path", "content").rdd.map(tuple)
    if empty:
        images = images.union(spark.sparkContext.parallelize([(name, b"") for name in empty], 1))
    return _labelled(spark, images, labels)


def read_image_tars(spark: Any, path: AnyPath, labels: Labels = None) -> "RDD[Any]":
    """Read the images in tar files, as ImageNet has them, as Rows ``(id, image, label)``.

    Parameters
    ----------
    spark
        A SparkSession.
    path
        A folder with files ``*.tar`` at any depth, one such file, or a pattern. They must not be compressed. Spark leaves
        out files and folders whose names begin with ``_`` or ``.``.
    labels
        As for :func:`read_images`; a tar file counts as a folder of its name without ``.tar``.

    Returns
    -------
    RDD of Row
        As from :func:`read_images`; ``id`` is the path of the tar file and that of the image in it. On a file
        system of the machine (``file:``, which all machines must share then) there is a task for each tar file, in
        the order of the paths, with one image in memory at a time. On other file systems Spark reads whole tar
        files, of at most 2 GiB.

    Raises
    ------
    DataError
        As for :func:`read_images`. When the rows are used: a tar file is damaged or truncated, or has an image of more than
        256 MiB, or a link, FIFO or device with the name of an image.
    """
    tars = _files(spark, path, "read_image_tars()", "*.tar")
    paths = sorted(row.path for row in run_job(tars.select("path").collect))
    if not paths:
        msg = f"{path}: there is no file *.tar"
        raise DataError(msg)
    if all(tar.startswith(_LOCAL) for tar in paths):
        images = spark.sparkContext.parallelize(paths, len(paths)).flatMap(_images_of_local_tar)
    else:
        images = tars.select("path", "content").rdd.flatMap(_images_of_tar_row)
    return _labelled(spark, images, labels)


def image_classes(spark: Any, path: AnyPath) -> dict[str, int]:
    """Return folder -> label for images with a folder for each class: 0, 1, ... in the order of the folders' names.

    Use those of the training images for the test images too: ``read_images(spark, "test", classes)``.
    """
    files, empty = _image_files(spark, path, "image_classes()")
    paths = files.select("path").rdd.map(lambda row: row.path)
    folders = {*run_job(paths.map(_folder).distinct().collect), *map(_folder, empty)}
    return {name: label for label, name in enumerate(sorted(folders))}


def _image_files(spark: Any, path: AnyPath, caller: str) -> tuple[Any, list[str]]:
    """Return a DataFrame of the image files under ``path``, and the paths of the empty files, which are not in it."""
    files = _files(spark, path, caller)
    images = files.filter(files.path.rlike(_IMAGES))
    empty = _empty_images(files, images) if _has_empty_files(files) else []
    if not empty and not run_job(lambda: images.select("path").head(1)):
        msg = f"{path}: there is no image file ({', '.join(SUFFIXES)})"
        raise DataError(msg)
    return images, empty


def _has_empty_files(files: Any) -> bool:
    """Say whether there may be empty files, which Spark lists but does not read. No job is run."""
    try:
        listing = files._jdf.queryExecution().analyzed().relation().location()
        no_filters = files.sparkSession._jvm.PythonUtils.toSeq([])
        return bool(listing.allFiles().size() > listing.listFiles(no_filters, no_filters).head().files().size())
    except Exception:  # noqa: BLE001 - not Spark's public API: another version may differ
        return True


def _empty_images(files: Any, images: Any) -> list[str]:
    """Return the paths of the empty images, written as Spark writes those of the others."""
    read = {row.path for row in run_job(images.select("path").collect)}
    listed = (re.sub(f"^{_LOCAL}/+", f"{_LOCAL}/", unquote(uri)) for uri in files.inputFiles())
    return sorted(name for name in listed if name.lower().endswith(SUFFIXES) and name not in read)


def _files(spark: Any, path: AnyPath, caller: str, pattern: str = "*") -> Any:
    """Return a DataFrame of the files under ``path``. Contents are read only if they are selected."""
    if not hasattr(spark, "read"):
        msg = f"{caller}: got {type(spark).__name__}, expected a SparkSession"
        raise DataError(msg)
    running_context(spark, caller)
    suffixes = SUFFIXES if pattern == "*" else (pattern.removeprefix("*"),)
    for sentence in check_folders(_local_paths(spark, os.fspath(path)), suffixes, _encoding_of_names(spark)):
        _LOG.warning("%s: %s", path, sentence)
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true").option("pathGlobFilter", pattern)
    try:
        return reader.load(os.fspath(path))
    except Exception as error:
        msg = f"{path}: {telling_line(error)}"
        raise DataError(msg) from error


def _local_paths(spark: Any, path: str) -> list[str]:
    """Return the paths that a path or pattern leads to, if they are on a file system of this machine; else none."""
    jvm = spark._jvm
    try:
        pattern = jvm.org.apache.hadoop.fs.Path(path)
        if pattern.getFileSystem(spark._jsc.hadoopConfiguration()).getUri().getScheme() != _LOCAL.removesuffix(":"):
            return []
        found = jvm.org.apache.spark.deploy.SparkHadoopUtil.get().globPath(pattern).mkString("\0")
    except Exception:  # noqa: BLE001 - the error of a wrong path comes when Spark loads it
        return []
    return [re.sub(f"^{_LOCAL}/+", "/", each) for each in found.split("\0")] if found else []


def _encoding_of_names(spark: Any) -> str:
    """Return Python's name of the encoding in which Java reads and writes file names."""
    name = spark._jvm.java.lang.System.getProperty("sun.jnu.encoding") or "utf-8"
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "utf-8"


def _labelled(spark: Any, images: "RDD[Any]", labels: Labels) -> "RDD[Any]":
    """Return Rows of (path, contents) pairs, with their labels if there are any."""
    if labels is None:
        return images.map(partial(_row, labels=None))
    table = dict(labels) if isinstance(labels, Mapping) else _read_labels(spark, os.fspath(labels))
    return images.map(partial(_row, labels=spark.sparkContext.broadcast(table)))


def _read_labels(spark: Any, path: str) -> dict[str, int]:
    try:
        lines = spark.sparkContext.textFile(path).collect()
    except Exception as error:
        msg = f"label file {path}: {telling_line(error)}"
        raise DataError(msg) from error
    return parse_labels(lines, path)


# ---- in the Python workers
def _row(image: tuple[str, bytes], *, labels: Any) -> Any:
    from pyspark.sql import Row

    path, data = image
    if labels is None:
        return Row(id=path, image=data)
    return Row(id=path, image=data, label=label_of(path, labels.value))


def _folder(path: str) -> str:
    return path.rpartition("/")[0].rpartition("/")[2]


def _images_of_local_tar(path: str) -> Iterator[tuple[str, bytes]]:
    try:
        file = open_regular(Path(path.removeprefix(_LOCAL)))
    except OSError as error:
        msg = f"{path}: {error.strerror}, on this machine; a tar file must be where every machine can read it"
        raise DataError(msg) from error
    with file:
        yield from images_of_tar(file, path)


def _images_of_tar_row(row: Any) -> Iterator[tuple[str, bytes]]:
    return images_of_tar(io.BytesIO(row.content), row.path)
