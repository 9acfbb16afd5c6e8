"""Devices, and which one is current (cupy/cuda/device.pyx)."""

from cupy.cuda import runtime


class Device:
    """device.pyx:125; the current one by default, ``with`` makes it current."""

    def __init__(self, device=None):
        self.id = runtime.getDevice() if device is None else int(device)
        self._before = []

    def __int__(self):
        return self.id

    def __index__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self):
        return self.id

    def __enter__(self):
        before = runtime.getDevice()
        self._before.append(before)
        if self.id != before:  # device.pyx:180
            runtime.setDevice(self.id)
        return self

    def __exit__(self, *_):
        runtime.setDevice(self._before.pop())

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def use(self):
        runtime.setDevice(self.id)
        return self

    def synchronize(self):
        with self:
            runtime.deviceSynchronize()

    @property
    def mem_info(self):
        with self:
            return runtime.memGetInfo()

    @property
    def attributes(self):
        return {"ClockRate": 1_000_000}

    @property
    def compute_capability(self):
        return "90"
