"""Translation between numpy's dtypes and sparknet's devices on one side and a library's own on the other."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from sparknet.dtypes import TABLE


class Dtypes:
    """A library's dtypes as numpy's, and the other way. The tables are empty if the library uses numpy's dtypes; ``known`` are those that it has."""

    def __init__(self, name: str, namespace: Any, known: Iterable[str] | None = None) -> None:
        self.name = name
        self.known = None if known is None else [dtype for dtype in _numpy_dtypes() if dtype.name in known]
        self.from_numpy: dict[np.dtype[Any], Any] = {}
        try:
            np.dtype(namespace.float32)
        except TypeError:
            found = {dtype: getattr(namespace, dtype.name, None) for dtype in _numpy_dtypes()}
            self.from_numpy = {dtype: own for dtype, own in found.items() if own is not None}
        self.to_numpy = {own: dtype for dtype, own in self.from_numpy.items()}
        self.types = tuple({type(own) for own in self.to_numpy})

    def own(self, dtype: Any) -> Any:
        """Return the library's dtype for a dtype of its own or numpy's, or a name; None for None."""
        if dtype is None or isinstance(dtype, self.types):
            return dtype
        if not self.from_numpy:
            if self.known is not None and np.dtype(dtype) not in self.known:
                raise TypeError(self._refusal(dtype, self.known))
            return dtype
        found = self.from_numpy.get(np.dtype(dtype))
        if found is None:
            raise TypeError(self._refusal(dtype, self.from_numpy))
        return found

    def _refusal(self, dtype: Any, known: Iterable[Any]) -> str:
        return f"backend {self.name!r} has no dtype {np.dtype(dtype)}; it has: {', '.join(map(str, known))}"


def _numpy_dtypes() -> list[np.dtype[Any]]:
    """Return the dtypes of the table: numpy's, and those of other packages that are installed."""
    dtypes = []
    for row in TABLE:
        with suppress(ImportError):
            dtypes.append(row.dtype())
    return dtypes


class Namespace:
    """A library's namespace that takes and returns numpy's dtypes, and makes arrays on one device."""

    def __init__(self, module: Any, dtypes: Dtypes, where: Any, run: Callable[..., Any] | None) -> None:
        self._border = module, dtypes, where, run

    def __getattr__(self, name: str) -> Any:
        """Look up a name at its first use."""
        if name == "_border":  # the instance is not initialized yet, as in copy.copy()
            raise AttributeError(name)
        module, dtypes, where, run = self._border
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            value = Namespace(value, dtypes, where, run)
        elif callable(value):
            value = _translated(bound(value, run), dtypes, where)
        setattr(self, name, value)
        return value


def _translated(function: Callable[..., Any], dtypes: Dtypes, where: Any) -> Callable[..., Any]:
    takes_all = not dtypes.types and dtypes.known is None

    def call(*args: Any, **kwargs: Any) -> Any:
        if "device" in kwargs:  # this backend was chosen by it
            del kwargs["device"]
            kwargs.update(at(where))
        if takes_all:
            return function(*args, **kwargs)
        if "dtype" in kwargs:
            kwargs["dtype"] = dtypes.own(kwargs["dtype"])
        result = function(*(dtypes.own(arg) if isinstance(arg, np.dtype) else arg for arg in args), **kwargs)
        return dtypes.to_numpy[result] if isinstance(result, dtypes.types) else result

    return call


def bound(function: Callable[..., Any], run: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return the function so that it runs on its device; ``run`` is ``call`` of :class:`~sparknet.backends.Backend`."""
    return function if run is None else partial(run, function)


def at(device: Any) -> dict[str, Any]:
    """Return the keyword argument for a device object; none if the library has no device objects."""
    return {} if device is None else {"device": device}
