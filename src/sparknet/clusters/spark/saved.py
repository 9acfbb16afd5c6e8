"""Packed data sets on storage that Spark reaches: sequence files of our messages, and a manifest.

``PATH/batches`` holds (minibatch number, message) pairs, ``PATH/manifest`` one line of JSON. Spark
writes both by way of temporary names, the manifest last: a set without one was never finished.
"""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sparknet.clusters.spark.jobs import run_job
from sparknet.data.fields import Field
from sparknet.data.layout import Layout
from sparknet.data.ragged import check_ragged
from sparknet.errors import ClusterError, DataError

if TYPE_CHECKING:
    from pyspark import RDD

__all__ = ["read", "write"]

_FORMAT = "sparknet packed data set, version 1"
_ROOT = re.compile(r"([\w+.-]+:(//[^/]*)?)?/*")  # of a file system, such as "/" or "hdfs://host"
_KEYS, _VALUES = "org.apache.hadoop.io.IntWritable", "org.apache.hadoop.io.BytesWritable"


def write(
    batches: "RDD[tuple[int, bytes]]", path: str, fields: tuple[Field, ...], layout: Layout, choice: Mapping[str, Any]
) -> None:
    """Write a packed data set under ``path``, which must not exist; ``choice`` is its ``ragged`` and ``padding``."""
    if _ROOT.fullmatch(path):
        msg = f"save(): got the path {path!r}, expected a directory that does not exist yet, such as /data/train"
        raise DataError(msg)
    manifest = {
        "format": _FORMAT,
        "fields": [[f.name, f.shape, f.dtype, *([f.batch_axis] if f.batch_axis else [])] for f in fields],
        "examples": layout.total,
        "batch_size": layout.batch_size,
        "shards": layout.shards,
        **choice,
    }
    lines = batches.context.parallelize([json.dumps(manifest)], 1)
    try:
        run_job(lambda: batches.saveAsSequenceFile(f"{path}/batches"))
        run_job(lambda: lines.saveAsTextFile(f"{path}/manifest"))
    except ClusterError as error:
        if "already exists" not in str(error):
            raise
        msg = f"save(): {path} exists, with a data set or a part of one; choose another path, or remove it first"
        raise DataError(msg) from error


def read(context: Any, path: str) -> tuple["RDD[tuple[int, bytes]]", tuple[Field, ...], Layout, dict[str, Any]]:
    """Return the (minibatch number, message) pairs under ``path``, in any order, and what the manifest says.

    Raises
    ------
    DataError
        There is no manifest, or not one of this format.
    """
    try:
        text = "".join(run_job(context.textFile(f"{path}/manifest").collect))
    except ClusterError as error:
        msg = (
            f"load_packed(): there is no manifest under {path}, which save() writes last: it holds no packed data set, "
            f"or a part of one whose saving broke off; save it again ({error})"
        )
        raise DataError(msg) from error
    try:
        fields, layout, choice = _parsed(text)
    except (ValueError, KeyError, TypeError) as error:
        msg = f"load_packed(): {path}/manifest is {text[:80]!r}; expected that of a {_FORMAT}"
        raise DataError(msg) from error
    return context.sequenceFile(f"{path}/batches", _KEYS, _VALUES), fields, layout, choice


def _parsed(text: str) -> tuple[tuple[Field, ...], Layout, dict[str, Any]]:
    manifest = json.loads(text)
    if manifest["format"] != _FORMAT:
        raise ValueError(manifest["format"])
    fields = tuple(
        Field(name, tuple(shape), dtype, batch_axis=sum(axis)) for name, shape, dtype, *axis in manifest["fields"]
    )
    choice = {name: manifest.get(name) for name in ("ragged", "padding")}
    check_ragged(choice["ragged"], choice["padding"], [field.name for field in fields])
    return fields, Layout(manifest["examples"], manifest["batch_size"], manifest["shards"]), choice
