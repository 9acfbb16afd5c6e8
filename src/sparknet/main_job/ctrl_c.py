"""Ctrl-C while ``sparknet train`` runs."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["CtrlC"]


class CtrlC:
    """Ctrl-C as a KeyboardInterrupt that is not lost.

    Python drops an exception that comes up in the callback of a weak reference. A thread that has ended has such a
    callback, and each round has threads. So it is also kept that Ctrl-C came, for :meth:`check` after the round.
    """

    def __init__(self) -> None:
        self._came = False

    def install(self) -> None:
        """Take the place of the handler that is there."""
        signal.signal(signal.SIGINT, self._interrupt)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take the place of Python's own handler for the length of the block; of any other handler not.

        Another one is there where the signal is ignored, as in a job in the background, or where the caller has its own.
        """
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.default_int_handler:
            yield
            return
        self.install()
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def check(self) -> None:
        """Raise the KeyboardInterrupt if Ctrl-C has come."""
        if self._came:
            raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> None:
        self._came = True
        raise KeyboardInterrupt
