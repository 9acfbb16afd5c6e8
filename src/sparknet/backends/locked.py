"""Page-locked host memory, of which all transfers of a process together take a bounded amount. For :mod:`sparknet.backends.cupy`.

The copy engine of a GPU reads and writes locked memory at the full speed of the bus, and it is dear to the rest of the machine. cupy
locks some for each upload too, in a pool of its own that has no limit and gives nothing back; so uploads go through this one.
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
    """A pool of locked memory over cupy's, whose blocks are powers of two and are used again for blocks of the same size.

    Parameters
    ----------
    cuda
        The module ``cupy.cuda``.
    limit
        Bytes at a time, in use or kept for the next array.
    """

    def __init__(self, cuda: Any, limit: int) -> None:
        self.limit = limit
        self._cuda = cuda
        self._pool = cuda.PinnedMemoryPool(self._lock)
        self._locked: dict[int, int] = {}  # address -> bytes of the blocks that are locked now
        self._used: dict[int, int] = {}  # number -> bytes of those that arrays are in
        self._numbers = itertools.count()
        self._sent: deque[tuple[Any, Any]] = deque()  # (event, what a device reads until then), oldest first
        self._guard = threading.Lock()

    def array(self, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> "np.ndarray[Any, Any] | None":
        """Return an uninitialized array in locked memory, which goes back to the pool with its last view.

        None where the limit, or the system, leaves no room: ordinary memory serves, slower. The current device, which gets a context
        by this, should be the one that copies.
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
        """Keep an array until a stream, which is to copy from it, has come to this point."""
        self._sent.append((stream.record(), array))

    def free(self) -> None:
        """Give all memory back to the system that no array is in."""
        self._take_back(every=True)
        self._pool.free_all_blocks()

    def _lock(self, size: int) -> Any:
        """Lock a new block for the pool; a MemoryError where it would be too much, and nothing is given up for it in vain."""
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
        """Let go of arrays that were copied: of the oldest ones, or ``every`` one, behind a stream that is busy too."""
        done = []  # is let go of behind the guard, because the pool of older cupys has a lock of its own
        with self._guard:
            while self._sent and self._sent[0][0].done:
                done.append(self._sent.popleft())
            if every:
                left, self._sent = self._sent, deque()
                for sent in left:
                    (done if sent[0].done else self._sent).append(sent)
        del done
