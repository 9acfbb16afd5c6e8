"""Prefetch: threads make the next batches while the caller computes on this one.

A batch may be any object, so this works for Caffe, torch and any other loop. Order and contents are those of the plain loop
``for item in source: prepare(item)``, whatever the depth and the number of threads.

The threads share SimpleQueues and the lock of the source, nothing else: a finalizer may interrupt a thread and put into a
SimpleQueue safely. The threads are daemons. They are stopped and waited for when the Prefetcher is closed or collected, or when
the interpreter ends.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from sparknet.errors import DataError, as_sparknet_error

__all__ = ["Prefetcher", "prefetch"]

Batch = TypeVar("Batch")

_PATIENCE = 10.0  # seconds that closing waits for a source that is in the middle of a batch


def prefetch(
    source: Iterable[Any], prepare: Callable[[Any], Any] | None = None, *, depth: int | None = None, threads: int = 1
) -> "Prefetcher[Any]":
    """Return an iterator over ``prepare(item)`` for each item of ``source``; threads make them before they are asked for.

    Parameters
    ----------
    source
        Any iterable. The threads read it, one thread at a time.
    prepare
        Makes a batch of an item (decode, crop, ...); None: the items are batches. Several threads call it at the same time.
    depth
        The largest number of batches that are ready or being made. Memory holds these, and the batch that the caller works on.
        0: no thread; each batch is made when it is asked for. None: ``threads``. With one thread, None begins with 1 and
        becomes 2 when the caller has to wait for a batch other than the first.
    threads
        How many threads make batches, at most ``depth``. One is enough if a batch takes less time to make than to use.

    Raises
    ------
    DataError
        ``depth`` or ``threads`` is out of range, or ``threads`` is more than ``depth``. While iterating: ``source`` or
        ``prepare`` failed; the message begins with the number of the batch. An error of sparknet keeps its type. If it has an
        attribute ``batch`` already, it is raised as it is.

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

    Use it in a ``with`` block, or call :meth:`close`: either waits for the threads to end, up to 10 seconds. A thread that is
    still making a batch then ends after it. The threads also end if the Prefetcher is no longer referenced. One thread at a
    time may ask for batches. If a signal handler's exception (Ctrl-C) interrupts the wait for a batch, no batch is lost.
    """

    def __init__(
        self, source: Iterable[Any], prepare: Callable[[Any], Any] | None, depth: int, threads: int, spare: int = 0
    ) -> None:
        maker = self._maker = _Maker(source, prepare)
        self._spare = spare  # the depth grows by this when a batch is late
        self._waited = self._worked = 0.0
        self._slot: SimpleQueue[_Made] | None = None  # the next batch comes in it; kept if the wait is interrupted
        for _ in range(depth):
            maker.permits.put(True)
        # The threads refer to the maker alone: a reference to the Prefetcher would keep it from being collected.
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
        raise errors.pop()  # no local name may hold it: that is a cycle, which keeps the frames above and their arrays alive

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
        if late and self._spare and made.index:  # the time per batch varies: a second batch in reserve evens that out
            self._spare -= 1
            self._maker.permits.put(True)
        return made

    @property
    def waited(self) -> float:
        """Seconds that the caller has waited for the batches it has got."""
        return self._waited

    @property
    def worked(self) -> float:
        """Seconds that making these batches took; most of it may have passed while the caller computed."""
        return self._worked

    def close(self) -> None:
        """End the threads, and drop the source and the batches; a second call does nothing."""
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
        """Drop the source, and the batches that nobody will ask for."""
        self._items = iter(())
        while not self.slots.empty():
            self.slots.get()


def _stop(maker: _Maker, threads: "list[threading.Thread]") -> None:
    """End the threads. This is the finalizer too, so it may run in any thread, also in one of them."""
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

    The end of the source, exits, interrupts, and errors with an attribute ``batch`` are returned as they are.
    """
    if not isinstance(error, Exception) or isinstance(error, StopIteration) or hasattr(error, "batch"):
        return error
    located = as_sparknet_error(error).placed(f"batch {index}", batch=index)
    located.__cause__ = error
    return located
