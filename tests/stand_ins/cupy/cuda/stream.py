"""Streams and events (cupy/cuda/stream.pyx): a current stream for each device and each thread.

The work of a stream is done when it is queued. Only behind a kernel that runs long (``cupy.RawKernel``), and on slow devices, it is
busy until somebody waits for it. The order that a program asks for is in ``machine.log``.
"""

import itertools
import threading

from cupy._machine import machine
from cupy.cuda import runtime

_thread = threading.local()
_numbers = itertools.count(1)
_pointers = itertools.count(4096, 4096)
_LEGACY = 1  # streamLegacy: how the default stream, 0, is called towards other libraries


def _stacks():
    """stream.pyx:14: what is current, for each device; the default stream at first."""
    if not hasattr(_thread, "stacks"):
        _thread.stacks, _thread.devices = {}, []
    return _thread.stacks


def get_current_stream(device_id=-1):
    """stream.pyx:88: that of the current device, unless another is named."""
    stack = _stacks().get(runtime.getDevice() if device_id == -1 else device_id)
    return stack[-1] if stack else Stream.null


def exported_pointer():
    """core.pyx:315 and :384: the pointer of the *current* device's stream, wherever the array is."""
    return get_current_stream().ptr or _LEGACY


class Event:
    """stream.pyx:101."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        runtime.initialize()
        self.ptr = next(_numbers)
        self._of = None  # device and stream
        self._behind = None  # the work that it was recorded behind

    @property
    def done(self):
        return self._behind is None or runtime.pending.get(self._of) is not self._behind

    def record(self, stream=None):
        (get_current_stream() if stream is None else stream).record(self)

    def synchronize(self):
        machine.counts["synchronize"] += 1
        if self._of:
            runtime.finish(*self._of)


class _BaseStream:
    def __init__(self, ptr, device_id):
        self.ptr = ptr
        self.device_id = device_id

    def _device(self):
        """stream.pyx:182: a stream is used on its own device; the default one belongs to whichever is current."""
        current = runtime.getDevice()
        if self.device_id not in {-1, current}:
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with the current device ({current})"
            )
        return current

    def __eq__(self, other):
        return isinstance(other, _BaseStream) and self.ptr == other.ptr

    def __hash__(self):
        return self.ptr

    def __enter__(self):
        device = self._device()
        _stacks().setdefault(device, []).append(self)
        _thread.devices.append(device)
        return self

    def __exit__(self, *_):
        _stacks()[_thread.devices.pop()].pop()

    def use(self):
        _stacks()[self._device()] = [self]
        return self

    def _place(self):
        return (runtime.getDevice() if self.device_id == -1 else self.device_id), self.ptr

    @property
    def done(self):
        return self._place() not in runtime.pending

    def synchronize(self):
        machine.counts["synchronize"] += 1
        runtime.finish(*self._place())

    def record(self, event=None):
        event = Event() if event is None else event
        machine.log.append(("record", self._device(), self.ptr, event.ptr))
        event._of = self._place()
        event._behind = runtime.pending.get(event._of)
        return event

    def wait_event(self, event):
        machine.log.append(("wait", *self._place(), event.ptr))
        if not event.done:
            runtime.pending.setdefault(self._place(), [])


class Stream(_BaseStream):
    """stream.pyx:459: of the device that is current when it is made."""

    def __init__(self, null=False, non_blocking=False, ptds=False):
        super().__init__(0 if null else next(_pointers), -1 if null else runtime.getDevice())


class ExternalStream(_BaseStream):
    def __init__(self, ptr, device_id=-1):
        super().__init__(ptr, device_id)


Stream.null = Stream(null=True)
