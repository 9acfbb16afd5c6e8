"""NDArray: one array on one backend, with the surface of the array-API standard.

It owns no memory and knows no numerics: every operation is the backend's own, unwrapped, called
and wrapped again. The namespace of functions over it is :mod:`sparknet.nd`.

Operators are made from a table of :mod:`operator` functions, because the wrapping is the same for
all of them and its cost is paid at every call: two slots, no ``isinstance`` chain on the way.
"""

import builtins
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sparknet.backends import Backend, backend_of, get_backend
from sparknet.backends.devices import convert
from sparknet.errors import DeviceError, SparknetError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NDArray"]

_new = object.__new__
_SCALARS = (bool, int, float, complex)  # numpy's float64 is a float
_SHOWN = 60  # characters of an argument in an error message


def wrap(array: Any, backend: Backend) -> "NDArray":
    """Return an NDArray over ``array``, the own array (or scalar) of ``backend``; shares memory."""
    if type(array) is not backend.array_type and not isinstance(array, backend.array_type):
        array = backend.asarray(array)  # numpy gives a scalar where the standard has a 0-d array
    out = _new(NDArray)
    out._array = array
    out._backend = backend
    return out


def explained(error: Exception, what: str, *args: Any, **kwargs: Any) -> Exception:
    """Return the backend's ``error`` as a plain TypeError, ValueError or IndexError that shows the arguments."""
    if isinstance(error, SparknetError):
        return error
    # torch raises RuntimeError for what is a ValueError elsewhere; numpy has subclasses with odd constructors
    kind = next((k for k in (TypeError, IndexError, ValueError) if isinstance(error, k)), ValueError)
    shown = [_shown(value) for value in args] + [f"{key}={_shown(value)}" for key, value in kwargs.items()]
    advice = (
        "; the memory is read-only, as of a message that was loaded: make a copy first"
        if "read-only" in str(error)
        else ""
    )
    return kind(f"{what} of {', '.join(shown)}: {error}{advice}")


def _shown(value: Any) -> str:
    if isinstance(value, NDArray):
        return f"{value.dtype} {value.shape}"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _operand(self: "NDArray", other: Any) -> Any:
    """Return ``other`` as something the backend of ``self`` computes with, or fail with the fix."""
    if type(other) is NDArray:
        if other._backend is not self._backend:
            msg = (
                f"one array is on {self.device!r} ({self.backend}), the other on {other.device!r} ({other.backend}); "
                f"move one: other.to_device({self.device!r})"
            )
            raise DeviceError(msg)
        return other._array
    mine = self._backend
    if isinstance(other, _SCALARS) and (mine.dtypes is None or type(other) in _SCALARS):
        return other
    backend = backend_of(other)
    if backend is None:
        # a numpy scalar (np.float32(2)) is no array, yet an operand with a dtype
        if type(other).__module__ == "numpy":
            return other if mine.dtypes is None else mine.asarray(other)
        return other if isinstance(other, _SCALARS) else NotImplemented
    if backend is not mine:
        msg = (
            f"got an array of {backend.name} on {backend.device!r}, this NDArray is on {self.device!r} ({self.backend}); "
            f"use nd.asarray(..., device={self.device!r})"
        )
        raise DeviceError(msg)
    return other


# The operators: what is the same for all of them is written out in each, because a call costs as much as the rest.
def _binary(op: Callable[[Any, Any], Any]) -> Callable[["NDArray", Any], "NDArray"]:
    def method(self: "NDArray", other: Any) -> "NDArray":
        backend = self._backend
        if type(other) is NDArray and other._backend is backend:
            operand = other._array
        else:
            operand = _operand(self, other)
            if operand is NotImplemented:
                return NotImplemented  # type: ignore[no-any-return]
        try:
            run = backend.call
            result = op(self._array, operand) if run is None else run(op, self._array, operand)
        except (TypeError, ValueError, RuntimeError) as error:
            raise explained(error, op.__name__, self, other) from error
        if type(result) is not backend.array_type:
            return wrap(result, backend)
        out = _new(NDArray)
        out._array = result
        out._backend = backend
        return out

    return method


