"""Memory that is used again as soon as nobody looks at it any more.

Fresh memory is dear: the kernel clears every page of it when it is first touched, which takes longer than receiving the same bytes over
loopback. What is handed out here comes back by itself: when the last array or memoryview of it is gone, and never before. So nobody has to
promise anything about views that he keeps. Until it is handed out again, the kernel may have the pages of large memory, if it is short of any.
"""

import weakref
from collections import deque

import numpy as np

from sparknet.serialization.memory.buffers import Bytes, aligned, let_go

__all__ = ["Leases"]

_STEP = 4096  # bytes: sizes that differ by less are one
_SHARED = 4  # a message with weights alone uses the memory of one with weights and the state of Adam, which has two numbers for each
_LARGE = 1 << 23  # bytes: more than a slice of a result has, which is used again at once


class Leases:
    """Memory of one size, the largest that was asked for, from any thread. It is freed with this object.

    Who asks for less than a quarter of that size gets memory of his own.

    Examples
    --------
    >>> memory = Leases()
    >>> view = memory.take(100)
    >>> view[:] = 7
    >>> part, address = view[50:], view.ctypes.data
    >>> del view
    >>> memory.take(100).ctypes.data == address  # somebody still has a part of it
    False
    >>> del part
    >>> memory.take(100).ctypes.data == address
    True
    """

    def __init__(self) -> None:
        self._size = 0
        # A deque and no lock: memory may come back in the middle of any statement of the thread that takes.
        self._free: deque[Bytes] = deque()

    def take(self, size: int) -> Bytes:
        """Return so many bytes, with any contents, at a multiple of 64 bytes."""
        room = -(-size // _STEP) * _STEP
        if room > self._size:
            self._size = room
            self._free.clear()
        elif room > self._size // _SHARED:
            room = self._size
        memory = self._found() if room == self._size else None
        if memory is None:
            memory = aligned(room)
        # Over a memoryview: views of an array over an array would refer to the latter, and this one be gone too soon.
        lease = np.frombuffer(memory.data, np.uint8)
        weakref.finalize(lease, _give, weakref.ref(self), memory).atexit = False
        return lease[:size]

    def _found(self) -> Bytes | None:
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _give(self, memory: Bytes) -> None:
        if len(memory) == self._size:
            if self._size >= _LARGE:
                let_go(memory)
            self._free.append(memory)


def _give(leases: "weakref.ref[Leases]", memory: Bytes) -> None:
    alive = leases()
    if alive is not None:
        alive._give(memory)
