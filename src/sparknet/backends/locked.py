"""Page-locked host memory for transfers, with a limit for the process. For :mod:`sparknet.backends.cupy`.

A GPU's copy engine reads and writes locked memory at the full speed of the bus, but other programs cannot use that memory.
cupy locks memory for each upload too, in a pool without a limit that gives nothing back. So uploads use this pool instead.
"""

import itertools
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np

__all__ = ["LockedMemory"]

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation: cupy has the number for C alone


class LockedMemory:
    """A pool of locked memory, with a limit, over cupy's pool. Blocks have sizes of powers of two and are used again.

    Parameters
    ----------
    cuda
        The module ``cupy.cuda``.
    limit
        Most bytes that are locked at a time, in use or kept for later arrays.
    """

    def __init__(self, cuda: Any, limit: int) -> None:
        self.limit = limit
        self._cuda = cuda
        self._pool = cuda.PinnedMemoryPool(self._lock)
        self._locked: dict[int, int] = {}  # address -> bytes of a block that is locked now
        self._used: dict[int, int] = {}  # number -> bytes of a block that an array uses
        self._numbers = itertools.count()
        self._sent: deque[tuple[Any, Any]] = deque()  # (event, array that a device reads until then), oldest first
        self._guard = threading.Lock()

    def array(self, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> "np.ndarray[Any, Any] | None":
        """Return an uninitialized array in locked memory, which goes back to the pool with its last view.

        None if the limit or the system does not allow it; ordinary memory serves then, slower. The current device should be the
        one that copies, because it gets a context by this.
        """
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._take_back()
        try:
            pointer = self._pool.malloc(size)
        except MemoryError:
            return None
        except self._cuda.runtime.CUDARuntimeError as error:
            if error.status != _OUT_OF_MEMORY:
                raise
            return None
        number = next(self._numbers)
        self._used[number] = pointer.mem.size
        weakref.finalize(pointer.mem, self._used.pop, number).atexit = False
        return np.ndarray(shape, dtype, pointer)

    def keep(self, array: "np.ndarray[Any, Any]", stream: Any) -> None:
        """Keep an array until ``stream``, which will copy from it, has come to this point."""
        self._sent.append((stream.record(), array))

    def free(self) -> None:
        """Give all memory that no array uses back to the system."""
        self._take_back(every=True)
        self._pool.free_all_blocks()

    def _lock(self, size: int) -> Any:
        """Lock a new block for the pool; a MemoryError if the limit does not allow it. Free blocks are given up only if that helps."""
        if self._sum(self._used) + size > self.limit:
            self._take_back(every=True)
            if self._sum(self._used) + size > self.limit:
                raise MemoryError
        if self._sum(self._locked) + size > self.limit:
            self._pool.free_all_blocks()
        block = self._cuda.PinnedMemory(size, self._cuda.runtime.hostAllocPortable)  # for copies of every device
        self._locked[block.ptr] = size
        weakref.finalize(block, self._locked.pop, block.ptr).atexit = False
        return self._cuda.PinnedMemoryPointer(block, 0)

    @staticmethod
    def _sum(sizes: dict[int, int]) -> int:
        return sum(list(sizes.values()))

    def _take_back(self, *, every: bool = False) -> None:
        """Let go of arrays that were copied: the oldest ones, or with ``every`` also those after one that is still being read."""
        done = []  # freed after the guard is released, because the pool of older cupys has a lock of its own
        with self._guard:
            while self._sent and self._sent[0][0].done:
                done.append(self._sent.popleft())
            if every:
                left, self._sent = self._sent, deque()
                for sent in left:
                    (done if sent[0].done else self._sent).append(sent)
        del done
