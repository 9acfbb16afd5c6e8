"""Text from a file, on its way to a terminal, which would obey it: move the cursor, change colors, hide lines."""

from typing import IO

__all__ = ["say", "visible"]


def visible(text: str) -> str:
    r"""Return a text of one line as it is, but with escapes for all characters that print nothing or something else.

    These are control characters, line breaks, marks that turn the direction of writing, and surrogates, which stand for bytes
    that are not UTF-8.

    Examples
    --------
    >>> visible("conv1 é")
    'conv1 é'
    >>> print(visible("\x1b[2Jconv1\n"))
    \x1b[2Jconv1\n
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def say(*lines: str, file: IO[str] | None = None) -> None:
    """Print lines, made visible, at once; by default to standard output."""
    print("".join(f"{visible(line)}\n" for line in lines), end="", file=file, flush=True)
