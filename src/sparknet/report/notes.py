"""What the library logs, shown to who types a command."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["told"]


@contextmanager
def told(name: str) -> Iterator[None]:
    """Print what the logger ``name`` and those below it say inside the block, a line each, and nowhere else."""
    logger = logging.getLogger(name)
    printer, level, propagate = _Printer(), logger.level, logger.propagate
    logger.addHandler(printer)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(printer)
        logger.setLevel(level)
        logger.propagate = propagate


class _Printer(logging.Handler):
    """Writes to standard output as it is now, and not as it was when Python started."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(record.getMessage() + "\n")
        sys.stdout.flush()
