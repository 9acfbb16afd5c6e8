"""``sparknet convert`` writes a file of weights in another format."""

import argparse

from sparknet.cli.arguments import MAX_BYTES, at_least

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its options to the command."""
    convert = commands.add_parser(
        "convert",
        help="convert a file of weights to another format",
        description="Read a file of weights and write another: .sparknet or .msg, .npy, .npz, .safetensors, .pt or .pth "
        "(a state_dict of torch), .caffemodel and .caffemodel.h5 (without Caffe), .binaryproto (a mean image), .solverstate and .solverstate.h5. A file that is "
        "there is replaced.",
    )
    convert.add_argument("source", metavar="SRC", help="the file to read")
    convert.add_argument("target", metavar="DST", help="the file to write")
    names = "sparknet, npy, npz, safetensors, torch, caffemodel, caffemodel.h5, binaryproto, solverstate or solverstate.h5 (default: what the suffix says)"
    convert.add_argument("--from", dest="source_format", metavar="FORMAT", help=f"format of SRC: {names}")
    convert.add_argument("--to", dest="target_format", metavar="FORMAT", help="format of DST, one of the same")
    convert.add_argument(
        "--dtype",
        choices=["float16", "float32", "float64"],
        help="write the arrays so, where DST does not hold their own dtype (default: as they are)",
    )
    convert.add_argument(
        "--max-bytes",
        type=at_least(0),
        metavar="N",
        help=MAX_BYTES,
    )
    convert.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
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
