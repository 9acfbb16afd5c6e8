"""Packed data sets in files that Spark reaches: sequence files of messages, and a manifest.

``PATH/batches`` holds (minibatch number, message) pairs, ``PATH/manifest`` one line of JSON. Spark writes both under
temporary names first. The manifest is written last, so a data set without one is not complete.
"""

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparknet.clusters.spark.jobs.running import run_job
from sparknet.clusters.spark.packed.manifest import FORMAT, Manifest
from sparknet.errors import ClusterError, DataError, FormatError
from sparknet.files.regular import kind_of

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["read", "write"]

_LOG = logging.getLogger(__name__)
_ROOT = re.compile(r"([\w+.-]+:(//[^/]*)?)?/*")  # of a file system, such as "/" or "hdfs://host"
_KEYS, _VALUES = "org.apache.hadoop.io.IntWritable", "org.apache.hadoop.io.BytesWritable"


def write(batches: "RDD[tuple[int, bytes]]", path: str, manifest: Manifest) -> None:
    """Write a packed data set under ``path``, which must not exist."""
    if _ROOT.fullmatch(path):
        msg = f"save(): got the path {path!r}, expected a directory that does not exist yet, such as /data/train"
        raise DataError(msg)
    text, manifest = manifest.written()
    signed, lines = batches.map(manifest.signed), batches.context.parallelize([text], 1)
    try:
        run_job(lambda: signed.saveAsSequenceFile(f"{path}/batches"))
        run_job(lambda: lines.saveAsTextFile(f"{path}/manifest"))
    except ClusterError as error:
        if "already exists" not in str(error):
            raise error.placed(f"save(): {path}, of which a part may be written") from error
        msg = f"save(): {path} exists, with a data set or a part of one; choose another path, or remove it first"
        raise DataError(msg) from error


def read(context: Any, path: str) -> tuple["RDD[tuple[int, bytes]]", Manifest]:
    """Return the (minibatch number, message) pairs under ``path``, in any order, and their manifest.

    The first pair is compared with the manifest now, the others when they are used.

    Raises
    ------
    DataError
        There is no manifest, or it has another format or is that of other minibatches; or there is a FIFO, device, socket or
        folder among the files.
    ClusterError
        The files of the minibatches cannot be read.
    """
    _check_kinds(context, path)
    try:
        text = "".join(run_job(context.textFile(f"{path}/manifest").collect))
    except ClusterError as error:
        msg = (
            f"load_packed(): there is no manifest under {path}, which save() writes last: it holds no packed data set, "
            f"or a part of one whose saving broke off; save it again ({error})"
        )
        raise DataError(msg) from error
    try:
        manifest = Manifest.parsed(text)
    except DataError as error:
        msg = f"load_packed(): {path}/manifest is {text[:80]!r}; expected that of a {FORMAT}: {error}"
        raise DataError(msg) from error
    batches = run_job(lambda: context.sequenceFile(f"{path}/batches", _KEYS, _VALUES))
    _check_files(path, batches, manifest)
    if manifest.digest is None:
        _LOG.warning(
            "load_packed(): %s was saved by an older sparknet, and its minibatches carry no identity: those of another set "
            "with the same fields would not be noticed; save it again",
            path,
        )
    return batches.map(manifest.checked), manifest


def _check_kinds(context: Any, path: str) -> None:
    """Raise a DataError unless all files of a set on this machine are regular ones: Spark waits for the writer of a FIFO."""
    for folder in (_local(context, f"{path}/{name}") for name in ("manifest", "batches")):
        if folder is None:
            continue
        for file in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
            kind = kind_of(file.stat().st_mode) if file.exists() else None
            # Of names that begin so Spark reads those of its checksum files alone.
            is_passed_over = file.is_dir() and file.name.startswith((".", "_")) and file.suffix != ".crc"
            if kind is not None and not is_passed_over:
                msg = f"load_packed(): {file} is {kind}, expected the regular files that save() writes alone; save it again"
                raise DataError(msg)


def _local(context: Any, path: str) -> Path | None:
    """Return the path on this machine's file system that Spark reads; None for another one, or none."""

    def found() -> str | None:
        hadoop = context._jvm.org.apache.hadoop.fs.Path(path)
        system = hadoop.getFileSystem(context._jsc.hadoopConfiguration())
        return str(system.makeQualified(hadoop).toUri().getPath()) if system.getScheme() == "file" else None

    try:
        local = run_job(found)
    except ClusterError:  # reading tells the reason
        return None
    return None if local is None else Path(local)


def _check_files(path: str, batches: Any, manifest: Manifest) -> None:
    """Raise a DataError unless there is a file for each shard, and the first minibatch is of this set."""
    files = run_job(batches.getNumPartitions)
    if files < manifest.layout.shards:  # large files are read in several parts
        msg = (
            f"load_packed(): {path}/manifest says {manifest.layout.shards} shards, and {path}/batches has files of {files}: "
            "some are missing, or the manifest is wrong; save it again"
        )
        raise DataError(msg)
    try:
        manifest.checked(run_job(batches.first))
    except (DataError, FormatError) as error:
        msg = f"load_packed(): {path}/manifest does not fit {path}/batches: {error}; save it again"
        raise DataError(msg) from error
