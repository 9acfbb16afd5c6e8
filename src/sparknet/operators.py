"""What happens when an NDArray meets something else: operators, and numpy's ufuncs.

Operators are made from :mod:`operator` functions, because the wrapping is the same for all of them and its
cost is paid at every call. What is the same is nevertheless written out in each, because a call costs
as much as the rest. For :mod:`sparknet.ndarray` only.
"""

import operator
import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sparknet.backends import backend_of
from sparknet.errors import DeviceError, explain

if TYPE_CHECKING:
    from sparknet.ndarray import NDArray

_new = object.__new__
_SCALARS = (bool, int, float, complex)  # numpy's float64 is a float
_ERRORS = (TypeError, ValueError, OverflowError, RuntimeError, ImportError)


def operand(self: "NDArray", other: Any) -> Any:
    """Return ``other`` as something the backend of ``self`` computes with, or fail with the fix."""
    kind = type(other)
    if kind in _SCALARS:
        return other
    if kind is type(self):
        if other._backend is not self._backend:
            msg = (
                f"one array is on {self.device!r} ({self.backend}), the other on {other.device!r} ({other.backend}); "
                f"move one: other.to_device({self.device!r})"
            )
            raise DeviceError(msg)
        return other._array
    mine = self._backend
    if mine.dtypes is None and isinstance(other, _SCALARS):
        return other
    backend = backend_of(other)
    if backend is None:
        # a numpy scalar (np.float32(2)) is no array, yet an operand with a dtype
        if kind.__module__ == "numpy":
            return other if mine.dtypes is None else mine.asarray(other)
        if isinstance(other, list | tuple):
            raise TypeError(_not_a_list(self, other))
        return other if isinstance(other, _SCALARS) else NotImplemented
    if backend is not mine:
        msg = (
            f"got an array of {backend.name} on {backend.device!r}, this NDArray is on {self.device!r} ({self.backend}); "
            f"use nd.asarray(..., device={self.device!r})"
        )
        raise DeviceError(msg)
    return other


def _not_a_list(self: "NDArray", other: Any) -> str:
    """Say what to write in the place of a list, which Python itself would compare as unequal."""
    device = "" if self.device == "cpu" else f", device={self.device!r}"
    written = f"nd.asarray({reprlib.repr(other)}{device})"
    return f"got a {type(other).__name__} beside an NDArray, expected an array or a number: write {written}"


def binary(op: Callable[[Any, Any], Any]) -> Callable[["NDArray", Any], "NDArray"]:
    """Return the method for ``self op other``."""

    def method(self: "NDArray", other: Any) -> "NDArray":
        kind = type(self)
        backend = self._backend
        if type(other) is kind and other._backend is backend:
            own = other._array
        elif (own := operand(self, other)) is NotImplemented:
            return NotImplemented  # type: ignore[no-any-return]
        try:
            run = backend.call
            result = op(self._array, own) if run is None else run(op, self._array, own)
        except _ERRORS as error:
            explain(error, op.__name__, self, other)
        if type(result) is not backend.array_type:
            return self._like(result)
        out = _new(kind)
        out._array = result
        out._backend = backend
        return out

    return method


def reflected(op: Callable[[Any, Any], Any]) -> Callable[["NDArray", Any], "NDArray"]:
    """Return the method for ``other op self``."""

    def method(self: "NDArray", other: Any) -> "NDArray":
        if (own := operand(self, other)) is NotImplemented:
            return NotImplemented  # type: ignore[no-any-return]
        try:
            run = self._backend.call
            result = op(own, self._array) if run is None else run(op, own, self._array)
        except _ERRORS as error:
            explain(error, op.__name__, other, self)
        return self._like(result)

    return method


def quotient_and_rest(self: "NDArray", other: Any) -> tuple[Any, Any]:
    """Return ``(self // other, self % other)``, for ``divmod``."""
    return self // other, self % other


def reflected_quotient_and_rest(self: "NDArray", other: Any) -> tuple[Any, Any]:
    """Return ``(other // self, other % self)``, for ``divmod``."""
    return other // self, other % self


def in_place(op: Callable[[Any, Any], Any]) -> Callable[["NDArray", Any], "NDArray"]:
    """Return the method for ``self op= other``."""

    def method(self: "NDArray", other: Any) -> "NDArray":
        backend = self._backend
        if type(other) is type(self) and other._backend is backend:
            own = other._array
        elif (own := operand(self, other)) is NotImplemented:
            return NotImplemented  # type: ignore[no-any-return]
        try:
            run = backend.call
            self._array = op(self._array, own) if run is None else run(op, self._array, own)
        except _ERRORS as error:
            explain(error, op.__name__, self, other)
        return self

    return method


def unary(op: Callable[[Any], Any]) -> Callable[["NDArray"], "NDArray"]:
    """Return the method for ``op self``."""

    def method(self: "NDArray") -> "NDArray":
        try:
            run = self._backend.call
            result = op(self._array) if run is None else run(op, self._array)
        except _ERRORS as error:
            explain(error, op.__name__, self)
        return self._like(result)

    return method


# ---- numpy's ufuncs, of which the + of ``numpy_array + ndarray`` is one

# a ufunc of numpy with a numpy array or scalar on the left -> the operator that it is
_OPERATORS = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "power": operator.pow,
    "matmul": operator.matmul,
    "left_shift": operator.lshift,
    "right_shift": operator.rshift,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
}


def ufunc(self: "NDArray", function: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Compute numpy's ``function`` of arguments of which ``self`` is one; the results are NDArrays."""
    if getattr(self._backend.array_type, "__array_ufunc__", None) is None:
        return _as_operator(self, function, method, inputs, options)
    out = options.get("out", ())
    own = [_argument(self, value) for value in inputs]
    # numpy itself (2.4) does not look, and writes; cupy's memory is never read-only
    if method == "at" and not getattr(own[0].flags, "writeable", True):
        msg = f"numpy's {function.__name__}.at() of an array that is read-only, as a view of a message is: make a copy first"
        raise ValueError(msg)
    if out:
        options["out"] = tuple(_argument(self, value) for value in out)
    if "where" in options:
        options["where"] = _argument(self, options["where"])
    compute = getattr(function, method)
    try:
        run = self._backend.call
        result = compute(*own, **options) if run is None else run(compute, *own, **options)
    except _ERRORS as error:
        explain(error, f"numpy's {function.__name__}()", *inputs)
    if len(out) == 1:
        return out[0]
    if type(result) is tuple:
        given = out or (None,) * len(result)
        return tuple(self._like(b) if a is None else a for a, b in zip(given, result, strict=True))
    return None if result is None else self._like(result)


def _as_operator(self: "NDArray", function: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Compute with a library that knows nothing of ufuncs: what is ``left op self`` can be done all the same."""
    op = _OPERATORS.get(function.__name__)
    if op is None or method != "__call__" or inputs[-1] is not self or options:
        msg = f"numpy's {function.__name__}() does not compute with {self.backend}; use sparknet.nd, or .to_host()"
        raise TypeError(msg)
    left = inputs[0] if getattr(inputs[0], "shape", True) else inputs[0][()]  # a scalar, made 0-d by numpy
    return reflected(op)(self, left)


def _argument(self: "NDArray", value: Any) -> Any:
    """Return an argument of a ufunc: what is an array, as an operand; lists, indices and flags as they are.

    In comparisons, numpy hands over its scalar on the left as an array without axes.
    """
    backend = self._backend if type(value) is type(self) else backend_of(value)
    if backend is not self._backend and backend is not None and backend.host and not getattr(value, "shape", True):
        return operand(self, value[()])
    return operand(self, value) if backend is not None else value
