"""The writer of checkpoints: a position goes to the disk in a thread, while the next round trains.

One position at a time. The next one waits for it, and :meth:`Writer.wait` says how long. So a crash loses one round at most: when a
round is given to the writer, the round before it is on the disk.

Nothing is copied. Neither a training nor a rule changes the arrays of a position: each round makes new ones.
"""

import logging
import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from sparknet.checkpoint.directory import Checkpoint
from sparknet.checkpoint.position import Position

__all__ = ["Writer"]

_LONG = 1.0  # seconds of waiting that the log tells of, once
_LOG = logging.getLogger(__name__)


class Writer:
    """Writes positions to a checkpoint, each in a thread. It is a context manager, at whose end all is on the disk.

    Inside the block no other training can write to the directory.

    Parameters
    ----------
    checkpoint
        Where to.
    index
        The round that is written next.

    Raises
    ------
    DataError
        At the beginning of the block: as :meth:`Checkpoint.held`.
    OSError, DataError
        From :meth:`wait`, from :meth:`write`, and at the end of the block: a position was not written. Where the block ends with
        another error, the log has this one.

    Examples
    --------
    >>> import tempfile
    >>> from sparknet import WeightCollection
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     checkpoint = Checkpoint(directory, {})
    ...     with Writer(checkpoint, 0) as writer:
    ...         writer.write(Position(1, WeightCollection({"ip": [[0.5]]}), [{}], [10]))
    ...     checkpoint.read().rounds
    1
    """

    def __init__(self, checkpoint: Checkpoint, index: int) -> None:
        self._checkpoint, self._index = checkpoint, index
        self._held = ExitStack()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._has_told = False

    def write(self, position: Position) -> None:
        """Begin to write a finite position, after the one before. Its arrays must not change until it is written."""
        seconds = self.wait()
        if seconds > _LONG and not self._has_told:
            self._has_told = True
            _LOG.warning(
                "waited %.1f s until the checkpoint of round %d was written: writing takes longer than a round. More steps in a "
                "round (tau) or a faster disk end that; seconds.checkpoint of each round says how long it waited",
                seconds,
                position.rounds - 2,
            )
        # no daemon: Python waits for it before it ends
        self._thread = threading.Thread(target=self._write, args=(position,), name="writes a checkpoint")
        self._thread.start()

    def wait(self) -> float:
        """Wait until nothing is being written; return for how many seconds. An error of the writing is raised, once."""
        start = time.perf_counter()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()
        return time.perf_counter() - start

    def check(self) -> None:
        """Raise the error of a position that was not written, once; do not wait."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        self._held.enter_context(self._checkpoint.held(self._index))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._held:
            try:
                self.wait()
            except Exception as own:
                # left with close() or break: there is nobody else to tell
                if error is None or isinstance(error, GeneratorExit):
                    raise
                _LOG.warning("%s", own)
            finally:
                if (
                    self._thread is not None
                ):  # Ctrl-C came while it was waited for; the directory is its own until it ends
                    self._thread.join()

    def _write(self, position: Position) -> None:
        try:
            self._checkpoint.write(position, nonfinite=True)  # the caller has looked at it
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
            self._error = error
