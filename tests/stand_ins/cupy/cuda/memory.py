"""Memory of the devices, counted (cupy/cuda/memory.pyx)."""

from cupy._machine import machine
from cupy.cuda import runtime
from cupy.cuda.device import Device


class Memory:
    """What one allocation takes: blocks of 512 bytes (memory.pyx:1056)."""

    def __init__(self, size, device):
        runtime.context(device)
        self.size, self.device = -(-size // 512) * 512, device
        machine.allocate(device, self.size)

    def __del__(self, free=machine.free):  # bound here, because modules may be gone when Python ends
        free(self.device, self.size)


class MemoryPointer:
    """memory.pyx:448."""

    def __init__(self, mem, ptr):
        self.mem, self.ptr = mem, ptr

    @property
    def device_id(self):
        return self.mem.device

    @property
    def device(self):
        return Device(self.mem.device)


class MemoryPool:
    """memory.pyx:1377; of the current device, as far as it is asked."""

    def used_bytes(self):
        return machine.used[runtime.getDevice()]

    def total_bytes(self):
        return machine.used[runtime.getDevice()]

    def free_all_blocks(self, stream=None):
        machine.counts["device pool freed"] += 1


default_pool = MemoryPool()
