"""Device strings -> backends, and the way of an array from one to another.

A device string is a device of the library that owns its kind (``"cpu"`` is numpy's, ``"cuda:0"``
cupy's), or a library and its device: ``"torch:cpu"``, ``"torch:cuda:0"``. It says alone where an array is.
"""

from typing import Any

from sparknet.backends import registry
from sparknet.backends.backend import Backend
from sparknet.errors import DeviceError

# kind of device -> the backend whose devices are written without its name
OWNERS = {"cpu": "numpy", "cuda": "cupy"}


def backend_for_device(device: str) -> Backend:
    """Return the backend of a device string: ``"cpu"``, ``"cuda:0"``, ``"torch:cuda:0"``.

    ``"cuda"`` and ``"torch:cuda"`` are looked up at each call: which device they are is the task's affair.

    Raises
    ------
    DeviceError
        No backend has such a device, or it is not there.
    MissingDependency
        The library of that device is not installed.

    Examples
    --------
    >>> backend_for_device("cpu").name
    'numpy'
    """
    backend = registry.BY_DEVICE.get(device)
    if backend is None:
        backend, is_fixed = _find(device)
        if is_fixed:
            registry.BY_DEVICE[device] = backend
    return backend


def _find(device: str) -> tuple[Backend, bool]:
    """Return the backend of a device string, and whether it is that of every task of this process."""
    if not isinstance(device, str):
        msg = f"got the device {device!r}, expected a string such as 'cpu' or 'cuda:0'"
        raise DeviceError(msg)
    kind, _, rest = device.partition(":")
    name, own = (OWNERS[kind], device) if kind in OWNERS else (kind, rest)
    if name not in registry.REGISTRY and registry.entry_point(name) is None:
        msg = f"unknown device {device!r}; expected 'cpu' or 'cuda:N', or a backend and its device, such as 'torch:cpu'"
        raise DeviceError(msg)
    backend = registry.get_backend(name)
    placed = backend.placed(own) if own and backend.placed is not None else own
    if placed and device_string(name, placed) != backend.device:
        if backend.on is None:
            msg = f"backend {name!r} has the device {backend.device!r} only, not {device!r}"
            raise DeviceError(msg)
        backend = backend.on(placed)
    return backend, placed == own


def device_string(name: str, device: str) -> str:
    """Return how the device of a backend is written: ``("cupy", "cuda:1")`` is ``"cuda:1"``, others with their name."""
    return device if OWNERS.get(device.partition(":")[0]) == name else f"{name}:{device}"


def convert(
    obj: Any, source: Backend | None, *, dtype: Any = None, device: str | None = None, copy: bool | None = None
) -> tuple[Any, Backend]:
    """Return the own array of ``obj`` on ``device``, and its backend.

    ``source`` is the backend of ``obj``, None for plain data. On the device where it is, memory is shared unless
    ``copy`` is true; between devices there is always a copy: straight within a library, through host memory
    from one to another.
    """
    target = (source or registry.get_backend("numpy")) if device is None else backend_for_device(device)
    if source is None or source is target:
        return target.asarray(obj, dtype=dtype, copy=copy), target
    if copy is False:
        msg = f"copy=False, but the array is on {source.device!r} and goes to {target.device!r}: that is a copy"
        raise ValueError(msg)
    if source.name == target.name:
        return target.asarray(obj, dtype=dtype), target
    # from the host to the host, the memory would be shared
    return target.asarray(source.to_host(obj), dtype=dtype, copy=source.host or None), target
