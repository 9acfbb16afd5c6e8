"""CuPy says here that it waits for a device to copy something to the host (cupy/_core/syncdetect.py)."""


def _declare_synchronize():
    pass
