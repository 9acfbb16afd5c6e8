"""The weights that ``sparknet train`` starts from: those of the net, with the layers of --weights in their places."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from sparknet.errors import SchemaError
from sparknet.formats import Taken, format_of, take_layers
from sparknet.nets.base import Net
from sparknet.serialization.visible import say
from sparknet.weights import WeightCollection

__all__ = ["order_notes", "start_weights"]


def start_weights(net: Net, args: argparse.Namespace) -> WeightCollection | None:
    """Return the net's weights with the layers of ``--weights`` in their places, and print which; None without the option."""
    if args.weights is None:
        return None
    weights = net.get_weights()
    for name in _files(args):
        taken = _taken(weights, name, args)
        say(f"--weights {name}", *(f"  {line}" for line in str(taken).splitlines()))
        weights = taken.weights
    return weights


def order_notes(args: argparse.Namespace, order: str) -> Iterator[str]:
    """Yield a line if weights of Caffe get channels in another order than they were probably trained on."""
    if args.weights is None or args.bgr or not order:
        return
    of_caffe = [name for name in _files(args) if (format_of(name) or "").startswith("caffemodel")]
    if of_caffe:
        yield (
            f"--weights {', '.join(of_caffe)}: the net gets the channels as {order}; nets of Caffe's model zoo were trained on "
            "B, G, R: give --bgr if this is one"
        )


def _files(args: argparse.Namespace) -> list[str]:
    return [args.weights] if Path(args.weights).exists() else [name.strip() for name in args.weights.split(",")]


def _taken(weights: WeightCollection, name: str, args: argparse.Namespace) -> Taken:
    try:
        return take_layers(weights, name, max_bytes=args.max_bytes)
    except SchemaError as error:
        if args.solver is not None or not hasattr(error, "layer"):
            raise
        msg = f"{error}. The layers of --net mlp have the widths of --hidden, {','.join(map(str, args.hidden))}"
        raise SchemaError(msg, **vars(error)) from None
