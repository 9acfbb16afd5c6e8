"""The main job behind ``sparknet train``: images, a net, a cluster, rounds, and files in ``--out``.

Everything that can be wrong is checked in the order of its cost, and before anything is written:
arguments, images, net, whether they fit, and only then the cluster.
"""

import argparse
import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.clusters.local import LocalCluster
from sparknet.data.dataset import Dataset
from sparknet.data.images.sets import ImageSet, load_image_set
from sparknet.data.layout import check_shards
from sparknet.data.packing import pack
from sparknet.data.preprocess import Preprocessor
from sparknet.errors import BrokenOff, DataError, SparknetError
from sparknet.main_job.pixels import pixel_steps, preprocessor_of
from sparknet.main_job.rules import rule_of
from sparknet.main_job.start import order_notes, start_weights
from sparknet.nets.base import Net, NetFactory
from sparknet.nets.mlp import MLP
from sparknet.report import (
    EVENTS,
    WEIGHTS,
    WEIGHTS_OF_CAFFE,
    EventLog,
    check_folder,
    input_lines,
    opened_folder,
    round_line,
    shown,
    told,
)
from sparknet.serialization.visible import say
from sparknet.serialization.writing import write_file
from sparknet.training import Cluster, Round, averaged_sgd, check_fit

__all__ = ["run"]

_DEFAULT_BATCH = 64
_MLP_RATE = 0.05
_SLICE_BYTES = 8 << 20  # Spark refuses tasks of 128 MiB and more


class _CtrlC:
    """Ctrl-C as a KeyboardInterrupt that is not lost.

    Python drops an exception that comes up in the callback of a weak reference. A thread that has ended has such a
    callback, and each round has threads. So it is also kept that Ctrl-C came, for :meth:`check` after the round.
    """

    def __init__(self) -> None:
        self._came = False

    def install(self) -> None:
        """Take the place of the handler that is there."""
        signal.signal(signal.SIGINT, self._interrupt)

    def check(self) -> None:
        """Raise the KeyboardInterrupt if Ctrl-C has come."""
        if self._came:
            raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> None:
        self._came = True
        raise KeyboardInterrupt


def run(args: argparse.Namespace) -> None:
    """Run the job that the command line's ``args`` describe; progress goes to standard output."""
    before, ctrl_c = signal.getsignal(signal.SIGINT), _CtrlC()
    if before is not signal.default_int_handler:  # ignored in a job in the background; or a caller's own
        _run(args, ctrl_c)
        return
    ctrl_c.install()
    try:
        _run(args, ctrl_c)
    finally:
        signal.signal(signal.SIGINT, before)


def _run(args: argparse.Namespace, ctrl_c: _CtrlC) -> None:
    rule = rule_of(args)
    images = load_image_set(args.data)
    with told("sparknet.nets.caffe") as notes:
        factory, batch_size = _factory(args, images)
    steps = pixel_steps(args, images)
    preprocessor = preprocessor_of(steps)
    first = _first_batch(images, batch_size, args.workers, preprocessor)
    with told("sparknet"):  # the training says the same again
        net = check_fit(factory, first, args.seed)
    weights = start_weights(net, args)
    out = check_folder(args.out)
    say(f"{args.data}: {len(images.train[0]):,} images to train, {len(images.test[0]):,} to test")
    lines = input_lines(net, first, list(steps), {"data": images.order})
    say(*lines, *order_notes(args, images.order), *notes)
    # a test has no passes to share
    test_rows = net.even(train=False).batch_size if hasattr(net, "even") else batch_size
    with (
        told("sparknet.data.ragged") as said,
        shown("sparknet.clusters.spark.jobs.watching"),
        _packed(args, images, (batch_size, test_rows), preprocessor, ctrl_c) as (cluster, train, test),
    ):
        rounds = averaged_sgd(
            factory,
            train,
            cluster=cluster,
            workers=args.workers,
            tau=args.tau,
            rounds=args.rounds,
            rule=rule,
            seed=args.seed,
            evaluate=(test, args.test_every),
            weights=weights,
            on_nonfinite=args.on_nonfinite,
        )
        say(*said)
        said.clear()
        # released before the session is stopped
        with opened_folder(out), closing(rounds), EventLog(out / EVENTS) as log:
            settings = {name: value for name, value in vars(args).items() if not callable(value)}
            log.start(**{**settings, "net": None if args.solver else args.net, "batch_size": batch_size})
            _follow(_checked(rounds, ctrl_c), args.rounds, out, net, log)


def _checked(rounds: Iterator[Round], ctrl_c: _CtrlC) -> Iterator[Round]:
    """Yield the rounds, and go on to the next one only if Ctrl-C has not come."""
    for each in rounds:
        yield each
        ctrl_c.check()