def _reflected(op: Callable[[Any, Any], Any]) -> Callable[["NDArray", Any], "NDArray"]:
    def method(self: "NDArray", other: Any) -> "NDArray":
        operand = _operand(self, other)
        if operand is NotImplemented:
            return NotImplemented  # type: ignore[no-any-return]
        try:
            run = self._backend.call
            result = op(operand, self._array) if run is None else run(op, operand, self._array)
            return wrap(result, self._backend)
        except (TypeError, ValueError, RuntimeError) as error:
            raise explained(error, op.__name__, other, self) from error

    return method


def _inplace(op: Callable[[Any, Any], Any]) -> Callable[["NDArray", Any], "NDArray"]:
    def method(self: "NDArray", other: Any) -> "NDArray":
        operand = _operand(self, other)
        if operand is NotImplemented:
            return NotImplemented  # type: ignore[no-any-return]
        try:
            run = self._backend.call
            self._array = op(self._array, operand) if run is None else run(op, self._array, operand)
        except (TypeError, ValueError, RuntimeError) as error:
            raise explained(error, op.__name__, self, other) from error
        return self

    return method


def _unary(op: Callable[[Any], Any]) -> Callable[["NDArray"], "NDArray"]:
    def method(self: "NDArray") -> "NDArray":
        try:
            run = self._backend.call
            return wrap(op(self._array) if run is None else run(op, self._array), self._backend)
        except (TypeError, ValueError, RuntimeError) as error:
            raise explained(error, op.__name__, self) from error

    return method


