"""Ctrl-C while ``sparknet train`` runs."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["CtrlC"]


class CtrlC:
    """Ctrl-C as a KeyboardInterrupt that is not lost.

    Python drops an exception that is raised in the callback of a weak reference. An ended thread has such a callback, and each
    round has threads. So an attribute also keeps that Ctrl-C came, and :meth:`check` looks at it after the round.
    """

    def __init__(self) -> None:
        self._came = False

    def install(self) -> None:
        """Replace the handler of the signal."""
        signal.signal(signal.SIGINT, self._interrupt)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Replace Python's own handler for the length of the block; any other handler stays.

        There is another one if the signal is ignored, as in a job in the background, or if the caller has its own.
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
