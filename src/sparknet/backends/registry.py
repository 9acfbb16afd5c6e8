"""Names and array types -> backends: a table, read when something is first used.

Nothing here imports an array library by itself: a backend's module is imported when it is first asked for.
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

# What was found already; all of it is forgotten when a backend is registered.
_LOADED: dict[str, Backend] = {}
_BY_TYPE: dict[type, Backend | None] = {}
BY_DEVICE: dict[str, Backend] = {}  # filled by sparknet.backends.devices


def register_backend(name: str, target: str) -> None:
    """Register (or replace) a backend under ``name``; ``target`` is ``"module:attribute"``.

    The module is imported when the backend is first used, not now. An installed package needs no call: it names
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
    """Return the backend called ``name`` on its default device, importing its library if this is the first use.

    Raises
    ------
    MissingDependency
        The name is unknown, or the backend's library is not installed.
    DeviceError
        The library is there, and the device that it needs is not.

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
    """Return the target that an installed package names, if one does; reading them takes milliseconds."""
    from importlib.metadata import entry_points

    for found in entry_points(group="sparknet.backends"):
        REGISTRY.setdefault(found.name, found.value)
    return REGISTRY.get(name)


def forget(name: str) -> None:
    """Forget what was found of the backend ``name``, which is looked for again at its next use."""
    _LOADED.pop(name, None)
    _BY_TYPE.clear()
    for device in [device for device, backend in BY_DEVICE.items() if backend.name == name]:
        del BY_DEVICE[device]


def release_memory() -> None:
    """Give memory that no array uses any more, and that backends keep for the next one, back to devices and machine.

    Of a GPU the other programs can then have it; page-locked memory too. Only backends that were used are asked. A training does
    this when it ends.
    """
    for backend in list(_LOADED.values()):
        if backend.release is not None:
            backend.release()


def available() -> tuple[str, ...]:
    """Names of the registered backends that can be used here (this imports each of them).

    No GPU is touched: CUDA does not start, so the process may still fork others that use it.

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
    """Return the backend whose library made ``array``, on the device where it is; None for anything else.

    The package of its type decides, which is imported already: this never imports a library that
    the program does not use.

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
        entry_point(packages[0])  # an array of a package that is not known yet
    for package in packages:
        if package in REGISTRY:
            backend = get_backend(package)
            return backend if issubclass(kind, backend.array_type) else None
    return None
