"""Device strings -> backends, and moving arrays between backends.

A device string names a device: ``"cpu"`` is numpy's and ``"cuda:0"`` cupy's, and other libraries are named too, as in
``"torch:cpu"``, ``"torch:cuda:0"``. The string alone says where an array is.
"""

from typing import Any

from sparknet.backends import registry
from sparknet.backends.backend import Backend
from sparknet.errors import DeviceError

# kind of device -> the backend whose devices are written without the backend's name
OWNERS = {"cpu": "numpy", "cuda": "cupy"}


def backend_for_device(device: str) -> Backend:
    """Return the backend of a device string: ``"cpu"``, ``"cuda:0"``, ``"torch:cuda:0"``.

    ``"cuda"`` and ``"torch:cuda"`` are looked up at each call, because each task may have another device.

    Raises
    ------
    DeviceError
        No backend has such a device, or this machine does not have it.
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
    """Return the backend of a device string, and whether it is the same for all tasks of this process."""
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
    """Return the device string for a backend's device: ``"cuda:1"`` for ``("cupy", "cuda:1")``, with the backend's name for others."""
    return device if OWNERS.get(device.partition(":")[0]) == name else f"{name}:{device}"


def convert(
    obj: Any, source: Backend | None, *, dtype: Any = None, device: str | None = None, copy: bool | None = None
) -> tuple[Any, Backend]:
    """Return the own array of ``obj`` on ``device``, and its backend.

    ``source`` is the backend of ``obj``, None for plain data. If ``obj`` is on ``device`` already, memory is shared unless
    ``copy`` is true. Otherwise there is always a copy: directly within a library, through host memory between libraries.
    """
    target = (source or registry.get_backend("numpy")) if device is None else backend_for_device(device)
    if source is None or source is target:
        return target.asarray(obj, dtype=dtype, copy=copy), target
    if copy is False:
        msg = f"copy=False, but the array is on {source.device!r} and goes to {target.device!r}: that is a copy"
        raise ValueError(msg)
    if source.name == target.name:
        return target.asarray(obj, dtype=dtype), target
    # two libraries in host memory would share it
    return target.asarray(source.to_host(obj), dtype=dtype, copy=source.host or None), target
