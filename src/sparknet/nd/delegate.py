"""Makes the functions of the namespace: each finds the backend, unwraps, calls and wraps.

Each function has the standard's signature, but passes its arguments on unchecked: the backend checks them. Programs call
functions of one or two arrays most, so these have faster code of their own. A backend's function is looked up once.
"""

import ast
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from sparknet.backends import Backend, backend_for_device, backend_of
from sparknet.errors import DeviceError, explain
from sparknet.nd.standard import PLAIN, VERSION
from sparknet.ndarray.array import NDArray, wrap

__all__ = ["functions"]

_PLAIN = frozenset({bool, int, float, complex, str, type(None)})
_ERRORS = (TypeError, ValueError, IndexError, OverflowError, RuntimeError, ImportError)


def functions(signatures: Sequence[str], extension: str | None = None) -> dict[str, Callable[..., Any]]:
    """Return name -> function for lines such as ``"sum(x, /, *, axis=None)"``, of the backend's ``extension``.

    Examples
    --------
    >>> functions(["exp(x, /)"])["exp"](NDArray([0.0]))
    NDArray([1.], shape=(1,), dtype=float64, device='cpu')
    """
    return {name: _function(name, signature, extension) for name, signature in map(_parsed, signatures)}


def _function(name: str, signature: inspect.Signature, extension: str | None) -> Callable[..., Any]:
    where = f"{extension}.{name}" if extension else name
    function = _form(list(signature.parameters))(where)
    function.__name__ = function.__qualname__ = name
    function.__module__ = f"sparknet.nd.{extension}" if extension else "sparknet.nd"
    function.__signature__ = signature  # type: ignore[attr-defined]
    page = f"{VERSION}/{'extensions' if extension else 'API_specification'}/generated/array_api.{where}.html"
    function.__doc__ = f"Compute the standard's ``{where}``: https://data-apis.org/array-api/{page}"
    return function


def _form(parameters: list[str]) -> Callable[[str], Callable[..., Any]]:
    """Return the maker of functions with these parameters: the fastest one that fits."""
    if parameters == ["x"]:
        return _unary
    if parameters == ["x1", "x2"]:
        return _binary
    if parameters[0] == "x" and set(parameters[1:]) <= PLAIN:
        return _first
    if parameters[-1] == "device" and set(parameters[:-1]) <= PLAIN:
        return _creation
    return _general


def _parsed(line: str) -> tuple[str, inspect.Signature]:
    definition = ast.parse(f"def {line}: ...").body[0]
    assert isinstance(definition, ast.FunctionDef)
    spec, kinds = definition.args, inspect.Parameter
    positional = [*spec.posonlyargs, *spec.args]
    missing: list[Any] = [inspect.Parameter.empty] * (len(positional) - len(spec.defaults))
    defaults = [*missing, *map(ast.literal_eval, spec.defaults)]
    parameters = [
        kinds(
            arg.arg, kinds.POSITIONAL_ONLY if arg in spec.posonlyargs else kinds.POSITIONAL_OR_KEYWORD, default=default
        )
        for arg, default in zip(positional, defaults, strict=True)
    ]
    if spec.vararg:
        parameters.append(kinds(spec.vararg.arg, kinds.VAR_POSITIONAL))
    for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
        assert default is not None
        parameters.append(kinds(arg.arg, kinds.KEYWORD_ONLY, default=ast.literal_eval(default)))
    return definition.name, inspect.Signature(parameters)


