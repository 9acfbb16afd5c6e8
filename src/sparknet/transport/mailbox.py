"""Messages between two threads, of which old work is not kept."""

import queue
import threading
from typing import Any

from sparknet.transport.messages import Work

__all__ = ["Mailbox"]

_WORK = object()  # stands in the queue for the newest work


class Mailbox:
    """A queue in which work that nobody has taken yet is replaced by newer work: it has weights, and nobody wants it any more.

    Where rounds do not wait for all, a worker that stands still would else be sent, or have to keep, the weights of each round.

    Examples
    --------
    >>> box = Mailbox()
    >>> for message in Work(1, "weights"), "beat", Work(2, "weights"), None:
    ...     box.put(message)
    >>> box.get(), box.get(), box.get()
    (Work(round=2, body='weights', exactly=None, ahead=0), 'beat', None)
    """

    def __init__(self) -> None:
        self._queue = queue.SimpleQueue[Any]()
        self._lock = threading.Lock()
        self._work: Work | None = None

    def put(self, message: Any) -> None:
        """Put a message, or anything else that :meth:`get` is to return."""
        if isinstance(message, Work):
            with self._lock:
                self._work = message
            message = _WORK
        self._queue.put(message)

    def get(self) -> Any:
        """Wait for the next message and return it."""
        while (message := self._queue.get()) is _WORK:
            with self._lock:
                work, self._work = self._work, None
            if work is not None:
                return work
        return message
