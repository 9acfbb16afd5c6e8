"""CUDA as CuPy shows it; each module says which lines of CuPy 14.2.0 it imitates."""

from cupy.cuda import memory, pinned_memory, runtime, stream
from cupy.cuda.device import Device
from cupy.cuda.memory import MemoryPointer, MemoryPool
from cupy.cuda.pinned_memory import (
    PinnedMemory,
    PinnedMemoryPointer,
    PinnedMemoryPool,
    alloc_pinned_memory,
    set_pinned_memory_allocator,
)
from cupy.cuda.stream import Event, ExternalStream, Stream, get_current_stream

__all__ = [
    "Device",
    "Event",
    "ExternalStream",
    "MemoryPointer",
    "MemoryPool",
    "PinnedMemory",
    "PinnedMemoryPointer",
    "PinnedMemoryPool",
    "Stream",
    "alloc_pinned_memory",
    "get_current_stream",
    "is_available",
    "memory",
    "pinned_memory",
    "runtime",
    "set_pinned_memory_allocator",
    "stream",
]


def is_available():
    """cupy/cuda/__init__.py:102."""
    try:
        return runtime.getDeviceCount() > 0
    except runtime.CUDARuntimeError:
        return False
