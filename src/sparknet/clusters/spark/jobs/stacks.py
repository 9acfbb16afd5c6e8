"""Where a task that stands still is: the Python stack of one whose minibatch takes much longer than all before.

It goes to the stderr of the task's own process, which Spark keeps as its executor's: the driver cannot ask for it. Of
a process that was stopped, and of a call that never lets go of Python's lock, there is none; the driver says that those stand still.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TypeVar

__all__ = ["observed"]

_SLOW = 30.0  # seconds that a minibatch takes, at least, until it is compared with those before
_TIMES = 10  # as long as the slowest of those is much longer
_FIRST = 60.0  # seconds, where there is none before

_OURS = str(Path(__file__).parents[3])  # the folder of sparknet

_AHEAD = "prefetch"  # the name of the threads of sparknet.data.prefetch

T = TypeVar("T")


def observed(parts: Iterable[T], who: str, partition: int) -> Iterator[T]:
    """Yield the parts of a task's work; where one takes much longer than those before, the stack is written, once."""
    watch = _Watch(f"{who}: partition {partition}")
    try:
        with suppress(RuntimeError):  # there is no thread left, and the task needs none
            threading.Thread(target=watch.wait, name=f"watch partition {partition}", daemon=True).start()
        for part in parts:
            yield part
            watch.mark()
    finally:
        watch.ended.set()


class _Watch:
    """What is known of a task's minibatches; made in the thread that works on them."""

    def __init__(self, what: str) -> None:
        self.ended = threading.Event()
        self._what, self._thread = what, threading.get_ident()
        self._since, self._done, self._longest = time.monotonic(), 0, 0.0

    def mark(self) -> None:
        """Take note that a part was worked on."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._since)
        self._since = now
        self._done += 1

    def _due(self) -> float:
        return self._since + (max(_SLOW, _TIMES * self._longest) if self._done else _FIRST)

    def wait(self) -> None:
        """Write the stack once a part takes too long, unless the task ends before."""
        # It becomes due earlier once the first one is done.
        while not self.ended.wait(min(_SLOW, max(0.0, self._due() - time.monotonic()))):
            now = time.monotonic()
            if now >= self._due():
                self._write(now)
                return

    def _write(self, now: float) -> None:
        frames = sys._current_frames()
        before = f"the {self._done} before took {self._longest:.1f} s at most" if self._done else "it is the first one"
        head = (
            f"{self._what}: a minibatch has taken {now - self._since:.0f} s ({before}); process {os.getpid()} is here:"
        )
        stack = _stack(frames.get(self._thread))
        ahead = [thread for thread in threading.enumerate() if thread.name == _AHEAD]
        for thread in ahead:
            stack += f"and its thread that prepares the next minibatch here:\n{_stack(frames.get(thread.ident or 0))}"
        with suppress(Exception):  # no stderr to write to
            sys.stderr.write(f"{head}\n{stack}")
            sys.stderr.flush()


def _stack(frame: FrameType | None) -> str:
    calls = traceback.extract_stack(frame) if frame else []
    ours = next((i for i, call in enumerate(calls) if call.filename.startswith(_OURS)), 0)  # pyspark's are before
    return "".join(traceback.format_list(calls[ours:]))
