"""Ctrl-C while Spark works: the jobs that were waited for end, and one line says where the program was.

The interrupt comes up inside py4j, where it waits for the JVM. py4j logs it with its own traceback, and so it does with
what pyspark's handler of the signal tries first, a call on the connection that is being waited on.
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
from sparknet.clusters.spark.jobs.watching import watched
from sparknet.serialization.visible import say

__all__ = ["interruptible", "tell_interrupts_briefly"]

_MODULES = ("java_gateway", "clientserver")  # of py4j
_LOG = logging.getLogger(__name__)
# It logs to the root logger as well as to its own.
_LOGGERS = [logging.getLogger(), *(logging.getLogger(f"py4j.{module}") for module in _MODULES)]
_PACKAGES = {"sparknet", "pyspark", "py4j"}

# Seconds from one time to the next: between a call and its job Spark may list the files of a source.
_AGAIN = [2.0**n / 10 for n in range(10)]


def interruptible(action: Callable[[], Any], context: Any) -> Any:
    """Return ``action()``; if it is interrupted, as by Ctrl-C, cancel the jobs that it started, and no others.

    Spark's own handler of that signal cancels every job of the process; notebooks have another, which cancels none.
    The KeyboardInterrupt is raised without the calls in which it came up, also where cleaning up after it failed. If nobody
    catches it, Python prints one line.
    """
    tag, handled = f"sparknet-{uuid.uuid4().hex}", sys.exception()
    with _without_the_log_of_it():
        try:
            if context is not None:
                context.addJobTag(tag)
            with watched(context, tag):
                return action()
        except BaseException as error:
            interrupt = _interrupt_in(error, handled)
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
    """Cancel the jobs of this tag that run; a thread cancels those that were asked for and come later."""
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
            if not is_told:
                _LOG.warning(
                    "what was interrupted may go on: Spark does not cancel its jobs, and is asked again (%s)", error
                )
            is_told = True


def _interrupt_in(error: BaseException | None, handled: BaseException | None) -> KeyboardInterrupt | None:
    """Return the KeyboardInterrupt that an error is or followed, but none that the caller was ``handled`` before."""
    while error is not None and error is not handled:
        if isinstance(error, KeyboardInterrupt):
            return error
        error = error.__context__
    return None


def tell_interrupts_briefly() -> None:
    """From now on an interrupt while Spark works is one line in this process, nothing of py4j's; calling it again changes nothing."""
    for logger in _LOGGERS:
        logger.addFilter(_is_told)
    _print_briefly()


def _print_briefly() -> None:
    """Let Python print an interrupt while Spark works as one line, unless the program prints exceptions in its own way."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print


def _print(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception that nobody caught: of an interrupt while Spark is waited for only where the program called it."""
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
    """Say whether this is an interrupt, or what became of it: py4j closes connections then, and pyspark may use one once more."""
    lost = type(error).__name__ == "Py4JNetworkError"
    return isinstance(error, KeyboardInterrupt) or (lost and _interrupt_in(error, None) is not None)


@contextmanager
def _without_the_log_of_it() -> Iterator[None]:
    """Keep what py4j logs of an interrupt from being shown."""
    own = partial(_is_told)  # a filter that is added twice is there once: another thread's end would take it away
    for logger in _LOGGERS:
        logger.addFilter(own)
    try:
        yield
    finally:
        for logger in _LOGGERS:
            logger.removeFilter(own)


def _is_told(record: logging.LogRecord) -> bool:
    """Say whether a record is anything else than py4j's of an interrupt."""
    error = record.exc_info[1] if record.exc_info and record.module in _MODULES else None
    is_nested = isinstance(error, BaseException) and "reentrant call" in str(error.__context__)
    return not is_nested and _interrupt_in(error, None) is None
