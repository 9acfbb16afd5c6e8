"""Names and array types -> backends.

Nothing here imports an array library: a backend's module is imported when the backend is first asked for.
"""

from importlib import import_module
from typing import Any

from sparknet.backends.backend import Backend
from sparknet.errors import DeviceError, MissingDependency

__all__ = ["available", "backend_of", "get_backend", "register_backend", "release_memory"]

# name -> "module:attribute" of a Backend, on the device that is the library's default
REGISTRY = {
    "numpy": "sparknet.backends.numpy:BACKEND",
    "cupy": "sparknet.backends.cupy:BACKEND",
    "torch": "sparknet.backends.torch:BACKEND",
}

# Caches of what was found. They are cleared when a backend is registered.
_LOADED: dict[str, Backend] = {}
_BY_TYPE: dict[type, Backend | None] = {}
BY_DEVICE: dict[str, Backend] = {}  # filled by sparknet.backends.devices


def register_backend(name: str, target: str) -> None:
    """Register (or replace) a backend under ``name``; ``target`` is ``"module:attribute"``.

    The module is imported at the first use of the backend, not now. An installed package does not need this call: it can name
    its target in the entry point group ``sparknet.backends``.

    Raises
    ------
    ValueError
        ``target`` has no colon.

    Examples
    --------
    >>> register_backend("mine", "my_package.backend:BACKEND")
    >>> "mine" in available()
    False
    """
    if ":" not in target:
        msg = f"register_backend({name!r}): got {target!r}, expected 'module:attribute'"
        raise ValueError(msg)
    REGISTRY[name] = target
    for found in (_LOADED, BY_DEVICE, _BY_TYPE):
        found.clear()


def get_backend(name: str) -> Backend:
    """Return the backend called ``name`` on its default device. Its first use imports the library.

    Raises
    ------
    MissingDependency
        The name is unknown, or the backend's library is not installed.
    DeviceError
        The library is installed, but there is no device for it.

    Examples
    --------
    >>> get_backend("numpy").device
    'cpu'
    """
    backend = _LOADED.get(name)
    if backend is not None:
        return backend
    target = REGISTRY.get(name) or entry_point(name)
    if target is None:
        msg = f"unknown backend {name!r}; known: {', '.join(sorted(REGISTRY))}"
        raise MissingDependency(msg)
    try:
        backend = getattr(_module(name, target), target.partition(":")[2])
    except AttributeError as error:
        raise _not_importable(name, target, error) from error
    _LOADED[name] = backend
    return _LOADED[name]


def _module(name: str, target: str) -> Any:
    """Return the module of a target, imported."""
    try:
        return import_module(target.partition(":")[0])
    except MissingDependency:
        raise
    except (ImportError, AttributeError) as error:
        raise _not_importable(name, target, error) from error


def _not_importable(name: str, target: str, error: Exception) -> MissingDependency:
    return MissingDependency(f"backend {name!r} ({target}) cannot be imported: {error}")


def entry_point(name: str) -> str | None:
    """Return the target that an installed package names, or None. Reading the entry points takes milliseconds."""
    from importlib.metadata import entry_points

    for found in entry_points(group="sparknet.backends"):
        REGISTRY.setdefault(found.name, found.value)
    return REGISTRY.get(name)


def forget(name: str) -> None:
    """Forget the backend ``name``, so that its next use looks for it again."""
    _LOADED.pop(name, None)
    _BY_TYPE.clear()
    for device in [device for device, backend in BY_DEVICE.items() if backend.name == name]:
        del BY_DEVICE[device]


def release_memory() -> None:
    """Give memory that backends keep for later arrays back to the devices and the machine.

    Other programs can use it then: a GPU's memory, and page-locked memory of the host. Only backends in use are asked. A
    training does this when it ends.
    """
    for backend in list(_LOADED.values()):
        if backend.release is not None:
            backend.release()


def available() -> tuple[str, ...]:
    """Return the names of the registered backends that can be used here. This imports each of them.

    CUDA does not start, so the process may still fork others that use it.

    Examples
    --------
    >>> available()[0]
    'numpy'
    """
    return tuple(name for name in REGISTRY if _usable(name))


def _usable(name: str) -> bool:
    try:
        target = REGISTRY[name]
        asked = None if name in _LOADED else getattr(_module(name, target), "usable", None)
        if asked is not None:
            return bool(asked())
        get_backend(name)
    except (MissingDependency, DeviceError):
        return False
    return True


def backend_of(array: Any) -> Backend | None:
    """Return the backend of a library's array, on the array's device; None for any other object.

    The package of the array's type decides. That package is imported already, so this never imports a library that the
    program does not use.

    Examples
    --------
    >>> import numpy
    >>> backend_of(numpy.ones(2)).name, backend_of([1, 2])
    ('numpy', None)
    """
    kind = type(array)
    if kind in _BY_TYPE:
        backend = _BY_TYPE[kind]
    else:
        backend = _BY_TYPE[kind] = _of_type(kind)
    if backend is None or backend.on is None or backend.device_of is None:
        return backend
    return backend.on(backend.device_of(array))


def _of_type(kind: type) -> Backend | None:
    packages = [base.__module__.partition(".")[0] for base in kind.__mro__]
    if not any(package in REGISTRY for package in packages) and hasattr(kind, "__dlpack__"):
        entry_point(packages[0])  # perhaps a package with an entry point that was not read yet
    for package in packages:
        if package in REGISTRY:
            backend = get_backend(package)
            return backend if issubclass(kind, backend.array_type) else None
    return None