class NDArray:
    """An n-dimensional array on one backend (numpy, cupy, ...).

    Parameters
    ----------
    data
        An NDArray, an array of a registered backend (no copy: memory is shared), or anything that
        ``numpy.asarray`` takes (nested sequences, scalars).
    shape
        Reshape to this shape (row-major), as SparkNet's ``NDArray(data, shape)`` did.
    dtype
        Convert to this dtype; a copy only where it differs.
    device
        ``"cpu"`` or ``"cuda:N"``; by default where ``data`` is, the CPU for plain Python data.

    Raises
    ------
    DeviceError
        The device is unknown or not available.

    Notes
    -----
    Arithmetic follows the array-API standard. With a numpy array or scalar on the other side the
    result is an NDArray, from the left and from the right; arrays of another device are refused.

    Examples
    --------
    >>> a = NDArray(range(60), (3, 4, 5))
    >>> a.slice(0, 1).slice(1, 2)
    NDArray([22, 27, 32, 37], shape=(4,), dtype=int64, device='cpu')
    >>> float((a * 2).to_host()[1, 2, 3])
    66.0
    """

    __slots__ = ("_array", "_backend")
    __hash__ = None  # type: ignore[assignment]  # == is elementwise
    __array_priority__ = 1000.0

    _array: Any
    _backend: Backend

    def __init__(
        self, data: Any, shape: Sequence[int] | None = None, *, dtype: Any = None, device: str | None = None
    ) -> None:
        if isinstance(data, NDArray):
            array, backend = convert(data._array, data._backend, dtype=dtype, device=device)
        else:
            plain = list(data) if isinstance(data, range) else data
            array, backend = convert(plain, backend_of(data), dtype=dtype, device=device)
        if shape is not None:
            try:
                array = backend.namespace.reshape(array, tuple(shape))
            except (TypeError, ValueError, RuntimeError) as error:
                raise explained(error, "NDArray()", wrap(array, backend), shape=shape) from error
        self._array = array
        self._backend = backend

    # ---- what it is
    @property
    def dtype(self) -> Any:
        """The dtype: numpy's object on every backend."""
        dtypes = self._backend.dtypes
        return self._array.dtype if dtypes is None else dtypes.get(self._array.dtype, self._array.dtype)

    @property
    def device(self) -> str:
        """``"cpu"``, ``"cuda:N"``, or a backend and its device such as ``"torch:cpu"``."""
        return self._backend.device

    @property
    def backend(self) -> str:
        """Name of the backend, e.g. ``"numpy"``."""
        return self._backend.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(self._array.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._array.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self._array.shape)

    @property
    def nbytes(self) -> int:
        """Bytes taken by the elements."""
        return self.size * int(self.dtype.itemsize)

    @property
    def T(self) -> "NDArray":  # noqa: N802 - the standard's name
        """The transpose of a 2-d array; a view."""
        return wrap(self._array.T, self._backend)

    @property
    def mT(self) -> "NDArray":  # noqa: N802 - the standard's name
        """The transpose of the last two axes; a view."""
        return wrap(self._backend.namespace.matrix_transpose(self._array), self._backend)

    def unwrap(self) -> Any:
        """Return the backend's own array; no copy, shares memory."""
        return self._array

    # ---- where it is
    def to_host(self) -> "np.ndarray[Any, Any]":
        """Return a ``numpy.ndarray``: this array's own memory on the host, a copy from a GPU."""
        return self._backend.to_host(self._array)  # type: ignore[no-any-return]

    def to_device(self, device: str, /, *, stream: Any = None) -> "NDArray":
        """Return this array on ``device``: itself where it is there already, else a copy."""
        del stream  # the backend's current stream is used
        return self if device == self.device else NDArray(self, device=device)

    # ---- interchange
    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """Return :mod:`sparknet.nd`."""
        from sparknet import nd

        return nd.checked_version(api_version)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        """Return a numpy array; host memory only (a GPU array asks for ``.to_host()``)."""
        if not self._backend.host:
            msg = f"this array is on {self.device!r}: call .to_host() to copy it to the host"
            raise DeviceError(msg)
        return get_backend("numpy").asarray(self.to_host(), dtype=dtype, copy=copy)  # type: ignore[no-any-return]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Compute a numpy ufunc, such as ``np.sin``, ``scipy.special.jv`` or the ``+`` of ``numpy_array + a``."""
        backend = self._backend
        if getattr(backend.array_type, "__array_ufunc__", None) is None:  # a library without numpy's ufuncs
            reflected = _REFLECTED.get(ufunc.__name__)
            if reflected and method == "__call__" and inputs[-1] is self and not options:
                left = inputs[0] if getattr(inputs[0], "shape", True) else inputs[0][()]  # a scalar, made 0-d by numpy
                return getattr(self, reflected)(left)
            msg = f"numpy's {ufunc.__name__}() does not compute with {backend.name}; use sparknet.nd, or .to_host()"
            raise TypeError(msg)
        out = options.get("out", ())
        own = [_ufunc_operand(self, value) for value in inputs]
        if out:
            options["out"] = tuple(_ufunc_operand(self, value) for value in out)
        if "where" in options:
            options["where"] = _ufunc_operand(self, options["where"])
        result = getattr(ufunc, method)(*own, **options)
        if len(out) == 1:
            return out[0]
        if type(result) is tuple:
            return tuple(
                a if a is not None else wrap(b, backend)
                for a, b in zip(out or (None,) * len(result), result, strict=True)
            )
        return None if result is None else wrap(result, backend)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a DLPack capsule of the backend's array."""
        options = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return self._array.__dlpack__(**{name: value for name, value in options.items() if value is not None})

    def __dlpack_device__(self) -> tuple[Any, int]:
        """Return the DLPack device type and id."""
        return self._array.__dlpack_device__()  # type: ignore[no-any-return]

    @property
    def __cuda_array_interface__(self) -> Any:
        """CUDA's array interface; an AttributeError on the host."""
        return self._array.__cuda_array_interface__

    # ---- elements
    def __getitem__(self, key: Any, /) -> "NDArray":
        """Return a view for integers, slices, ``...`` and ``None``; a copy for index and mask arrays."""
        backend = self._backend
        try:
            # with the ellipsis a backend gives a 0-d view where it would give a scalar
            own = (key, ...) if type(key) is int else _key(key)
            result = self._array[own] if backend.call is None else backend.call(operator.getitem, self._array, own)
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            raise explained(error, "indexing", self, key) from error
        if type(result) is not backend.array_type:
            whole = own if type(own) is tuple else (own,)
            if not any(part is Ellipsis for part in whole):
                result = self._array[(*whole, ...)]  # all integers: numpy gave a scalar, this is a view
            return wrap(result, backend)
        out = _new(NDArray)
        out._array = result
        out._backend = backend
        return out

    def __setitem__(self, key: Any, value: Any, /) -> None:
        """Assign in place, broadcasting ``value``."""
        try:
            plain = isinstance(value, list | tuple)
            own = self._backend.asarray(value, dtype=self.dtype) if plain else _operand(self, value)
            if own is NotImplemented:
                msg = f"expected a number or an array, got {type(value).__name__}"
                raise TypeError(msg)  # noqa: TRY301 - explained below, as the others
            (self._backend.call or _plainly)(operator.setitem, self._array, _key(key), own)
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            raise explained(error, "assignment to an index", self, key, value) from error

    def __len__(self) -> int:
        """Return the length of the first axis."""
        if not self._array.shape:
            msg = "len(): a 0-d array has no length"
            raise TypeError(msg)
        return int(self._array.shape[0])

    def __iter__(self) -> Iterator["NDArray"]:
        """Iterate over views along the first axis."""
        return (self[i] for i in range(len(self)))

    def _scalar(self, convert: Callable[[Any], Any]) -> Any:
        if len(self._array.shape):
            msg = (
                f"{convert.__name__}() needs a 0-d array, this one has shape {self.shape}; "
                "index one element, or use nd.all, nd.any or .to_host()"
            )
            raise (ValueError if convert is bool else TypeError)(msg)
        return (self._backend.call or _plainly)(convert, self._array)

    def __bool__(self) -> bool:
        """Return the truth of a 0-d array."""
        return bool(self._scalar(bool))

    def __int__(self) -> int:
        """Return the value of a 0-d array."""
        return int(self._scalar(int))

    def __float__(self) -> float:
        """Return the value of a 0-d array."""
        return float(self._scalar(float))

    def __complex__(self) -> complex:
        """Return the value of a 0-d array."""
        return complex(self._scalar(complex))

    def __index__(self) -> int:
        """Return the value of a 0-d integer array."""
        return int(self._scalar(operator.index))

    # ---- SparkNet's own
    def slice(self, axis: int, index: int) -> "NDArray":
        """Return the view at ``index`` of ``axis``; that axis is dropped.

        Examples
        --------
        >>> NDArray(range(6), (2, 3)).slice(1, 2)
        NDArray([2, 5], shape=(2,), dtype=int64, device='cpu')
        """
        if not -self.ndim <= axis < self.ndim:
            msg = f"slice(): axis {axis} of an array with shape {self.shape}"
            raise IndexError(msg)
        return self[(builtins.slice(None),) * (axis % self.ndim) + (index, ...)]

    def subarray(self, lower: Sequence[int], upper: Sequence[int]) -> "NDArray":
        """Return the view of ``lower[i] <= index < upper[i]`` along every axis ``i``.

        Examples
        --------
        >>> NDArray(range(60), (3, 4, 5)).subarray((0, 1, 2), (1, 3, 5)).to_flat()
        NDArray([ 7,  8,  9, 12, 13, 14], shape=(6,), dtype=int64, device='cpu')
        """
        if not len(lower) == len(upper) == self.ndim:
            msg = f"subarray(): got bounds of length {len(lower)} and {len(upper)}; this array has {self.ndim} axes"
            raise IndexError(msg)
        for low, high, length in zip(lower, upper, self.shape, strict=True):
            if not 0 <= low <= high <= length:
                msg = f"subarray(): got bounds {tuple(lower)}, {tuple(upper)}; expected 0 <= lower <= upper <= {self.shape}"
                raise IndexError(msg)
        return self[tuple(map(builtins.slice, lower, upper))]

    def to_flat(self) -> "NDArray":
        """Return a new one-dimensional array of the elements in row-major order; a copy."""
        xp = self._backend.namespace
        return wrap(xp.reshape(xp.asarray(self._array, copy=True), (-1,)), self._backend)

    def flat_copy(self, out: Any) -> None:
        """Copy the elements in row-major order into the one-dimensional array ``out``."""
        target = out if isinstance(out, NDArray) else NDArray(out)
        if target.shape != (self.size,):
            msg = f"flat_copy(): out has shape {target.shape}, expected {(self.size,)}"
            raise ValueError(msg)
        target[...] = wrap(self._backend.namespace.reshape(self._array, (-1,)), self._backend)

    def allclose(self, other: Any, tol: float = 1e-6) -> bool:
        """Say whether both have the same shape and no element differs by more than ``tol`` (absolute).

        As SparkNet's ``checkEqual``: NaN is close to nothing, an infinity only to itself.
        """
        if not isinstance(other, NDArray):
            other = NDArray(other, device=None if backend_of(other) else self.device)
        if self.shape != other.shape:
            return False
        nd = self.__array_namespace__()
        same = self == other
        if nd.isdtype(self.dtype, "bool"):
            return bool(nd.all(same))
        # integers in float64, where no difference wraps around; no infinity is subtracted from itself
        a, b = (nd.astype(x, nd.float64) if nd.isdtype(x.dtype, "integral") else x for x in (self, other))
        zero = nd.zeros_like(a)
        return bool(nd.all(same | (nd.abs(nd.where(same, zero, a) - nd.where(same, zero, b)) <= tol)))

    # ---- showing, copying, pickling
    def __repr__(self) -> str:
        """Return values, shape, dtype and device; long arrays are abbreviated."""
        values = get_backend("numpy").namespace.array2string(
            self.to_host(), separator=", ", threshold=60, prefix="NDArray("
        )
        return f"NDArray({values}, shape={self.shape}, dtype={self.dtype}, device={self.device!r})"

    def __copy__(self) -> "NDArray":
        """Return a copy of the elements, on the same device."""
        return wrap(self._backend.namespace.asarray(self._array, copy=True), self._backend)

    def __deepcopy__(self, memo: Any) -> "NDArray":
        """Return a copy of the elements, on the same device."""
        del memo
        return self.__copy__()

    def __reduce__(self) -> Any:
        """Pickle as host memory and device; unpickling lands on the same device."""
        return _unpickle, (self.to_host(), self.device)

    # ---- operators
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

    __radd__ = _reflected(operator.add)
    __rsub__ = _reflected(operator.sub)
    __rmul__ = _reflected(operator.mul)
    __rtruediv__ = _reflected(operator.truediv)
    __rfloordiv__ = _reflected(operator.floordiv)
    __rmod__ = _reflected(operator.mod)
    __rpow__ = _reflected(operator.pow)
    __rmatmul__ = _reflected(operator.matmul)
    __rand__ = _reflected(operator.and_)
    __ror__ = _reflected(operator.or_)
    __rxor__ = _reflected(operator.xor)
    __rlshift__ = _reflected(operator.lshift)
    __rrshift__ = _reflected(operator.rshift)

    __iadd__ = _inplace(operator.iadd)
    __isub__ = _inplace(operator.isub)
    __imul__ = _inplace(operator.imul)
    __itruediv__ = _inplace(operator.itruediv)
    __ifloordiv__ = _inplace(operator.ifloordiv)
    __imod__ = _inplace(operator.imod)
    __ipow__ = _inplace(operator.ipow)
    __imatmul__ = _inplace(operator.imatmul)
    __iand__ = _inplace(operator.iand)
    __ior__ = _inplace(operator.ior)
    __ixor__ = _inplace(operator.ixor)
    __ilshift__ = _inplace(operator.ilshift)
    __irshift__ = _inplace(operator.irshift)

    __neg__ = _unary(operator.neg)
    __pos__ = _unary(operator.pos)
    __abs__ = _unary(operator.abs)
    __invert__ = _unary(operator.invert)


