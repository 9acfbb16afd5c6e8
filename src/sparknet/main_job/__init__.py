"""The main job of ``sparknet train``: images, a net, a cluster, rounds, and files in ``--out``.

All input is checked before anything is written, the cheapest first: arguments, images, net, whether they fit, and only then the
cluster. Each group of options has a module here: ``nets`` (--net, --solver), ``pixels`` (--bgr, --scale), ``start`` (--weights),
``rules`` (--rule), ``master`` (--master), ``former`` (--replay, --checkpoint).
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sparknet.data.dataset import Dataset
from sparknet.data.images.sets import ImageSet, load_image_set
from sparknet.data.layout import check_shards
from sparknet.data.packing import pack
from sparknet.data.preprocess import Preprocessor
from sparknet.errors import SparknetError, TrainingError
from sparknet.formats.contents import TENSOR_NAMES
from sparknet.main_job.ctrl_c import CtrlC
from sparknet.main_job.former import checkpoint_options, replayed
from sparknet.main_job.master import check_workers, packed_images
from sparknet.main_job.nets import factory_of, sent_by_file
from sparknet.main_job.pixels import pixel_steps, preprocessor_of
from sparknet.main_job.rules import rule_of
from sparknet.main_job.start import order_notes, start_weights
from sparknet.nets.base import Net
from sparknet.report import (
    EVENTS,
    WEIGHTS,
    WEIGHTS_OF_CAFFE,
    check_folder,
    collected_log,
    input_lines,
    opened_folder,
    printed_warnings,
    round_line,
)
from sparknet.serialization.visible import say
from sparknet.serialization.writing import write_file
from sparknet.training import EventLog, Goodput, Round, averaged_sgd, check_fit
from sparknet.weights import WeightCollection

__all__ = ["run"]


def run(args: argparse.Namespace) -> None:
    """Run the job that the command line describes; progress goes to standard output."""
    ctrl_c = CtrlC()
    with printed_warnings(), ctrl_c.installed():
        _run(args, ctrl_c)


def _run(args: argparse.Namespace, ctrl_c: CtrlC) -> None:
    rule = rule_of(args, replayed(args))
    check_workers(args)
    kept = checkpoint_options(args)
    images = load_image_set(args.data)
    with collected_log("sparknet.nets.caffe") as notes:
        factory, batch_size = factory_of(args, images)
    steps = pixel_steps(args, images)
    preprocessor = preprocessor_of(steps)
    first = _first_batch(images, batch_size, args.workers, preprocessor)
    with collected_log("sparknet"):  # the training logs the same again
        net = check_fit(factory, first, args.seed)
    weights = start_weights(net, args)
    out = check_folder(args.out)
    say(f"{args.data}: {len(images.train[0]):,} images to train, {len(images.test[0]):,} to test")
    lines = input_lines(net, first, list(steps), {"data": images.order})
    say(*lines, *order_notes(args, images.order), *notes)
    # a test minibatch is not split into passes
    test_rows = net.even(train=False).batch_size if hasattr(net, "even") else batch_size
    with (
        collected_log("sparknet.data.ragged") as said,
        packed_images(args, images, (batch_size, test_rows), preprocessor, ctrl_c) as (cluster, train, test),
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
            max_seconds=args.max_seconds,
            min_workers=args.min_workers,
            evaluate=(test, args.test_every),
            weights=weights,
            on_nonfinite=args.on_nonfinite,
            replay=args.replay,
            **kept,
        )
        say(*said)
        said.clear()
        # released before the session is stopped
        with (
            opened_folder(out),
            closing(rounds),
            EventLog(out / EVENTS, goes_on=rounds.finished > 0) as log,
            sent_by_file(args),
        ):
            log.goes_on_after(rounds.finished - 1, rounds.decided)
            settings = {name: value for name, value in vars(args).items() if not callable(value)}
            log.start(**{**settings, "net": None if args.solver else args.net, "batch_size": batch_size})
            if rounds.finished >= args.rounds:
                written = _written(net, rounds.weights, out, round=rounds.finished - 1)
                say(f"no round is left; wrote {', '.join(map(str, written))}")
            _follow(_checked(rounds, ctrl_c), args.rounds, out, net, log)


def _checked(rounds: Iterator[Round], ctrl_c: CtrlC) -> Iterator[Round]:
    """Yield the rounds; raise KeyboardInterrupt before the next one if Ctrl-C has come."""
    for each in rounds:
        yield each
        ctrl_c.check()


def _follow(rounds: Iterator[Round], total: int, out: Path, net: Net, log: EventLog) -> None:
    """Show, log and save each round; at the end, write the weights of the last finished round in every format.

    Files have been written by now, so an error from here on is a TrainingError.
    """
    last, goodput = None, Goodput()
    try:
        try:
            for last in rounds:
                goodput += last.goodput
                _save_weights(net, last.weights, out, round=last.index, loss=last.loss)
                log.round(last)
                say(round_line(last, total))
        finally:  # also after Ctrl-C at any moment: both files are of the same round
            if last is not None:
                written = _written(net, last.weights, out, round=last.index, loss=last.loss)
                log.end(last.index + 1, total, last.metrics, goodput)
                say(str(goodput))
                say(f"{last.index + 1} of {total} rounds done; wrote {', '.join(map(str, written))}")
    except (SparknetError, OSError) as error:
        raise TrainingError(str(error), traceback=getattr(error, "traceback", "")) from error


def _written(net: Net, weights: WeightCollection, out: Path, **facts: Any) -> list[Path]:
    """Write the weights in every format; return the files."""
    return [_save_weights(net, weights, out, **facts), *_save_caffemodel(net, weights, out)]


def _save_weights(net: Net, weights: WeightCollection, out: Path, **facts: Any) -> Path:
    path = out / WEIGHTS
    names = getattr(net, TENSOR_NAMES, None)
    if names is not None:
        facts[TENSOR_NAMES] = json.dumps(names)
    write_file(path, weights, follow_links=False, metadata=facts)
    return path


def _save_caffemodel(net: Net, weights: WeightCollection, out: Path) -> list[Path]:
    save_weights = getattr(net, "save_weights", None)
    if save_weights is None:
        return []
    net.set_weights(weights)
    path = out / WEIGHTS_OF_CAFFE
    save_weights(path, follow_links=False)
    return [path]


def _first_batch(images: ImageSet, batch_size: int, workers: int, preprocessor: Preprocessor | None) -> Dataset:
    """Return the first images, packed, for a trial of the net; a DataError if there are too few images for the workers."""
    check_shards(-(-len(images.train[0]) // batch_size), workers, batch_size)
    columns = {"data": images.train[0][:batch_size], "label": images.train[1][:batch_size]}
    return pack(columns, images.fields, batch_size, preprocessor)
