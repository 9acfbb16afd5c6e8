"""The lazy registry of array backends: a name, and where to find the backend's value.

Nothing here imports an array library: a backend's module is imported when it is first asked for.
A backend is a value (:class:`Backend`), not a class tree: an array-API namespace and the few
functions in which libraries differ.

Examples
--------
>>> from sparknet.backends import get_backend
>>> get_backend("numpy").name
'numpy'
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sparknet.errors import DeviceError, MissingDependency

__all__ = ["Backend", "available", "backend_of", "get_backend", "register_backend"]

# name -> "module:attribute" of a Backend
_REGISTRY = {
    "numpy": "sparknet.backends.numpy:BACKEND",
}
_LOADED: dict[str, "Backend"] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """What NDArray needs to know of an array library.

    Parameters
    ----------
    name
        The name it is registered under: by convention the package that its arrays come from.
    namespace
        Its array-API namespace (functions over the library's own arrays).
    array_type
        The type of the library's own arrays.
    asarray
        ``asarray(obj, dtype=None, device=None, copy=None)``: the library's own array of ``obj``.
    to_host
        The array as a ``numpy.ndarray``; no copy where the array is in host memory already.
    device_of
        The device of an array, ``"cpu"`` or ``"cuda:N"``.
    """

    name: str
    namespace: Any
    array_type: type
    asarray: Callable[..., Any]
    to_host: Callable[[Any], Any]
    device_of: Callable[[Any], str]


def register_backend(name: str, target: str) -> None:
    """Register (or replace) a backend under ``name``; ``target`` is ``"module:attribute"``.

    The module is imported when the backend is first used, not now.

    Examples
    --------
    >>> register_backend("mine", "my_package.backend:BACKEND")
    >>> "mine" in available()
    False
    """
    if ":" not in target:
        msg = f"register_backend({name!r}): got {target!r}, expected 'module:attribute'"
        raise ValueError(msg)
    _REGISTRY[name] = target
    _LOADED.pop(name, None)


def get_backend(name: str) -> Backend:
    """Return the backend called ``name``, importing its library if this is the first use.

    Raises
    ------
    MissingDependency
        The name is unknown, or the backend's library is not installed.
    """
    backend = _LOADED.get(name)
    if backend is not None:
        return backend
    target = _REGISTRY.get(name)
    if target is None:
        msg = f"unknown backend {name!r}; known: {', '.join(sorted(_REGISTRY))}"
        raise MissingDependency(msg)
    module, _, attribute = target.partition(":")
    try:
        backend = getattr(import_module(module), attribute)
    except ImportError as error:
        msg = f"backend {name!r} ({target}) cannot be imported: {error}"
        raise MissingDependency(msg) from error
    _LOADED[name] = backend
    return _LOADED[name]


def available() -> tuple[str, ...]:
    """Names of the registered backends that can be used here (this imports each of them)."""
    return tuple(name for name in _REGISTRY if _usable(name))


def _usable(name: str) -> bool:
    try:
        get_backend(name)
    except MissingDependency:
        return False
    return True


def backend_of(array: Any) -> Backend | None:
    """Return the backend whose library made ``array``, or None.

    The array's own package decides, which is imported already: this never imports a library that
    the program does not use.
    """
    for base in type(array).__mro__:
        name = base.__module__.partition(".")[0]
        if name in _REGISTRY:
            backend = get_backend(name)
            return backend if isinstance(array, backend.array_type) else None
    return None


def backend_for_device(device: str) -> Backend:
    """Return the default backend of ``device`` (``"cpu"``, ``"cuda:0"``)."""
    kind = device.partition(":")[0]
    name = {"cpu": "numpy", "cuda": "cupy"}.get(kind)
    if name is None:
        msg = f"unknown device {device!r}; expected 'cpu' or 'cuda:N'"
        raise DeviceError(msg)
    return get_backend(name)
