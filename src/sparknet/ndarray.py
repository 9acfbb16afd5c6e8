"""NDArray: one array on one backend, with the surface of the array-API standard.

It owns no memory and knows no numerics: every operation is the backend's own, unwrapped, called
and wrapped again. The namespace of functions over it is :mod:`sparknet.nd`.

Operators are made from a table of :mod:`operator` functions, because the wrapping is the same for
all of them and its cost is paid at every call: two slots, no ``isinstance`` chain on the way.
"""

import builtins
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sparknet.backends import Backend, backend_for_device, backend_of, get_backend
from sparknet.errors import DeviceError, SparknetError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NDArray"]

_new = object.__new__
_SCALARS = (int, float, complex)  # bool is an int; numpy's float64 is a float
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
                "move one with .to_device(...)"
            )
            raise DeviceError(msg)
        return other._array
    if isinstance(other, _SCALARS):
        return other
    backend = backend_of(other)
    if backend is None:
        # a numpy scalar (np.float32(2)) is no array, yet an operand of the numpy backend
        return other if type(other).__module__ == "numpy" else NotImplemented
    if backend is not self._backend:
        msg = f"got an array of {backend.name}, this NDArray is on {self.device!r} ({self.backend}); use nd.asarray(..., device=...)"
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
            result = op(self._array, operand)
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
            return wrap(op(operand, self._array), self._backend)
        except (TypeError, ValueError, RuntimeError) as error:
            raise explained(error, op.__name__, other, self) from error

    return method


def _inplace(op: Callable[[Any, Any], Any]) -> Callable[["NDArray", Any], "NDArray"]:
    def method(self: "NDArray", other: Any) -> "NDArray":
        operand = _operand(self, other)
        if operand is NotImplemented:
            return NotImplemented  # type: ignore[no-any-return]
        try:
            self._array = op(self._array, operand)
        except (TypeError, ValueError, RuntimeError) as error:
            raise explained(error, op.__name__, self, other) from error
        return self

    return method


def _unary(op: Callable[[Any], Any]) -> Callable[["NDArray"], "NDArray"]:
    def method(self: "NDArray") -> "NDArray":
        try:
            return wrap(op(self._array), self._backend)
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
    __array_ufunc__ = None  # np.float32(2) * a and array + a come to our reflected operators
    __array_priority__ = 1000.0

    _array: Any
    _backend: Backend

    def __init__(
        self, data: Any, shape: Sequence[int] | None = None, *, dtype: Any = None, device: str | None = None
    ) -> None:
        if isinstance(data, NDArray):
            data = data._array
        backend = backend_of(data) or get_backend("numpy")
        if device is not None and backend_for_device(device) is not backend:
            data = backend.to_host(data)
            backend = backend_for_device(device)
        if isinstance(data, range):
            data = list(data)
        array = backend.asarray(data, dtype=dtype, device=device)
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
        """The dtype, as the backend names it."""
        return self._array.dtype

    @property
    def device(self) -> str:
        """``"cpu"`` or ``"cuda:N"``."""
        return self._backend.device_of(self._array)

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
        return int(self._array.size)

    @property
    def nbytes(self) -> int:
        """Bytes taken by the elements."""
        return int(self._array.nbytes)

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
        if self.device != "cpu":
            msg = f"this array is on {self.device!r}: call .to_host() to copy it to the host"
            raise DeviceError(msg)
        return get_backend("numpy").asarray(self._array, dtype=dtype, copy=copy)  # type: ignore[no-any-return]

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
            result = self._array[key, ...] if type(key) is int else self._array[_key(key)]
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            raise explained(error, "indexing", self, key) from error
        if type(result) is not backend.array_type:
            return wrap(result, backend)
        out = _new(NDArray)
        out._array = result
        out._backend = backend
        return out

    def __setitem__(self, key: Any, value: Any, /) -> None:
        """Assign in place, broadcasting ``value``."""
        try:
            self._array[_key(key)] = value if isinstance(value, list | tuple) else _operand(self, value)
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
        return convert(self._array)

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
        return self[(builtins.slice(None),) * (axis % self.ndim) + (index,)]

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
        other = other if isinstance(other, NDArray) else NDArray(other)
        if self.shape != other.shape:
            return False
        xp = self._backend.namespace
        a, b = self._array, _operand(self, other)
        same = a == b
        if xp.isdtype(a.dtype, "bool"):
            return bool(xp.all(same))
        zero = xp.zeros_like(a)  # where both are the same infinity, so that none is subtracted
        return bool(xp.all(same | (xp.abs(xp.where(same, zero, a) - xp.where(same, zero, b)) <= tol)))

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


def _key(key: Any) -> Any:
    """Unwrap the index arrays in a subscript."""
    if type(key) is NDArray:
        return key._array
    if type(key) is tuple:
        return tuple(part._array if type(part) is NDArray else part for part in key)
    return key


def _unpickle(host: "np.ndarray[Any, Any]", device: str) -> NDArray:
    return NDArray(host, device=device)
