"""The net of ``sparknet train``: the options --net, --solver and what changes them."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sparknet.data.images.sets import ImageSet
from sparknet.errors import DataError, TrainingError
from sparknet.nets.base import NetFactory
from sparknet.nets.mlp import MLP
from sparknet.serialization.visible import say

__all__ = ["factory_of", "sent_by_file"]

_DEFAULT_BATCH = 64
_TORCH = "torch:"
_MLP_RATE = 0.05


def factory_of(args: argparse.Namespace, images: ImageSet) -> tuple[NetFactory, int]:
    """Return the factory of the net, and the number of images in a minibatch.

    Raises
    ------
    SparknetError
        The solver or its net does not fit the images or the options.
    """
    if args.solver is None and args.net.startswith(_TORCH):
        from sparknet.nets.torch.named import named_factory

        name, rate = args.net.removeprefix(_TORCH), args.learning_rate or _MLP_RATE
        factory = named_factory(name, learning_rate=rate, momentum=args.momentum)
        return factory, args.batch_size or _DEFAULT_BATCH
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


@contextmanager
def sent_by_file(args: argparse.Namespace) -> Iterator[None]:
    """Say of a training that executors ended because they cannot import the package of --net: the code of a file is sent to them."""
    place = args.net.removeprefix(_TORCH).rpartition(":")[0]
    is_package = args.solver is None and args.net.startswith(_TORCH) and not place.endswith(".py")
    try:
        yield
    except TrainingError as error:
        if not (is_package and f"No module named '{place.partition('.')[0]}" in str(error)):
            raise
        msg = f"{error}. Or write --net torch:FILE.py:function: this command sends the code of a file"
        raise TrainingError(msg, traceback=getattr(error, "traceback", "")) from error


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Return the solver's fields that options replace."""
    rate = {"base_lr": args.learning_rate} if args.learning_rate else {}
    return rate | ({} if args.weights is None else {"weights": []})