def _plainly(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


# numpy's name -> our operator, for a numpy array or scalar on the left
_REFLECTED = {
    "add": "__radd__",
    "subtract": "__rsub__",
    "multiply": "__rmul__",
    "divide": "__rtruediv__",
    "floor_divide": "__rfloordiv__",
    "remainder": "__rmod__",
    "power": "__rpow__",
    "matmul": "__rmatmul__",
    "left_shift": "__rlshift__",
    "right_shift": "__rrshift__",
    "bitwise_and": "__rand__",
    "bitwise_or": "__ror__",
    "bitwise_xor": "__rxor__",
    "less": "__gt__",
    "less_equal": "__ge__",
    "greater": "__lt__",
    "greater_equal": "__le__",
    "equal": "__eq__",
    "not_equal": "__ne__",
}


def _ufunc_operand(self: NDArray, value: Any) -> Any:
    """Return an argument of a ufunc: what is an array, as an operand; lists, indices and flags as they are."""
    return _operand(self, value) if type(value) is NDArray or backend_of(value) is not None else value


def _key(key: Any) -> Any:
    """Unwrap the index arrays in a subscript."""
    if type(key) is NDArray:
        return key._array
    if type(key) is tuple:
        return tuple(part._array if type(part) is NDArray else part for part in key)
    return key


def _unpickle(host: "np.ndarray[Any, Any]", device: str) -> NDArray:
    return NDArray(host, device=device)