def _follow(rounds: Iterator[Round], total: int, out: Path, net: Net, log: EventLog) -> None:
    """Show, log and save each round; leave the last finished one's weights in every form.

    Something has been written by now, so what fails from here on is a BrokenOff.
    """
    last = None
    try:
        try:
            for last in rounds:
                _save_weights(last, out)
                log.round(last)
                say(round_line(last, total))
        finally:  # also after Ctrl-C, wherever it came: both files are of the same round
            if last is not None:
                written = [_save_weights(last, out), *_save_caffemodel(net, last, out)]
                log.write("end", rounds=last.index + 1, finished=last.index + 1 == total, metrics=dict(last.metrics))
                say(f"{last.index + 1} of {total} rounds done; wrote {', '.join(map(str, written))}")
    except (SparknetError, OSError) as error:
        raise BrokenOff(str(error), traceback=getattr(error, "traceback", "")) from error


def _save_weights(result: Round, out: Path) -> Path:
    path = out / WEIGHTS
    write_file(path, result.weights, follow_links=False, metadata={"round": result.index, "loss": result.loss})
    return path


def _save_caffemodel(net: Net, last: Round, out: Path) -> list[Path]:
    save_weights = getattr(net, "save_weights", None)
    if save_weights is None:
        return []
    net.set_weights(last.weights)
    path = out / WEIGHTS_OF_CAFFE
    save_weights(path, follow_links=False)
    return [path]


def _factory(args: argparse.Namespace, images: ImageSet) -> tuple[NetFactory, int]:
    if args.solver is None:
        shape = images.train[0].shape[1:]
        options = {"learning_rate": args.learning_rate or _MLP_RATE, "momentum": args.momentum}
        return MLP.factory(shape, images.classes, args.hidden, **options), args.batch_size or _DEFAULT_BATCH
    from sparknet.nets.caffe import CaffeNet

    made = partial(
        CaffeNet.factory,
        solver=args.solver,
        fields=images.fields,
        solver_overrides=_overrides(args),
        unknown_fields="drop" if args.drop_unknown_fields else "error",
        trust=args.trust,
    )
    factory = made(batch_size=args.batch_size)
    net = factory(seed=args.seed)
    rows = net.input_shapes.get("data", (_DEFAULT_BATCH,))[0]
    if net.passes == 1:
        return factory, rows
    batch_size = args.batch_size or net.passes * rows
    if batch_size % net.passes:
        msg = f"--batch-size {batch_size}: expected a multiple of the solver's iter_size, {net.passes}"
        raise DataError(msg)
    rows = batch_size // net.passes
    say(f"iter_size {net.passes}: minibatches of {batch_size} images, each in {net.passes} passes of {rows}")
    return made(batch_size=rows), batch_size


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the solver that the command line has other values for."""
    rate = {"base_lr": args.learning_rate} if args.learning_rate else {}
    return rate | ({} if args.weights is None else {"weights": []})


def _first_batch(images: ImageSet, batch_size: int, workers: int, preprocessor: Preprocessor | None) -> Dataset:
    """Return the first images, packed, on which every misfit of the net shows; a DataError if there are too few for the workers."""
    check_shards(-(-len(images.train[0]) // batch_size), workers, batch_size)
    columns = {"data": images.train[0][:batch_size], "label": images.train[1][:batch_size]}
    return pack(columns, images.fields, batch_size, preprocessor)


@contextmanager
def _packed(
    args: argparse.Namespace,
    images: ImageSet,
    sizes: tuple[int, int],
    preprocessor: Preprocessor | None,
    ctrl_c: _CtrlC,
) -> Iterator[tuple[Cluster, Any, Any]]:
    """Yield the cluster and the images packed on it in minibatches of these sizes, for training (shuffled) and for test."""
    if args.master == "none":
        train, test = ({"data": data, "label": label} for data, label in (images.train, images.test))
        packed = partial(pack, fields=images.fields, preprocessor=preprocessor, ragged=args.ragged)
        yield (
            LocalCluster(),
            packed(train, batch_size=sizes[0], shuffle=True, seed=args.seed),
            packed(test, batch_size=sizes[1]),
        )
        return
    from sparknet import spark as on_spark

    # pyspark says so wherever pandas is installed; nothing here uses it
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    session = on_spark.start_spark(args.master, timeout=args.timeout)
    ctrl_c.install()  # plainly an exception here: pyspark's handler may fail on its way
    # py4j logs to the root logger, with tracebacks, what an interrupt breaks off in other threads and on other connections too
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        on_cluster = partial(
            on_spark.pack, fields=images.fields, preprocessor=preprocessor, shards=args.workers, ragged=args.ragged
        )
        train, test = (_rows(session.sparkContext, *part, args.workers) for part in (images.train, images.test))
        packed_train = on_cluster(train, batch_size=sizes[0], shuffle=True, seed=args.seed)
        yield on_spark.SparkCluster(session), packed_train, on_cluster(test, batch_size=sizes[1])
    finally:
        session.stop()


def _rows(context: Any, data: Any, label: Any, slices: int) -> Any:
    """Return an RDD of (image, label); the arrays travel in slices and become rows where they arrive."""
    slices = max(slices, -(-data.nbytes // _SLICE_BYTES))
    parts = [(data[part], label[part]) for part in np.array_split(np.arange(len(data)), slices)]
    return context.parallelize(parts, slices).flatMap(_zipped)


def _zipped(part: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    return zip(*part, strict=True)
