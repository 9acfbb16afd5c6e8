"""Types of values on the command line, and the format of the help; the verbs share them.

For a value of the wrong type argparse prints a line and exits with code 2.
"""

import argparse
import math

__all__ = ["MAX_BYTES", "Help", "at_least", "names", "net_name", "positive", "seconds_or_auto", "widths"]

MAX_BYTES = "bytes that a compressed file may become (default: 1 GiB, or 16 times its size if that is more)"


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default if it is a value; the help text itself explains other defaults."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, ()) else super()._get_help_string(action)


def at_least(least: int) -> "type[int]":
    """Return the type of whole numbers from ``least`` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            msg = f"got {value}, expected at least {least}"
            raise argparse.ArgumentTypeError(msg)
        return value

    number.__name__ = "whole number"  # argparse says "invalid whole number value: 'x'"
    return number  # type: ignore[return-value]


def positive(text: str) -> float:
    """Return the text as a positive, finite number."""
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        msg = f"got {text}, expected a positive number"
        raise argparse.ArgumentTypeError(msg)
    return value


def seconds_or_auto(text: str) -> float | str:
    """Return the text as a positive, finite number, or ``auto``."""
    if text == "auto":
        return text
    try:
        return positive(text)
    except ValueError as error:
        msg = f"got {text!r}, expected seconds such as 5 or 0.5, or auto"
        raise argparse.ArgumentTypeError(msg) from error


def names(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def net_name(text: str) -> str:
    """Return the name of a net: ``mlp``, or ``torch:`` and a function."""
    if text != "mlp" and not text.startswith("torch:"):
        msg = f"got {text!r}, expected mlp, torch:package.module:function or torch:FILE.py:function"
        raise argparse.ArgumentTypeError(msg)
    return text


def widths(text: str) -> tuple[int, ...]:
    """Return the positive whole numbers in a list with commas; an empty text has none."""
    try:
        found = tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        found = (0,)
    if any(width < 1 for width in found):
        msg = f"got {text!r}, expected positive widths such as 128 or 256,128 (or '' for softmax regression)"
        raise argparse.ArgumentTypeError(msg)
    return found
