"""The command ``sparknet``: argument parsing, and bad input as one line with exit code 2.

Exit codes: 0 done, 1 the run broke off, 2 bad input (nothing was written), 130 interrupted (the last
finished round's weights are on disk).
"""

import argparse
import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparknet import __version__
from sparknet.errors import BrokenOff, FormatError, SparknetError

__all__ = ["main"]

_INTERRUPTED = 130
_MAX_BYTES = "bytes that a compressed file may become (default: 1 GiB, or 16 times its size if that is more)"


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that are values; of the others the help itself says what happens."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, ()) else super()._get_help_string(action)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 2
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if _follows_interrupt(error):
            return _interrupted()
        if isinstance(error, MemoryError):
            print(
                f"sparknet {args.command}: error: this process has not enough memory. {error}".rstrip(), file=sys.stderr
            )
            return 1
        if not isinstance(error, SparknetError | OSError):
            raise
        from sparknet.report.wording import error_text
        from sparknet.serialization.visible import say

        traceback = getattr(error, "traceback", "")  # of a failed worker: a fault, not bad input
        if traceback:
            say(*traceback.splitlines(), file=sys.stderr)
        say(f"sparknet {args.command}: error: {error_text(error)}", file=sys.stderr)
        return 1 if isinstance(error, BrokenOff) else 2


def _interrupted() -> int:
    print("\nsparknet: interrupted", file=sys.stderr)
    return _INTERRUPTED


