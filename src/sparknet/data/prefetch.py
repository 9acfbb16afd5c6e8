"""Prefetch: the next batches are made in a thread while the caller computes on this one.

It asks nothing of a batch, so it serves Caffe, torch and any other loop. Order and contents are those of the plain
loop ``for item in source: prepare(item)``, whatever the depth and the number of threads: only time differs.

Threads share nothing but SimpleQueues, which may be filled from a finalizer that interrupts them, and the lock of the
source. They are daemons, told to stop and waited for when the Prefetcher is closed, collected, or the interpreter ends.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from sparknet.errors import DataError, ours

__all__ = ["Prefetcher", "prefetch"]

Batch = TypeVar("Batch")

_PATIENCE = 10.0  # seconds that closing waits for a source that is in the middle of a batch


def prefetch(
    source: Iterable[Any], prepare: Callable[[Any], Any] | None = None, *, depth: int | None = None, threads: int = 1
) -> "Prefetcher[Any]":
    """Return an iterator over ``prepare(item)`` for each item of ``source``, made ahead of their use.

    Parameters
    ----------
    source
        Any iterable; it is read in the thread, by one thread at a time.
    prepare
        What turns an item into a batch (decode, crop, ...); None: the items are batches. With several threads it is
        called in all of them at once.
    depth
        Batches that are ready or being made, at most; with the one in the caller's hands they are what memory holds.
        0: no thread, each batch is made when it is asked for. None: as many as ``threads``; for one thread 1, and 2 from
        the first batch on that the caller had to wait for, its first one aside.
    threads
        How many threads make batches, no more than ``depth``. One is enough where a batch is made faster than it is used.

    Raises
    ------
    DataError
        ``depth`` or ``threads`` is out of range, or there are more threads than ``depth`` keeps busy. While iterating:
        ``source`` or ``prepare`` failed, the message begins with the number of the batch. An error of sparknet stays of
        its type, and as it is if it has a ``batch`` already.

    Examples
    --------
    >>> with prefetch(range(4), lambda i: {"x": i * i}) as batches:
    ...     for batch in batches:
    ...         print(batch["x"], end=" ")
    0 1 4 9
    """
    spare = int(depth is None and threads == 1)
    depth = threads if depth is None else depth
    for name, value, least in (("depth", depth, 0), ("threads", threads, 1)):
        if value < least:
            msg = f"prefetch(): got {name}={value}, expected at least {least}"
            raise DataError(msg)
    if threads > max(depth, 1):
        msg = (
            f"prefetch(): got threads={threads}, expected at most depth={depth}; the others would have no batch to make"
        )
        raise DataError(msg)
    return Prefetcher(source, prepare, depth, threads if depth else 0, spare)


class Prefetcher(Generic[Batch]):
    """An iterator whose next batches are made in threads; see :func:`prefetch`.

    Use it in a ``with`` block, or call :meth:`close`: then the threads have ended when the block is left, but for those
    that are in the middle of a batch for more than 10 seconds, which end after it. A Prefetcher that is merely forgotten
    ends them too. One thread at a time may ask for batches; a wait that a signal handler's exception (Ctrl-C) interrupts
    loses none.
    """

    def __init__(
        self, source: Iterable[Any], prepare: Callable[[Any], Any] | None, depth: int, threads: int, spare: int = 0
    ) -> None:
        maker = self._maker = _Maker(source, prepare)
        self._spare = spare  # what the depth grows by when a batch is late
        self._waited = self._worked = 0.0
        self._slot: SimpleQueue[_Made] | None = None  # that of the next batch, kept if the wait for it is interrupted
        for _ in range(depth):
            maker.permits.put(True)
        # Threads know the maker and not the Prefetcher, which would else never be collected.
        self._threads = [threading.Thread(target=maker.run, name="prefetch", daemon=True) for _ in range(threads)]
        self._stop = weakref.finalize(self, _stop, maker, self._threads)
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        """Return the next batch.

        Raises
        ------
        DataError
            The batch could not be made; the iteration ends with it.
        """
        start = time.perf_counter()
        made = self._next()
        self._waited += time.perf_counter() - start
        self._worked += made.seconds
        if made.error is None:
            return made.batch  # type: ignore[no-any-return]
        self.close()
        errors = [_located(made.error, made.index)]
        del made
        raise errors.pop()  # nothing here holds it: it would keep the frames above, and all arrays in them, as a cycle

    def _next(self) -> "_Made":
        if not self._stop.alive:
            return _Made(error=StopIteration())
        if not self._threads:
            return self._maker.make()
        if self._slot is None:
            self._slot = self._maker.slots.get()
        late = self._slot.empty()
        made = self._slot.get()
        self._slot = None
        self._maker.permits.put(True)
        if late and self._spare and made.index:  # of time per batch that varies, a second one ahead takes the peaks
            self._spare -= 1
            self._maker.permits.put(True)
        return made

    @property
    def waited(self) -> float:
        """Seconds that the caller has waited for the batches it has got."""
        return self._waited

    @property
    def worked(self) -> float:
        """Seconds that making these batches took; what of it was not waited for went on beside the caller's work."""
        return self._worked

    def close(self) -> None:
        """End the threads and forget source and batches; a second call does nothing."""
        self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class _Made:
    """A batch, or the exception in its place; StopIteration is the end of the source."""

    batch: Any = None
    error: BaseException | None = None
    index: int = 0
    seconds: float = 0.0


