"""The calls of CUDA itself that CuPy passes on (cupy_backends/cuda/api/runtime.pyx)."""

import os
import threading

import numpy as np

from cupy._machine import machine

# Names of C alone (runtime.pxd:147): CuPy shows Python no numbers of errors.
_errorInitializationError = 3
_errorInvalidDevice = 101
_errorMemoryAllocation = 2
_errorNoDevice = 100
memoryTypeUnregistered, memoryTypeHost, memoryTypeDevice = 0, 1, 2
hostAllocPortable = 1
_NAMES = {
    2: "cudaErrorMemoryAllocation: out of memory",
    3: "cudaErrorInitializationError: initialization error",
    100: "cudaErrorNoDevice: no CUDA-capable device is detected",
    101: "cudaErrorInvalidDevice: invalid device ordinal",
}

_thread = threading.local()
locked = {}  # address -> the memory
pending = {}  # (device, stream) with long work before it -> what is to be done after that


class CUDARuntimeError(RuntimeError):
    """runtime.pyx:128: a RuntimeError with the name of the status and what it says; pickled by its number."""

    def __init__(self, status):
        self.status = status
        super().__init__(_NAMES[status])

    def __reduce__(self):
        return type(self), (self.status,)


def initialize():
    """Every call of CUDA fails in a child that was forked after the first one: a context does not survive a fork."""
    if machine.pid not in {None, os.getpid()}:
        raise CUDARuntimeError(_errorInitializationError)
    if not machine.visible():
        raise CUDARuntimeError(_errorNoDevice)
    machine.pid = os.getpid()


def context(device):
    """What allocates or computes makes a context on its device: hundreds of megabytes there."""
    initialize()
    machine.contexts.add(device)


def getDeviceCount():
    initialize()
    return machine.visible()


def getDevice():
    initialize()
    return getattr(_thread, "device", 0)


def setDevice(device):
    initialize()
    if not 0 <= device < machine.visible():
        raise CUDARuntimeError(_errorInvalidDevice)
    context(device)  # from CUDA 12 on, by the call itself
    _thread.device = device


def getDeviceProperties(device):
    return {"name": b"stand-in", "totalGlobalMem": 1 << 34, "major": 9, "minor": 0, "device": device}


def driverGetVersion():
    return 12040


def runtimeGetVersion():
    return 12040


def memGetInfo():
    return (1 << 34) - machine.used[getDevice()], 1 << 34


def hostAlloc(size, _flags=0):
    """Page-locked memory is asked for on the current device, which gets a context by that."""
    context(getDevice())
    if sum(memory.nbytes for memory in locked.values()) + size > machine.lockable:
        raise CUDARuntimeError(_errorMemoryAllocation)
    finish_all(getDevice())
    machine.counts["locked"] += 1
    memory = np.empty(size, np.uint8)
    locked[memory.ctypes.data] = memory
    return memory.ctypes.data


def freeHost(address, held=locked):
    del held[address]


def pointerGetMemoryType(address):
    initialize()
    found = any(start <= address < start + memory.nbytes for start, memory in locked.items())
    return memoryTypeHost if found else memoryTypeUnregistered


def at_address(array):
    """Return what CUDA knows of host memory, its address: an array that keeps no block of a pool for itself."""
    for start, memory in locked.items():
        if start <= array.ctypes.data < start + memory.nbytes:
            return np.ndarray(array.shape, array.dtype, memory, array.ctypes.data - start, array.strides)
    return array


def queued(device, stream):
    """Work was queued on a stream: a slow device is not done with it before somebody waits."""
    if machine.slow:
        pending.setdefault((device, stream), [])


def finish(device, stream):
    """The host waits until a stream has done its work."""
    for work in pending.pop((device, stream), ()):
        work()


def finish_all(device):
    """CUDA allocates memory, of the device and page-locked, and loads kernels, when no stream is at work ("Implicit
    Synchronization" in its programming guide).
    """
    for key in [key for key in pending if key[0] == device]:
        finish(*key)


def streamSynchronize(stream):
    finish(getDevice(), stream)
    machine.counts["synchronize"] += 1


def deviceSynchronize():
    finish_all(getDevice())
    machine.counts["synchronize"] += 1
