"""The array libraries that NDArray works with, each loaded on first use.

A backend is a value, :class:`Backend`: an array library *on one device*. It is found by its name, by a device string or by
an array, in tables. A third party adds a backend with :func:`register_backend`, or with an entry point of the group
``sparknet.backends``. Nothing here imports an array library.
"""

from sparknet.backends.backend import Backend
from sparknet.backends.devices import backend_for_device
from sparknet.backends.registry import available, backend_of, get_backend, register_backend, release_memory

__all__ = [
    "Backend",
    "available",
    "backend_for_device",
    "backend_of",
    "get_backend",
    "register_backend",
    "release_memory",
]
