"""CUDA devices, counted without starting CUDA in this process; and the process in which CUDA was started.

After a process has started CUDA, a process forked from it cannot use CUDA: every call fails with an initialization error. So
counting must not start CUDA, and the process that started it is remembered, for an error that says what happened.
"""

import ctypes
import os
import subprocess
import sys

from sparknet.errors import AFTER_FORK, DeviceError

__all__ = ["check_not_forked", "count", "note_started"]

_DRIVER = "libcuda.so.1"
_ASK = f"""
import ctypes
driver, count = ctypes.CDLL({_DRIVER!r}), ctypes.c_int()
driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
print(count.value)  # 0 where one of them failed
"""
_SECONDS = 60  # a sleeping driver needs a few

_started: int | None = None  # the process in which sparknet started CUDA


def note_started() -> None:
    """Remember that CUDA was started in this process."""
    global _started  # noqa: PLW0603 - a fact of the process
    _started = os.getpid()


def check_not_forked() -> None:
    """Raise a DeviceError in a process that was forked after CUDA had been started."""
    if _started not in {None, os.getpid()}:
        msg = f"CUDA was started in process {_started}, from which this one was forked: {AFTER_FORK}"
        raise DeviceError(msg)


def count() -> int:
    """Return how many devices CUDA finds here, counted in a process of its own; 0 without a driver.

    ``CUDA_VISIBLE_DEVICES`` is obeyed. With a driver, this takes some tenths of a second.
    """
    try:
        ctypes.CDLL(_DRIVER)  # loading it starts nothing
    except OSError:
        return 0
    try:
        asked = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-I", "-S", "-c", _ASK], capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        return int(asked.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0
