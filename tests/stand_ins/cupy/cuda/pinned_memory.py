"""Page-locked memory and its pools (cupy/cuda/pinned_memory.pyx)."""

import ctypes
import threading
import weakref

import numpy as np

from cupy.cuda import runtime


class PinnedMemory:
    """pinned_memory.pyx:15."""

    def __init__(self, size, flags=0):
        self.size = size
        self.ptr = runtime.hostAlloc(size, flags) if size else 0

    def __del__(self, free=runtime.freeHost):  # bound here, because modules may be gone when Python ends
        if getattr(self, "ptr", 0):
            free(self.ptr)


def PinnedMemoryPointer(mem, offset):
    """pinned_memory.pyx:43: hands out Python's buffer. An array of ctypes, as Python 3.11 lets no class of its own do that."""
    memory = runtime.locked[mem.ptr] if mem.ptr else np.empty(1, np.uint8)
    kind = type("PinnedMemoryPointer", (ctypes.c_ubyte * (mem.size - offset),), {"size": lambda self: len(self)})
    pointer = kind.from_buffer(memory, offset)
    pointer.mem, pointer.ptr = mem, mem.ptr + offset
    return pointer


class PooledPinnedMemory:
    """pinned_memory.pyx:214: memory that goes back to its pool when nothing refers to it any more."""

    def __init__(self, mem, pool):
        self.mem, self.pool, self.ptr, self.size = mem, pool, mem.ptr, mem.size

    def __del__(self):
        pool = self.pool()
        if pool is not None:
            pool._taken_back(self.mem)


def _malloc(size):
    return PinnedMemoryPointer(PinnedMemory(size, runtime.hostAllocPortable), 0)


class PinnedMemoryPool:
    """pinned_memory.pyx:245: blocks are used again for the same size only, which is a power of two."""

    def __init__(self, allocator=_malloc):
        self._allocate = allocator
        self._free = {}
        self._lock = threading.Lock()

    def malloc(self, size):
        if not size:
            return PinnedMemoryPointer(PinnedMemory(0), 0)
        size = 1 << (max(size, 512) - 1).bit_length()  # pinned_memory.pyx:286, clp2
        with self._lock:
            blocks = self._free.get(size)
            mem = blocks.pop() if blocks else None
        if mem is None:
            try:
                mem = self._allocate(size).mem
            except runtime.CUDARuntimeError as error:  # pinned_memory.pyx:295
                if error.status != runtime._errorMemoryAllocation:
                    raise
                self.free_all_blocks()
                mem = self._allocate(size).mem
        return PinnedMemoryPointer(PooledPinnedMemory(mem, weakref.ref(self)), 0)

    def _taken_back(self, mem):
        self._free.setdefault(mem.size, []).append(mem)

    def free_all_blocks(self):
        self._free.clear()

    def n_free_blocks(self):
        return sum(map(len, self._free.values()))


default_pool = PinnedMemoryPool()
_allocator = [default_pool.malloc]  # cupy/__init__.py: set_pinned_memory_allocator(_default_pinned_memory_pool.malloc)


def alloc_pinned_memory(size):
    return _allocator[0](size)


def set_pinned_memory_allocator(allocator=None):
    _allocator[0] = _malloc if allocator is None else allocator


def is_memory_pinned(address):
    return runtime.pointerGetMemoryType(address) == runtime.memoryTypeHost
