"""Memory of the devices, counted (cupy/cuda/memory.pyx)."""

from cupy._machine import machine
from cupy.cuda import runtime, stream
from cupy.cuda.device import Device


class Memory:
    """What one allocation takes: whole blocks of 512 bytes (memory.pyx:40), kept for the stream that had them (memory.pyx:1566)."""

    def __init__(self, size, device):
        runtime.context(device)
        self.size, self.device = -(-size // 512) * 512, device
        self.key = (device, stream.get_current_stream(device).ptr, self.size)
        if machine.kept[self.key]:
            machine.kept[self.key] -= 1
        else:
            runtime.finish_all(device)
        machine.allocate(device, self.size)

    def __del__(self, free=machine.free):  # bound here, because modules may be gone when Python ends
        free(self.device, self.size, self.key)


class MemoryPointer:
    """memory.pyx:458."""

    def __init__(self, mem, ptr):
        self.mem, self.ptr = mem, ptr

    @property
    def device_id(self):
        return self.mem.device

    @property
    def device(self):
        return Device(self.mem.device)


class MemoryPool:
    """memory.pyx:1566; of the current device."""

    def used_bytes(self):
        return machine.used[runtime.getDevice()]

    def free_bytes(self):
        return sum(size * many for (device, _, size), many in machine.kept.items() if device == runtime.getDevice())

    def total_bytes(self):
        return self.used_bytes() + self.free_bytes()

    def free_all_blocks(self, stream=None):
        machine.counts["device pool freed"] += 1
        for key in [key for key in machine.kept if key[0] == runtime.getDevice() and stream in {None, key[1]}]:
            del machine.kept[key]


default_pool = MemoryPool()
