"""Finding what matters in the exceptions of py4j and pyspark, which are pages of Java."""

import re

__all__ = ["telling_line", "worker_traceback"]

# A Python traceback inside a Java one: indented lines, ended by the exception itself.
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)+(\S.*)")
_LONGEST = 300


def telling_line(error: BaseException) -> str:
    r"""Return the line that names the exception, cut to a readable length.

    Examples
    --------
    >>> telling_line(RuntimeError("An error occurred\njava.net.BindException: Address in use\n  at x"))
    'java.net.BindException: Address in use'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Exception" in line or "Error" in line]
    return (telling or lines or [type(error).__name__])[0][:_LONGEST]


def worker_traceback(error: BaseException) -> tuple[str, str]:
    r"""Return the Python worker's traceback, if there is one, and the one line that says what failed.

    Examples
    --------
    >>> text = "Py4JError: Traceback (most recent call last):\n  File 'x'\nKeyError: 3\n at java"
    >>> worker_traceback(RuntimeError(text))[1]
    'KeyError: 3'
    """
    found = _TRACEBACK.search(str(error))
    return (found[0], found[1][:_LONGEST]) if found else ("", telling_line(error))
