"""The command ``sparknet``: which verb is called, and errors as one line with an exit code.

Exit codes: 0 done, 1 the run broke off, 2 bad input (nothing was written), 130 interrupted (the last
finished round's weights are on disk). Each verb has a module of its name, with its options and what it calls.
"""

import argparse
import sys
from collections.abc import Sequence

from sparknet import __version__
from sparknet.cli import convert, doctor, inspect, train
from sparknet.errors import SparknetError, TrainingError

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
        return 1 if isinstance(error, TrainingError) else 2


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
    for verb in (train, inspect, convert, doctor):
        verb.add(commands)
    return parser
