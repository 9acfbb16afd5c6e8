"""Ctrl-C while ``sparknet train`` runs."""

import signal

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

    def check(self) -> None:
        """Raise the KeyboardInterrupt if Ctrl-C has come."""
        if self._came:
            raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> None:
        self._came = True
        raise KeyboardInterrupt
