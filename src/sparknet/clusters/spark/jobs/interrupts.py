"""Ctrl-C while Spark works: the jobs that the program waits for are cancelled, and one line says where the program was.

The interrupt is raised inside py4j, which is waiting for the JVM. py4j logs it with a traceback. pyspark's signal handler runs before
that and makes a call on the connection that is in use; py4j logs the failure of this call too.
"""

import logging
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any

from sparknet.clusters.spark.jobs.connections import asked
from sparknet.clusters.spark.jobs.labels import labelled
from sparknet.clusters.spark.jobs.watching import watched
from sparknet.errors import interrupt_in
from sparknet.serialization.visible import say

__all__ = ["interruptible", "tell_interrupts_briefly"]

_MODULES = ("java_gateway", "clientserver")  # of py4j
_LOG = logging.getLogger(__name__)
# py4j logs to the root logger as well as to its own.
_LOGGERS = [logging.getLogger(), *(logging.getLogger(f"py4j.{module}") for module in _MODULES)]
_PACKAGES = {"sparknet", "pyspark", "py4j"}

# Seconds between two attempts. Spark may list the files of a source after the call and before its job starts.
_AGAIN = [2.0**n / 10 for n in range(10)]


def interruptible(action: Callable[[], Any], context: Any) -> Any:
    """Return ``action()``. If it is interrupted, as by Ctrl-C, cancel the jobs that it started, and no others.

    Spark's own handler of the signal cancels every job of the process; that of notebooks cancels none. The
    KeyboardInterrupt is raised without the traceback inside Spark, even if cleaning up after it failed. If the program does
    not catch it, Python prints one line.
    """
    tag, handled = f"sparknet-{uuid.uuid4().hex}", sys.exception()
    with _without_the_log_of_it():
        try:
            if context is not None:
                context.addJobTag(tag)
            with labelled(context), watched(context, tag):
                return action()
        except BaseException as error:
            interrupt = interrupt_in(error, handled)
            if interrupt is None and isinstance(error, Exception):
                raise
            if context is not None:
                _cancel(context, tag)
            if interrupt is None:  # an exit that a handler of a signal asked for
                raise
            _print_briefly()
            raise interrupt.with_traceback(None) from None
        finally:
            with suppress(Exception):  # Spark may be gone
                context.removeJobTag(tag)


def _cancel(context: Any, tag: str) -> None:
    """Cancel the running jobs with this tag. A thread goes on to cancel those that Spark starts a little later."""
    with suppress(Exception):  # the connection was interrupted too; the thread has one of its own
        context.cancelJobsWithTag(tag)
    threading.Thread(target=_cancel_later, args=(context, tag), name=tag, daemon=True).start()


def _cancel_later(context: Any, tag: str) -> None:
    is_told = False
    for seconds in _AGAIN:
        time.sleep(seconds)
        if context._jsc is None:  # it was stopped
            return
        try:
            asked(partial(context.cancelJobsWithTag, tag))
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread
            if context._jsc is None or "stopped SparkContext" in str(error):  # meanwhile, and its jobs with it
                return
            if not is_told:
                _LOG.warning(
                    "what was interrupted may go on: Spark does not cancel its jobs, and is asked again (%s)", error
                )
            is_told = True


def tell_interrupts_briefly() -> None:
    """Let every later interrupt of this process while Spark works be one line, without the log of py4j. May be called again."""
    for logger in _LOGGERS:
        logger.addFilter(_is_told)
    _print_briefly()


def _print_briefly() -> None:
    """Let Python print an interrupt while Spark works as one line, unless the program has its own ``sys.excepthook``."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print


def _print(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught exception. Of an interrupt while the program waits for Spark, print only the line of the program."""
    calls = list(traceback.walk_tb(trace))
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in calls]
    waits = any(module == __name__ or module.startswith("py4j.") for module in modules)
    inside = [module.partition(".")[0] in _PACKAGES for module in modules]
    if not (_is_interrupt(error) and waits and not inside[0]):
        sys.__excepthook__(kind, error, trace)
        return
    frame, line = calls[inside.index(True) - 1]
    say(f"KeyboardInterrupt while Spark worked: {frame.f_code.co_filename}, line {line}", file=sys.stderr)


def _is_interrupt(error: BaseException) -> bool:
    """Say whether this is an interrupt, or an error that follows from one: pyspark may use a connection that py4j has closed."""
    lost = type(error).__name__ == "Py4JNetworkError"
    return isinstance(error, KeyboardInterrupt) or (lost and interrupt_in(error) is not None)


@contextmanager
def _without_the_log_of_it() -> Iterator[None]:
    """Hide what py4j logs about an interrupt."""
    own = partial(
        _is_told
    )  # a new object: a filter that two threads add is there once, and the first to end would remove it
    for logger in _LOGGERS:
        logger.addFilter(own)
    try:
        yield
    finally:
        for logger in _LOGGERS:
            logger.removeFilter(own)


def _is_told(record: logging.LogRecord) -> bool:
    """Say whether a log record is to be shown: it is not py4j's about an interrupt."""
    error = record.exc_info[1] if record.exc_info and record.module in _MODULES else None
    is_nested = isinstance(error, BaseException) and "reentrant call" in str(error.__context__)
    return not is_nested and interrupt_in(error) is None