class _Maker:
    """Makes batches, in threads or without."""

    def __init__(self, source: Iterable[Any], prepare: Callable[[Any], Any] | None) -> None:
        self._items = iter(source)
        self._prepare = prepare
        self._lock = threading.Lock()
        self._taken = 0
        self.stopped = False
        self.permits: SimpleQueue[bool] = SimpleQueue()
        self.slots: SimpleQueue[SimpleQueue[_Made]] = SimpleQueue()

    def run(self) -> None:
        """Make a batch for each permit."""
        while self.permits.get() and not self.stopped:
            slot: SimpleQueue[_Made] = SimpleQueue()
            slot.put(self.make(slot))

    def make(self, slot: "SimpleQueue[_Made] | None" = None) -> _Made:
        """Return the next batch; its ``slot`` is queued in the order of the source."""
        with self._lock:
            if slot is not None:
                self.slots.put(slot)
            start, index = time.perf_counter(), self._taken
            self._taken += 1
            try:
                item = next(self._items)
            except StopIteration:
                return _Made(error=StopIteration(), index=index)
            except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
                return _Made(error=error, index=index)
        try:
            batch = item if self._prepare is None else self._prepare(item)
        except StopIteration as error:  # would read as the end of the source
            return _Made(error=RuntimeError(f"prepare raised StopIteration({error})"), index=index)
        except BaseException as error:  # noqa: BLE001 - as above
            return _Made(error=error, index=index)
        return _Made(batch, index=index, seconds=time.perf_counter() - start)

    def forget(self) -> None:
        """Let go of the source and of the batches that nobody will ask for."""
        self._items = iter(())
        while not self.slots.empty():
            self.slots.get()


def _stop(maker: _Maker, threads: "list[threading.Thread]") -> None:
    """End the threads. As it is the finalizer too, it may run anywhere, also inside one of them."""
    maker.stopped = True
    for _ in threads:
        maker.permits.put(False)
    if threading.current_thread() not in threads:
        deadline = time.monotonic() + _PATIENCE
        for thread in filter(threading.Thread.is_alive, threads):
            thread.join(max(0.0, deadline - time.monotonic()))
    maker.forget()
    ended: SimpleQueue[_Made] = SimpleQueue()
    ended.put(_Made(error=StopIteration()))
    maker.slots.put(ended)  # for a caller that waits in another thread


def _located(error: BaseException, index: int) -> BaseException:
    """Return the error with the number of its batch: of the same type if it is one of ours, else a DataError.

    As they are: the end of the source, exits and interrupts, and errors that have a ``batch`` already.
    """
    if not isinstance(error, Exception) or isinstance(error, StopIteration) or hasattr(error, "batch"):
        return error
    located = ours(error).placed(f"batch {index}", batch=index)
    located.__cause__ = error
    return located
