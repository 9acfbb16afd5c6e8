"""The command ``sparknet``: it calls a verb, and prints an error as one line.

Exit codes: 0 done, 1 the run broke off, 2 bad input (nothing was written), 130 interrupted (the weights of the last finished round
are on disk). Each verb has a module of its name, with all its options and a function that runs it.
"""

import argparse
import sys
from collections.abc import Sequence

from sparknet import __version__
from sparknet.cli import convert, doctor, inspect, train
from sparknet.errors import SparknetError, TrainingError, interrupt_in

__all__ = ["main"]

_INTERRUPTED = 130


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
        if interrupt_in(error):  # cleaning up after Ctrl-C raised it
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

        traceback = getattr(error, "traceback", "")  # a failed worker has one: it is a fault, not bad input
        if traceback:
            say(*traceback.splitlines(), file=sys.stderr)
        say(f"sparknet {args.command}: error: {error_text(error)}", file=sys.stderr)
        return 1 if isinstance(error, TrainingError) else 2


def _interrupted() -> int:
    print("\nsparknet: interrupted", file=sys.stderr)
    return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sparknet", description="Train nets where the data is: averaging SGD on Spark, for Caffe and others."
    )
    parser.add_argument("--version", action="version", version=f"sparknet {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for verb in (train, inspect, convert, doctor):
        verb.add(commands)
    return parser
