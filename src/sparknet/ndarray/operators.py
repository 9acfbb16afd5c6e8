"""The operators of NDArray, made from the functions of :mod:`operator`.

All of them check the other operand, compute and wrap. That code is written out in each maker below, because one more
function call would cost as much as the rest.
"""

import operator
import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sparknet.backends import backend_of
from sparknet.errors import DeviceError, explain
from sparknet.ndarray.core import Core

if TYPE_CHECKING:
    from sparknet.ndarray.array import NDArray

__all__ = ["ERRORS", "Operators", "operand", "reflected"]

Method = Callable[[Core, Any], "NDArray"]

_new = object.__new__
_SCALARS = (bool, int, float, complex)  # numpy's float64 is a float
ERRORS = (TypeError, ValueError, OverflowError, RuntimeError, ImportError)


def operand(self: Core, other: Any) -> Any:
    """Return ``other`` as an operand for the backend of ``self``; NotImplemented for objects that are no numbers or arrays.

    Raises
    ------
    DeviceError
        ``other`` is an array on another device.
    TypeError
        ``other`` is a list or tuple.
    """
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
        # a numpy scalar such as np.float32(2) is no array, but an operand with a dtype
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


def _not_a_list(self: Core, other: Any) -> str:
    """Return the message for a list, with the fix. Without an error, Python would say that ``a != [1, 2]`` is true."""
    device = "" if self.device == "cpu" else f", device={self.device!r}"
    written = f"nd.asarray({reprlib.repr(other)}{device})"
    return f"got a {type(other).__name__} beside an NDArray, expected an array or a number: write {written}"


def _binary(op: Callable[[Any, Any], Any]) -> Method:
    """Return the method for ``self op other``."""

    def method(self: Core, other: Any) -> Any:
        kind = type(self)
        backend = self._backend
        if type(other) is kind and other._backend is backend:
            own = other._array
        elif (own := operand(self, other)) is NotImplemented:
            return NotImplemented
        try:
            run = backend.call
            result = op(self._array, own) if run is None else run(op, self._array, own)
        except ERRORS as error:
            explain(error, op.__name__, self, other)
        if type(result) is not backend.array_type:
            return self._like(result)
        out: Any = _new(kind)
        out._array = result
        out._backend = backend
        return out

    return method


def reflected(op: Callable[[Any, Any], Any]) -> Method:
    """Return the method for ``other op self``."""

    def method(self: Core, other: Any) -> "NDArray":
        if (own := operand(self, other)) is NotImplemented:
            return NotImplemented  # type: ignore[no-any-return]
        try:
            run = self._backend.call
            result = op(own, self._array) if run is None else run(op, own, self._array)
        except ERRORS as error:
            explain(error, op.__name__, other, self)
        return self._like(result)

    return method


def _quotient_and_rest(self: Core, other: Any) -> tuple[Any, Any]:
    """Return ``(self // other, self % other)``, for ``divmod``."""
    return self // other, self % other


def _reflected_quotient_and_rest(self: Core, other: Any) -> tuple[Any, Any]:
    """Return ``(other // self, other % self)``, for ``divmod``."""
    return other // self, other % self


def _in_place(op: Callable[[Any, Any], Any]) -> Method:
    """Return the method for ``self op= other``."""

    def method(self: Core, other: Any) -> Any:
        backend = self._backend
        if type(other) is type(self) and other._backend is backend:
            own = other._array
        elif (own := operand(self, other)) is NotImplemented:
            return NotImplemented
        try:
            run = backend.call
            self._array = op(self._array, own) if run is None else run(op, self._array, own)
        except ERRORS as error:
            explain(error, op.__name__, self, other)
        return self

    return method


def _unary(op: Callable[[Any], Any]) -> Callable[[Core], "NDArray"]:
    """Return the method for ``op self``."""

    def method(self: Core) -> "NDArray":
        try:
            run = self._backend.call
            result = op(self._array) if run is None else run(op, self._array)
        except ERRORS as error:
            explain(error, op.__name__, self)
        return self._like(result)

    return method


class Operators(Core):
    """The operators, from functions of :mod:`operator`."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # == is elementwise

    __add__ = _binary(operator.add)
    __sub__ = _binary(operator.sub)
    __mul__ = _binary(operator.mul)
    __truediv__ = _binary(operator.truediv)
    __floordiv__ = _binary(operator.floordiv)
    __mod__ = _binary(operator.mod)
    __pow__ = _binary(operator.pow)
    __matmul__ = _binary(operator.matmul)
    __and__ = _binary(operator.and_)
    __or__ = _binary(operator.or_)
    __xor__ = _binary(operator.xor)
    __lshift__ = _binary(operator.lshift)
    __rshift__ = _binary(operator.rshift)
    __lt__ = _binary(operator.lt)
    __le__ = _binary(operator.le)
    __gt__ = _binary(operator.gt)
    __ge__ = _binary(operator.ge)
    __eq__ = _binary(operator.eq)  # type: ignore[assignment]  # elementwise, not a bool
    __ne__ = _binary(operator.ne)  # type: ignore[assignment]

    __radd__ = reflected(operator.add)
    __rsub__ = reflected(operator.sub)
    __rmul__ = reflected(operator.mul)
    __rtruediv__ = reflected(operator.truediv)
    __rfloordiv__ = reflected(operator.floordiv)
    __rmod__ = reflected(operator.mod)
    __rpow__ = reflected(operator.pow)
    __rmatmul__ = reflected(operator.matmul)
    __rand__ = reflected(operator.and_)
    __ror__ = reflected(operator.or_)
    __rxor__ = reflected(operator.xor)
    __rlshift__ = reflected(operator.lshift)
    __rrshift__ = reflected(operator.rshift)

    __divmod__ = _quotient_and_rest
    __rdivmod__ = _reflected_quotient_and_rest

    __iadd__ = _in_place(operator.iadd)
    __isub__ = _in_place(operator.isub)
    __imul__ = _in_place(operator.imul)
    __itruediv__ = _in_place(operator.itruediv)
    __ifloordiv__ = _in_place(operator.ifloordiv)
    __imod__ = _in_place(operator.imod)
    __ipow__ = _in_place(operator.ipow)
    __imatmul__ = _in_place(operator.imatmul)
    __iand__ = _in_place(operator.iand)
    __ior__ = _in_place(operator.ior)
    __ixor__ = _in_place(operator.ixor)
    __ilshift__ = _in_place(operator.ilshift)
    __irshift__ = _in_place(operator.irshift)

    __neg__ = _unary(operator.neg)
    __pos__ = _unary(operator.pos)
    __abs__ = _unary(operator.abs)
    __invert__ = _unary(operator.invert)
