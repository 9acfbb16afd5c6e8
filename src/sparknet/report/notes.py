"""What the library logs, shown to the user of the command."""

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from sparknet.report.wording import for_command
from sparknet.serialization.visible import say

__all__ = ["collected_log", "printed_warnings"]


@contextmanager
def collected_log(name: str) -> Iterator[list[str]]:
    """Collect what the logger ``name`` and those below it say inside the block; it is logged nowhere else.

    If the block fails, what was collected is printed.
    """
    logger, said = logging.getLogger(name), list[str]()
    collector, level, propagate = _Collector(said), logger.level, logger.propagate
    logger.addHandler(collector)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield said
    except Exception:
        say(*said)
        raise
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)
        logger.propagate = propagate


@contextmanager
def printed_warnings(name: str = "") -> Iterator[None]:
    """Print warnings of the logger ``name`` and those below it inside the block, at once, to standard error; "" is all loggers."""
    logger, shower = logging.getLogger(name), _Shower()
    logger.addHandler(shower)
    try:
        yield
    finally:
        logger.removeHandler(shower)


class _Shower(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        lines = "".join(traceback.format_exception(error)).splitlines() if error else ()
        say(record.getMessage(), *lines, file=sys.stderr)


class _Collector(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(for_command(record.getMessage()))
