"""Work on several cores at once: copies, sums and reads of large tensors.

numpy and the kernel let go of the GIL while they copy or sum, and one core does not use all of the memory's bandwidth.
Two cores copy AlexNet's 244 MB into fresh memory, which the kernel has to clear, in 0.6 of the time. Threads are started
for one call and end with it, so that a process may be forked before and after.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any

_MOST = 4  # a few cores are all that the memory can feed


def each(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Return ``[work(item) for item in items]``; the calling thread works too, others help it.

    After the first error no further item is begun, and it is raised when those that were begun have ended.
    """
    items = list(items)
    if len(items) <= 1:
        return list(map(work, items))
    results: list[Any] = [None] * len(items)
    errors: list[BaseException] = []
    queue = iter(enumerate(items))  # taking the next entry is one step of the interpreter: no two threads get the same

    def run() -> None:
        try:
            for index, item in queue:
                results[index] = work(item)
        except BaseException as error:  # noqa: BLE001 - raised below, in the calling thread
            errors.append(error)
            deque(queue, maxlen=0)

    helpers = _started(run, min(_cores(), len(items)) - 1)
    run()
    try:
        for helper in helpers:
            helper.join()
    finally:  # after an interrupt the helpers begin nothing more
        deque(queue, maxlen=0)
    if errors:
        raise errors.pop(0)
    return results


def _cores() -> int:
    """Return how many cores are used at most: those that this process may run on."""
    return min(_MOST, len(os.sched_getaffinity(0)))


def _started(run: Callable[[], None], count: int) -> list[Thread]:
    """Start up to ``count`` threads; none can be started any more when the interpreter ends."""
    started = []
    for _ in range(count):
        thread = Thread(target=run, name="sparknet-copy", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            break
        started.append(thread)
    return started