class _Bound(dict[Backend, Callable[..., Any]]):
    """Backend -> its function of one name such as ``"linalg.inv"``, looked up at the first call."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __missing__(self, backend: Backend) -> Callable[..., Any]:
        found = backend.namespace
        for part in self.where.split("."):
            found = getattr(found, part)
        self[backend] = found
        return found  # type: ignore[no-any-return]


def _unary(where: str) -> Callable[..., Any]:
    """Return a function of one array."""
    bound = _Bound(where)

    def function(x: Any, /) -> Any:
        if type(x) is not NDArray:
            x = _as_ndarray(x, where)
        backend = x._backend
        try:
            result = bound[backend](x._array)
        except _ERRORS as error:
            explain(error, f"nd.{where}()", x)
        return wrap(result, backend) if type(result) is backend.array_type else wrapped(result, backend)

    return function


def _binary(where: str) -> Callable[..., Any]:
    """Return a function of two arrays, or of an array and a scalar."""
    bound = _Bound(where)

    def function(x1: Any, x2: Any, /) -> Any:
        if type(x1) is NDArray and type(x2) is NDArray and x1._backend is x2._backend:
            backend, a, b = x1._backend, x1._array, x2._array
        else:
            backend, (a, b) = _common(where, (x1, x2))
        try:
            result = bound[backend](a, b)
        except _ERRORS as error:
            explain(error, f"nd.{where}()", x1, x2)
        return wrap(result, backend) if type(result) is backend.array_type else wrapped(result, backend)

    return function


def _first(where: str) -> Callable[..., Any]:
    """Return a function of one array and of plain values."""
    bound = _Bound(where)

    def function(x: Any, /, *args: Any, **kwargs: Any) -> Any:
        if type(x) is not NDArray:
            x = _as_ndarray(x, where)
        backend = x._backend
        try:
            result = bound[backend](x._array, *args, **kwargs)
        except _ERRORS as error:
            _refuse(function, where, error, x, *args, **kwargs)
        return wrap(result, backend) if type(result) is backend.array_type else wrapped(result, backend)

    return function


def _creation(where: str) -> Callable[..., Any]:
    """Return a function of plain values and a device."""
    bound = _Bound(where)

    def function(*args: Any, **kwargs: Any) -> Any:
        device = kwargs.get("device")
        backend = backend_for_device("cpu" if device is None else device)
        if device is not None:
            kwargs["device"] = backend.device
        try:
            result = bound[backend](*args, **kwargs)
        except _ERRORS as error:
            _refuse(function, where, error, *args, **kwargs)
        return wrap(result, backend)

    return function


def _general(where: str) -> Callable[..., Any]:
    """Return a function of any arguments: arrays at any place, also in lists, or no arrays and a device."""
    bound = _Bound(where)

    def function(*args: Any, **kwargs: Any) -> Any:
        backend = _find_backend(args)
        if kwargs:
            backend = _find_backend(kwargs.values(), backend)
        if backend is None:
            backend = _of_bare(args)
        plain = [_unwrapped(value, backend) for value in args]
        if kwargs:
            kwargs = {key: _unwrapped(value, backend) for key, value in kwargs.items()}
        device = kwargs.get("device")
        if backend is None:
            backend = backend_for_device("cpu" if device is None else device)
        elif device is not None:  # zeros_like(x, device=...): made on the device of x, then moved
            del kwargs["device"]
            return function(*args, **kwargs).to_device(device)
        if device is not None:
            kwargs["device"] = backend.device
        try:
            result = bound[backend](*plain, **kwargs)
        except _ERRORS as error:
            _refuse(function, where, error, *args, **kwargs)
        return wrap(result, backend) if type(result) is backend.array_type else wrapped(result, backend)

    return function


def _refuse(function: Any, where: str, error: Exception, *args: Any, **kwargs: Any) -> NoReturn:
    """Raise the backend's ``error`` with the arguments; if the call does not fit the standard's signature, an error that says so."""
    try:
        function.__signature__.bind(*args, **kwargs)
    except TypeError as misfit:
        msg = f"nd.{where}{function.__signature__}: {misfit}"
        raise TypeError(msg) from error
    explain(error, f"nd.{where}()", *args, **kwargs)


def _as_ndarray(x: Any, where: str) -> NDArray:
    backend = backend_of(x)
    if backend is None:
        msg = f"nd.{where}(): got {type(x).__name__}, expected an array; make one with nd.asarray(...)"
        raise TypeError(msg)
    return wrap(x, backend)


def _common(where: str, operands: Sequence[Any]) -> tuple[Backend, list[Any]]:
    """Return the backend of the operands, and the operands unwrapped; some may be Python's or numpy's scalars."""
    backend = _find_backend(operands)
    if backend is None:
        backend = _as_ndarray(next((x for x in operands if backend_of(x)), operands[0]), where)._backend
    return backend, [_unwrapped(x, backend) for x in operands]


def _find_backend(values: Iterable[Any], found: Backend | None = None) -> Backend | None:
    """Return the backend of the NDArrays in ``values`` and in lists and tuples in it; None if there are none."""
    for value in values:
        kind = type(value)
        if kind is NDArray:
            backend = value._backend
        elif kind is tuple or kind is list:
            backend = _find_backend(value, found)
        else:
            continue
        if found is None:
            found = backend
        elif backend is not found:
            msg = (
                f"one array is on {found.device!r} ({found.name}), another on {backend.device!r} ({backend.name}); "
                f"move one: .to_device({found.device!r})"
            )
            raise DeviceError(msg)
    return found


def _of_bare(values: Iterable[Any]) -> Backend | None:
    """Return the backend of the first array of a library in ``values``: for calls without an NDArray."""
    for value in values:
        kind = type(value)
        if kind not in _PLAIN:
            found = _of_bare(value) if kind is tuple or kind is list else backend_of(value)
            if found is not None:
                return found
    return None


def _unwrapped(value: Any, backend: Backend | None) -> Any:
    kind = type(value)
    if kind is NDArray:
        return value._array
    if kind is tuple or kind is list:
        return kind([_unwrapped(part, backend) for part in value])
    if kind not in _PLAIN and backend is not None:
        found = backend_of(value)  # without this check, cupy would silently copy a host's index array to the device
        if found is not None and found is not backend:
            msg = (
                f"got an array of {found.name} on {found.device!r}, the others are on {backend.device!r} ({backend.name}); "
                f"use nd.asarray(..., device={backend.device!r})"
            )
            raise DeviceError(msg)
    return value


def wrapped(value: Any, backend: Backend) -> Any:
    """Wrap arrays, also in lists, tuples and named tuples, which some functions return."""
    if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, type):
        return wrap(value, backend)  # numpy's scalars too, as 0-d arrays
    if isinstance(value, tuple):
        parts = [wrapped(part, backend) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [wrapped(part, backend) for part in value]
    return value
