"""The Python stack of a task that stands still: one whose minibatch takes much longer than all before it.

The task's own process writes it to its stderr, which Spark keeps as that of the executor; the driver cannot ask for it. A process
that was stopped, or a call that never releases Python's lock, writes nothing. For those the driver says that they stand still.
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

_SLOW = 30.0  # a minibatch is compared with those before once it has taken so many seconds
_TIMES = 10  # "much longer" is so many times as long as the slowest one before
_FIRST = 60.0  # seconds, for the first minibatch

_OURS = str(Path(__file__).parents[3])  # the folder of sparknet

_AHEAD = "prefetch"  # the name of the threads of sparknet.data.prefetch

T = TypeVar("T")


def observed(parts: Iterable[T], caller: str, partition: int) -> Iterator[T]:
    """Yield the parts of a task's work. If one takes much longer than those before, the stack is written, once a task."""
    watch = _Watch(f"{caller}: partition {partition}")
    try:
        with suppress(RuntimeError):  # there is no thread left, and the task needs none
            threading.Thread(target=watch.wait, name=f"watch partition {partition}", daemon=True).start()
        for part in parts:
            yield part
            watch.mark()
    finally:
        watch.ended.set()


class _Watch:
    """The times of a task's minibatches. Make it in the thread that works on them."""

    def __init__(self, what: str) -> None:
        self.ended = threading.Event()
        self._what, self._thread = what, threading.get_ident()
        self._since, self._done, self._longest = time.monotonic(), 0, 0.0

    def mark(self) -> None:
        """Note that a part is done."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._since)
        self._since = now
        self._done += 1

    def _due(self) -> float:
        return self._since + (max(_SLOW, _TIMES * self._longest) if self._done else _FIRST)

    def wait(self) -> None:
        """Wait until a part takes too long, and write the stack then; return when the task ends."""
        # After the first part the limit is shorter, so look again in time.
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
