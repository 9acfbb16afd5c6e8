"""What the verbs share: kinds of values on the command line, and how the help shows defaults.

A value of the wrong kind is an ArgumentTypeError, of which argparse makes a line and the exit code 2.
"""

import argparse
import math

__all__ = ["MAX_BYTES", "Help", "at_least", "names", "positive", "widths"]

MAX_BYTES = "bytes that a compressed file may become (default: 1 GiB, or 16 times its size if that is more)"


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that are values; of the others the help itself says what happens."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, ()) else super()._get_help_string(action)


def at_least(least: int) -> "type[int]":
    """Return the kind of whole numbers of at least ``least``."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            msg = f"got {value}, expected at least {least}"
            raise argparse.ArgumentTypeError(msg)
        return value

    number.__name__ = "whole number"  # argparse says "invalid whole number value: 'x'"
    return number  # type: ignore[return-value]


def positive(text: str) -> float:
    """Return a positive number that is finite."""
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        msg = f"got {text}, expected a positive number"
        raise argparse.ArgumentTypeError(msg)
    return value


def names(text: str) -> tuple[str, ...]:
    """Return names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def widths(text: str) -> tuple[int, ...]:
    """Return positive whole numbers between commas; none of an empty text."""
    try:
        found = tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        found = (0,)
    if any(width < 1 for width in found):
        msg = f"got {text!r}, expected positive widths such as 128 or 256,128 (or '' for softmax regression)"
        raise argparse.ArgumentTypeError(msg)
    return found
