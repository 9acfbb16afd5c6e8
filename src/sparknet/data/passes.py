"""One pass over minibatches in test: the loop of every evaluation, in this process and in the tasks of a cluster.

The next minibatch is prepared in a thread while the net computes. Items are read in the caller's own thread, because a function of the
user that makes them may need it, such as one with an open connection. Order and results are those of the plain loop.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from sparknet.data.blas import single_threaded_blas
from sparknet.data.prefetch import prefetch
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even
from sparknet.data.sampling import step_rng
from sparknet.data.shards import as_used
from sparknet.ndarray import NDArray

__all__ = ["PreparedItem", "as_tested", "one_pass"]

Item = TypeVar("Item")
Batch = TypeVar("Batch")
Result = TypeVar("Result")

_END: Any = object()


class PreparedItem(Generic[Batch]):
    """The result of preparing an item in another thread: ``get()`` returns it, or raises the error."""

    def __init__(self, prepare: Callable[[Item], Batch], item: Item) -> None:
        self._error: Exception | None = None
        try:
            self._batch = prepare(item)
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            self._error = error

    def get(self) -> Batch:
        """Return the prepared item, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._batch


def one_pass(
    items: Iterable[Item],
    prepare: Callable[[Item], Batch],
    compute: Callable[[Item, PreparedItem[Batch]], Result],
    *,
    ahead: int = 1,
) -> Iterator[Result]:
    """Yield ``compute(item, prepared)`` for each item, with one BLAS thread.

    Parameters
    ----------
    items
        Read in the caller's thread.
    prepare
        Turns an item into a minibatch (decode, crop, ...), in a thread.
    compute
        Called in the caller's thread, one item after the other.
    ahead
        Number of items that are read and prepared before their turn. 0: no thread, for items that depend on earlier results.

    Examples
    --------
    >>> list(one_pass([1, 2, 3], lambda item: 10 * item, lambda item, prepared: (item, prepared.get())))
    [(1, 10), (2, 20), (3, 30)]
    """
    read: SimpleQueue[Any] = SimpleQueue()
    waiting = deque[Item]()
    with single_threaded_blas(), prefetch(_until_end(read), partial(PreparedItem, prepare), depth=ahead) as made:
        try:
            for item in items:
                read.put(item)
                waiting.append(item)
                if len(waiting) > ahead:
                    yield compute(waiting.popleft(), next(made))
            while waiting:
                yield compute(waiting.popleft(), next(made))
        finally:
            read.put(_END)  # the thread may wait for an item


def _until_end(read: "SimpleQueue[Any]") -> Iterator[Any]:
    while (item := read.get()) is not _END:
        yield item


def as_tested(
    batch: Mapping[str, NDArray], preprocessor: Preprocessor | None, even: Even | None
) -> tuple[int, Mapping[str, NDArray]]:
    """Return the number of rows that count, and the minibatch for the net, after the preprocessor's behaviour in test.

    A minibatch without rows that count is left out.
    """
    return as_used(batch, preprocessor, even, step_rng(0, 0, 0), train=False)
