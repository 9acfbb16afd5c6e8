"""The machine that this stand-in imitates: what a test sets, and what it reads afterwards. CuPy has no such module.

A child process has a machine of its own, so what it shall have is said by the environment: ``STAND_IN_DEVICES`` is how many
devices the machine has, ``STAND_IN_VERSION`` the version that CuPy says, ``STAND_IN_SLOW`` that the devices are slow,
``STAND_IN_WARNS`` that CuPy warns of what is missing. CUDA_VISIBLE_DEVICES hides devices, as it does from CUDA.
"""

import os
from collections import Counter


class Machine:
    """What the devices were asked to do."""

    def __init__(self):
        self.devices = int(os.environ.get("STAND_IN_DEVICES", "1"))
        self.slow = "STAND_IN_SLOW" in os.environ  # a stream is at work from any call on until somebody waits for it
        self.lockable = 1 << 40  # bytes of page-locked memory that the system grants
        self.pid = None  # of the process in which CUDA was initialized
        self.used = Counter()  # device -> bytes
        self.kept = Counter()  # (device, stream, size) -> free blocks
        self.compiled = set()  # kernels, each for a device
        self.clear()

    def clear(self):
        """Forget what was counted."""
        self.counts = Counter()  # "get", "upload", "synchronize", "locked", "device pool freed": how often
        self.uploads = []  # (type, shape) of each copy from the host
        self.contexts = set()  # devices that have a context in this process
        self.log = []  # ("record", "wait" or "copy", device of the stream, its pointer, number of the event or the other device)
        self.peak = Counter(self.used)  # device -> the most bytes at a time

    def visible(self):
        """Return how many devices the process may see."""
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        return self.devices if shown is None else min(self.devices, len([x for x in shown.split(",") if x.strip()]))

    def allocate(self, device, size):
        self.used[device] += size
        self.peak[device] = max(self.peak[device], self.used[device])

    def free(self, device, size, key):
        self.used[device] -= size
        self.kept[key] += 1


machine = Machine()
