"""The cluster of ``sparknet train`` and the images on it: the option --master."""

import argparse
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np

from sparknet.clusters.local import LocalCluster
from sparknet.data.images.sets import ImageSet
from sparknet.data.packing import pack
from sparknet.data.preprocess import Preprocessor
from sparknet.errors import DataError
from sparknet.main_job.ctrl_c import CtrlC
from sparknet.training import Cluster

__all__ = ["check_workers", "packed_images"]

_SLICE_BYTES = 8 << 20  # Spark refuses tasks of 128 MiB and more


def check_workers(args: argparse.Namespace) -> None:
    """Raise a DataError unless the options about workers, cluster and rounds go together."""
    if args.transport is not None and args.master == "none":
        msg = f"--transport {args.transport}: it is about workers on Spark; leave it out, or give a --master"
        raise DataError(msg)
    if args.aggregation != "star" and args.master == "none" and args.processes is None:
        msg = f"--aggregation {args.aggregation}: in one process nothing is sent; leave it out, or give --processes {args.workers}"
        raise DataError(msg)
    if args.aggregation != "star" and args.transport == "spark":
        msg = f"--aggregation {args.aggregation}: with --transport spark each round is a job, and no worker stays; leave out one of both"
        raise DataError(msg)
    if not args.tau and not isinstance(args.max_seconds, float) and args.replay is None:
        msg = (
            "--tau 0: time alone ends a round then; give it with --max-seconds, such as --max-seconds 5, or more --tau"
        )
        raise DataError(msg)
    if args.min_workers is not None and args.min_workers > args.workers:
        msg = f"--min-workers {args.min_workers}: there are {args.workers} workers; give at most so many, or more --workers"
        raise DataError(msg)
    if args.processes is None:
        return
    if args.master != "none":
        msg = (
            f"--processes {args.processes}: with --master {args.master} Spark starts the workers; "
            "leave it out, or give --master none"
        )
        raise DataError(msg)
    if args.workers > args.processes:
        msg = (
            f"--workers {args.workers}: with --processes {args.processes} each worker is a process; "
            f"give --processes {args.workers}, or --workers {args.processes}"
        )
        raise DataError(msg)


@contextmanager
def packed_images(
    args: argparse.Namespace,
    images: ImageSet,
    sizes: tuple[int, int],
    preprocessor: Preprocessor | None,
    ctrl_c: CtrlC,
) -> Iterator[tuple[Cluster, Any, Any]]:
    """Yield the cluster and the images packed on it in minibatches of these sizes, for training (shuffled) and for test."""
    if args.master == "none":
        train, test = ({"data": data, "label": label} for data, label in (images.train, images.test))
        packed = partial(pack, fields=images.fields, preprocessor=preprocessor, ragged=args.ragged)
        yield (
            LocalCluster(processes=args.processes, aggregation=args.aggregation),
            packed(train, batch_size=sizes[0], shuffle=True, seed=args.seed),
            packed(test, batch_size=sizes[1]),
        )
        return
    from sparknet import spark as on_spark

    # pyspark warns of pandas wherever it is installed; nothing here uses it
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    session = on_spark.start_spark(args.master, timeout=args.timeout)
    ctrl_c.install()  # replaces pyspark's handler, which may fail before it raises
    _silence_py4j()
    try:
        on_cluster = partial(
            on_spark.pack, fields=images.fields, preprocessor=preprocessor, shards=args.workers, ragged=args.ragged
        )
        train, test = (_rows(session.sparkContext, *part, args.workers) for part in (images.train, images.test))
        packed_train = on_cluster(train, batch_size=sizes[0], shuffle=True, seed=args.seed)
        chosen = {"aggregation": args.aggregation} | ({} if args.transport is None else {"transport": args.transport})
        yield on_spark.SparkCluster(session, **chosen), packed_train, on_cluster(test, batch_size=sizes[1])
    finally:
        session.stop()


def _silence_py4j() -> None:
    """Log nothing of py4j from now on: it logs, with a traceback, each call on any connection that an interrupt breaks off.

    It logs to its own loggers and to the root logger.
    """
    logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)
    logging.getLogger().addFilter(_is_not_of_py4j)


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    return PurePath(record.pathname).parent.name != "py4j"


def _rows(context: Any, data: Any, label: Any, slices: int) -> Any:
    """Return an RDD of (image, label); the arrays travel in slices, and tasks make rows of them."""
    slices = max(slices, -(-data.nbytes // _SLICE_BYTES))
    parts = [(data[part], label[part]) for part in np.array_split(np.arange(len(data)), slices)]
    return context.parallelize(parts, slices).flatMap(_zipped)


def _zipped(part: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    return zip(*part, strict=True)