def _follows_interrupt(error: BaseException | None) -> bool:
    """Say whether cleaning up after Ctrl-C raised ``error``."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sparknet", description="Train nets where the data is: averaging SGD on Spark, for Caffe and others."
    )
    parser.add_argument("--version", action="version", version=f"sparknet {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_train(commands)
    _add_inspect(commands)
    _add_convert(commands)
    _add_doctor(commands)
    return parser


def _add_train(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser(
        "train",
        help="train a net on a Spark cluster",
        description="Train a net by averaging SGD: broadcast the weights, each worker takes tau solver steps on its "
        "shard of the images, average, repeat. Writes weights, events and (for Caffe) a .caffemodel to --out.",
        formatter_class=_Help,
    )
    net = train.add_mutually_exclusive_group()
    net.add_argument("--net", choices=["mlp"], default="mlp", help="the embedded net, which needs no framework")
    net.add_argument("--solver", metavar="FILE.prototxt", help="a Caffe solver; trains its net through pycaffe")
    train.add_argument(
        "--scale",
        type=_positive,
        metavar="FACTOR",
        help="multiply pixels 0..255 by this first (default: not at all with --solver, where the prototxt says it, as in "
        "transform_param { scale: 0.00390625 }; 0.00390625 with --net mlp)",
    )
    train.add_argument(
        "--bgr",
        action="store_true",
        help="give the net the channels as B, G, R, which nets of Caffe's model zoo were trained on; stored are R, G, B",
    )
    train.add_argument(
        "--drop-unknown-fields",
        action="store_true",
        help="leave out of the prototxts what this Caffe does not know, such as fields of forks, and say what",
    )
    train.add_argument(
        "--trust",
        type=_names,
        default=(),
        metavar="TYPE,TYPE",
        help="types of layers that the net may have although they do more than compute: Python runs code of a module that the "
        "prototxt names (default: none)",
    )
    train.add_argument(
        "--weights",
        metavar="FILE",
        help="fine-tune: start from the layers of this file that the net has too, by their names; any format that 'sparknet "
        "convert' reads, several with commas between. It takes the place of the solver's own weights",
    )
    train.add_argument("--max-bytes", type=_at_least(0), metavar="N", help="of --weights: " + _MAX_BYTES)
    train.add_argument("--data", default="mnist", help="mnist, fashion-mnist, cifar10:DIR or idx:DIR")
    train.add_argument("--master", default="local[2]", help="Spark master, or 'none' for this process without Spark")
    train.add_argument(
        "--timeout",
        type=_at_least(1),
        metavar="S",
        help="seconds to wait for the cluster (default: 50 for spark://, else 300)",
    )
    train.add_argument("--workers", type=_at_least(1), default=2, help="how many workers, each with its own shard")
    train.add_argument("--tau", type=_at_least(1), default=20, help="solver steps of each worker in a round")
    train.add_argument("--rounds", type=_at_least(1), default=20, help="rounds")
    train.add_argument(
        "--rule",
        choices=["mean", "weighted-mean", "median", "momentum", "nesterov"],
        default="mean",
        help="how the workers' weights become the next round's start: their mean, the mean weighted by the examples seen, their "
        "median, or a step with momentum from the former start to the mean",
    )
    train.add_argument(
        "--outer-learning-rate",
        type=_positive,
        metavar="RATE",
        help="of --rule momentum (default: 1) and nesterov (default: 0.7): the length of the step",
    )
    train.add_argument(
        "--outer-momentum", type=float, metavar="M", help="of --rule momentum and nesterov: momentum (default: 0.9)"
    )
    train.add_argument(
        "--batch-size", type=_at_least(1), help="images in a minibatch (default: the Caffe net's, or 64)"
    )
    train.add_argument(
        "--ragged",
        choices=["drop", "pad", "reshape"],
        help="what becomes of a short last minibatch: left out, filled up (of a net that ignores a label), or taken as it is "
        "(default: what an RDDDataLayer of the net says, or reshape)",
    )
    train.add_argument(
        "--on-nonfinite",
        choices=["error", "leave_out"],
        default="error",
        help="when a worker's loss or weights are NaN or infinite: end the training, or average the other workers",
    )
    train.add_argument("--seed", type=_at_least(0), default=0, help="of initial weights, shuffling and order")
    train.add_argument(
        "--test-every", type=_at_least(1), default=1, metavar="N", help="measure accuracy every N rounds"
    )
    train.add_argument("--hidden", type=_widths, default=(128,), metavar="N,N", help="mlp: widths of the hidden layers")
    train.add_argument(
        "--learning-rate", type=_positive, metavar="RATE", help="instead of the solver's base_lr (mlp: 0.05)"
    )
    train.add_argument("--momentum", type=float, default=0.9, help="mlp: momentum")
    train.add_argument("--out", default="sparknet-out", metavar="DIR", help="where the results go")
    train.set_defaults(run=_train)


def _add_inspect(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    inspect = commands.add_parser(
        "inspect",
        help="show what is in a file of weights, a solver's state or a prototxt",
        description="Tell what a file is, by its contents, and list its tensors: .sparknet or .msg (from the header, without "
        "reading the payload), .npy, .npz, .safetensors, .caffemodel, .caffemodel.h5, .binaryproto, .solverstate, "
        ".solverstate.h5; of a prototxt its fields and layers.",
    )
    inspect.add_argument("file", help="the file")
    inspect.add_argument(
        "--verify", action="store_true", help="of a .sparknet: read the payload too and compare the checksums"
    )
    inspect.add_argument("--json", action="store_true", help="one JSON object, for programs")
    inspect.add_argument("--max-bytes", type=_at_least(0), metavar="N", help=_MAX_BYTES)
    inspect.set_defaults(run=_inspect)


def _add_convert(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    convert = commands.add_parser(
        "convert",
        help="convert a file of weights to another format",
        description="Read a file of weights and write another: .sparknet or .msg, .npy, .npz, .safetensors, .caffemodel "
        "and .caffemodel.h5 (without Caffe), .binaryproto (a mean image), .solverstate and .solverstate.h5. A file that is "
        "there is replaced.",
    )
    convert.add_argument("source", metavar="SRC", help="the file to read")
    convert.add_argument("target", metavar="DST", help="the file to write")
    names = "sparknet, npy, npz, safetensors, caffemodel, caffemodel.h5, binaryproto, solverstate or solverstate.h5 (default: what the suffix says)"
    convert.add_argument("--from", dest="source_format", metavar="FORMAT", help=f"format of SRC: {names}")
    convert.add_argument("--to", dest="target_format", metavar="FORMAT", help="format of DST, one of the same")
    convert.add_argument(
        "--dtype",
        choices=["float16", "float32", "float64"],
        help="write the arrays so, where DST does not hold their own dtype (default: as they are)",
    )
    convert.add_argument(
        "--max-bytes",
        type=_at_least(0),
        metavar="N",
        help=_MAX_BYTES,
    )
    convert.set_defaults(run=_convert)


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    doctor = commands.add_parser(
        "doctor",
        help="show what this machine has, and what there is to say against a Spark cluster",
        description="List what is installed here: Python, the array libraries, Java, Caffe and the packages of each extra. With "
        "--master, look at a session on that cluster too: whether other users can join it, whether lost tasks are tried again, and "
        "whether its executors have the packages of this machine. The exit code is 1 if there is a warning.",
        formatter_class=_Help,
    )
    doctor.add_argument("--master", help="a Spark master, such as spark://host:7077 (default: no session is started)")
    doctor.add_argument(
        "--timeout", type=_at_least(1), metavar="S", help="seconds to wait for the cluster, as for train"
    )
    doctor.set_defaults(run=_doctor)


def _train(args: argparse.Namespace) -> None:
    from sparknet import main_job

    main_job.run(args)


def _doctor(args: argparse.Namespace) -> int:
    from sparknet.doctor import examine
    from sparknet.serialization.visible import say

    spark = None
    if args.master:
        from sparknet.spark import start_spark

        spark = start_spark(args.master, timeout=args.timeout)
    try:
        found = examine(spark)
    finally:
        if spark is not None:
            spark.stop()
    say(*map(str, found))
    return int(any(each.state == "warning" for each in found))


def _inspect(args: argparse.Namespace) -> None:
    import sparknet
    from sparknet import formats

    path = Path(args.file)
    if formats.format_of(path) == "sparknet":
        info: Any = sparknet.inspect(path, verify=args.verify)
    elif args.verify:
        msg = f"{args.file!r} has no checksums to verify: only sparknet's own format has; try without --verify"
        raise FormatError(msg)
    else:
        info = formats.describe(path, max_bytes=args.max_bytes)
    with contextlib.suppress(BrokenPipeError):
        print(_json(info) if args.json else info)


def _json(info: Any) -> str:
    """Return a description as JSON: bytes as hexadecimal digits, NaN and infinities as null."""
    said = {"format": "sparknet", **dataclasses.asdict(info)}
    said.setdefault("parameters", sum(math.prod(tensor["shape"]) for tensor in said["tensors"]))
    text = json.dumps(said, default=bytes.hex)
    return json.dumps(json.loads(text, parse_constant=lambda _: None), allow_nan=False)


def _convert(args: argparse.Namespace) -> None:
    from sparknet import formats
    from sparknet.serialization.visible import say

    done = formats.convert(
        args.source,
        args.target,
        source_format=args.source_format,
        target_format=args.target_format,
        max_bytes=args.max_bytes,
        dtype=args.dtype,
    )
    say(
        f"{args.target}: {done.kind}, {done.tensors:,} tensors, {done.parameters:,} parameters, {done.nbytes:,} bytes, "
        f"from {done.source_format} to {done.target_format} in {done.seconds:.2f} s"
    )
    if done.lost:
        say(f"  left out, for want of a place (metadata, layers without arrays): {', '.join(done.lost)}")


def _at_least(least: int) -> "type[int]":
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            msg = f"got {value}, expected at least {least}"
            raise argparse.ArgumentTypeError(msg)
        return value

    number.__name__ = "whole number"  # argparse says "invalid whole number value: 'x'"
    return number  # type: ignore[return-value]


def _positive(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        msg = f"got {text}, expected a positive number"
        raise argparse.ArgumentTypeError(msg)
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        widths = (0,)
    if any(width < 1 for width in widths):
        msg = f"got {text!r}, expected positive widths such as 128 or 256,128 (or '' for softmax regression)"
        raise argparse.ArgumentTypeError(msg)
    return widths


if __name__ == "__main__":
    sys.exit(main())
