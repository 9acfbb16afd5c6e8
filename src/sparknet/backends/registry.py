"""Names and array types -> backends: a table, read when something is first used.

Nothing here imports an array library by itself: a backend's module is imported when it is first asked for.
"""

from importlib import import_module
from typing import Any

from sparknet.backends.backend import Backend
from sparknet.errors import DeviceError, MissingDependency

__all__ = ["available", "backend_of", "get_backend", "register_backend"]

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
    module, _, attribute = target.partition(":")
    try:
        backend = getattr(import_module(module), attribute)
    except MissingDependency:
        raise
    except (ImportError, AttributeError) as error:
        msg = f"backend {name!r} ({target}) cannot be imported: {error}"
        raise MissingDependency(msg) from error
    _LOADED[name] = backend
    return _LOADED[name]


def entry_point(name: str) -> str | None:
    """Return the target that an installed package names, if one does; reading them takes milliseconds."""
    from importlib.metadata import entry_points

    for found in entry_points(group="sparknet.backends"):
        REGISTRY.setdefault(found.name, found.value)
    return REGISTRY.get(name)


def available() -> tuple[str, ...]:
    """Names of the registered backends that can be used here (this imports each of them).

    Examples
    --------
    >>> available()[0]
    'numpy'
    """
    return tuple(name for name in REGISTRY if _usable(name))


def _usable(name: str) -> bool:
    try:
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
