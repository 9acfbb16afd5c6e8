"""``sparknet inspect`` shows the contents of a file."""

import argparse
import contextlib
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from sparknet.cli.arguments import MAX_BYTES, at_least
from sparknet.errors import FormatError

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its options to the command."""
    inspect = commands.add_parser(
        "inspect",
        help="show what is in a file of weights, a solver's state or a prototxt",
        description="Tell what a file is, by its contents, and list its tensors: .sparknet or .msg (from the header, without "
        "reading the payload), .npy, .npz, .safetensors, .pt, .caffemodel, .caffemodel.h5, .binaryproto, .solverstate, "
        ".solverstate.h5; of a prototxt its fields and layers.",
    )
    inspect.add_argument("file", help="the file")
    inspect.add_argument(
        "--verify", action="store_true", help="of a .sparknet: read the payload too and compare the checksums"
    )
    inspect.add_argument("--json", action="store_true", help="one JSON object, for programs")
    inspect.add_argument("--max-bytes", type=at_least(0), metavar="N", help=MAX_BYTES)
    inspect.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
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
