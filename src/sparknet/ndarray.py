"""NDArray: one array on one backend, with the surface of the array-API standard.

It owns no memory and knows no numerics: every operation is the backend's own, unwrapped, called
and wrapped again: two slots, no ``isinstance`` chain on the way. How its operators are made is in
``sparknet.operators``; the namespace of functions over it is :mod:`sparknet.nd`.
"""

import builtins
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

from sparknet import interchange, operators
from sparknet.backends import Backend, backend_of, get_backend
from sparknet.backends.devices import convert
from sparknet.elements import Elements, plainly
from sparknet.errors import DeviceError, MissingDependency, explain

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NDArray"]

_new = object.__new__


def wrap(array: Any, backend: Backend) -> "NDArray":
    """Return an NDArray over ``array``, the own array (or scalar) of ``backend``; shares memory."""
    if type(array) is not backend.array_type and not isinstance(array, backend.array_type):
        array = backend.asarray(array)  # numpy gives a scalar where the standard has a 0-d array
    out = _new(NDArray)
    out._array = array
    out._backend = backend
    return out


def wrap_all(arrays: Iterable[Any], backend: Backend) -> "list[NDArray]":
    """Return an NDArray over each of the own arrays of ``backend``, none a scalar; shares memory."""
    wrapped = []
    for array in arrays:
        out = _new(NDArray)
        out._array = array
        out._backend = backend
        wrapped.append(out)
    return wrapped


@final
class NDArray(Elements):
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
    Lists and tuples are refused too, in ``a + [1, 2]`` as in ``a == [1, 2]`` and ``[1, 2] in a``: write
    ``a == nd.asarray([1, 2])``. Other objects are compared as Python does by default: ``a == None`` is False.
    ``v[i]`` of one axis is an element, a 0-d array that shares no memory with ``v``; ``v[i, ...]`` is a view of it.
    Rows are views, as in numpy: ``m[0], m[1] = m[1], m[0]``, ``random.shuffle(m)`` and numpy's ``rng.shuffle(m)`` lose rows.
    Write ``m[[0, 1]] = m[[1, 0]]`` and
    ``m = nd.take(m, nd.asarray(rng.permutation(len(m)), device=m.device), axis=0)``.
    ``bytes(a)`` is numpy's ``tobytes()``, and ``str(a)`` of a 0-d array is its value.
    Functions are those of :mod:`sparknet.nd`, where numpy has methods: an attribute that is missing says which.

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
                explain(error, "NDArray()", wrap(array, backend), shape=shape)
        self._array = array
        self._backend = backend

    # ---- what it is
    @property
    def dtype(self) -> Any:
        """The dtype: numpy's object on every backend.

        Examples
        --------
        >>> NDArray([1.5, 2.5]).dtype
        dtype('float64')
        """
        dtypes = self._backend.dtypes
        return self._array.dtype if dtypes is None else dtypes.get(self._array.dtype, self._array.dtype)

    @property
    def device(self) -> str:
        """``"cpu"``, ``"cuda:N"``, or a backend and its device such as ``"torch:cpu"``.

        Examples
        --------
        >>> NDArray([1.5, 2.5]).device
        'cpu'
        """
        return self._backend.device

    @property
    def backend(self) -> str:
        """Name of the backend, as :func:`sparknet.backends.get_backend` takes it.

        Examples
        --------
        >>> NDArray([1.5, 2.5]).backend
        'numpy'
        """
        return self._backend.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes.

        Examples
        --------
        >>> NDArray(range(6), (2, 3)).shape
        (2, 3)
        """
        return tuple(self._array.shape)

    @property
    def ndim(self) -> int:
        """Number of axes.

        Examples
        --------
        >>> NDArray(range(6), (2, 3)).ndim
        2
        """
        return len(self._array.shape)

    @property
    def size(self) -> int:
        """Number of elements.

        Examples
        --------
        >>> NDArray(range(6), (2, 3)).size
        6
        """
        return math.prod(self._array.shape)

    @property
    def nbytes(self) -> int:
        """Bytes taken by the elements; what a view leaves out between them does not count.

        Examples
        --------
        >>> NDArray(range(6), (2, 3), dtype="float32").nbytes
        24
        """
        return self.size * int(self.dtype.itemsize)

    @property
    def T(self) -> "NDArray":  # noqa: N802 - the standard's name
        """The transpose of a 2-d array; a view, which shares memory.

        Raises
        ------
        ValueError
            The array has another number of axes, for which the standard has no ``T``.

        Examples
        --------
        >>> NDArray(range(6), (2, 3)).T.shape
        (3, 2)
        """
        if len(self._array.shape) != 2:
            msg = f"T is of arrays with 2 axes, this one has shape {self.shape}; use mT, or nd.permute_dims()"
            raise ValueError(msg)
        return wrap(self._array.T, self._backend)

    @property
    def mT(self) -> "NDArray":  # noqa: N802 - the standard's name
        """The transpose of the last two axes; a view, which shares memory.

        Raises
        ------
        ValueError
            The array has fewer than two axes.

        Examples
        --------
        >>> NDArray(range(24), (2, 3, 4)).mT.shape
        (2, 4, 3)
        """
        return wrap(self._backend.namespace.matrix_transpose(self._array), self._backend)

    def _like(self, array: Any) -> "NDArray":
        return wrap(array, self._backend)

    def unwrap(self) -> Any:
        """Return the backend's own array; no copy, shares memory.

        Examples
        --------
        >>> import numpy as np
        >>> own = np.zeros(3)
        >>> NDArray(own).unwrap() is own
        True
        """
        return self._array

    # ---- where it is
    def to_host(self) -> "np.ndarray[Any, Any]":
        """Return a ``numpy.ndarray``: shares memory on the host, a copy from a GPU.

        Examples
        --------
        >>> a = NDArray([1.0, 2.0])
        >>> a.to_host()[0] = 7.0
        >>> a
        NDArray([7., 2.], shape=(2,), dtype=float64, device='cpu')
        """
        return self._backend.to_host(self._array)  # type: ignore[no-any-return]

    def to_device(self, device: str, /, *, stream: Any = None) -> "NDArray":
        """Return this array on ``device``: itself where it is there already, else a copy.

        Parameters
        ----------
        device
            As :attr:`device` says it: ``"cpu"``, ``"cuda:0"``, ``"torch:cpu"``.
        stream
            For the standard's sake: the backend's current stream is used.

        Raises
        ------
        DeviceError
            The device is unknown or not available.
        MissingDependency
            The library of that device is not installed.

        Examples
        --------
        >>> a = NDArray([1.0, 2.0])
        >>> a.to_device("cpu") is a
        True
        """
        del stream  # the backend's current stream is used
        return self if device == self.device else NDArray(self, device=device)

    # ---- interchange
    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """Return :mod:`sparknet.nd`."""
        from sparknet import nd

        return nd.checked_version(api_version)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        """Return a numpy array; host memory only (a GPU array asks for ``.to_host()``)."""
        return get_backend("numpy").asarray(interchange.host(self), dtype=dtype, copy=copy)  # type: ignore[no-any-return]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Compute a numpy ufunc, such as ``np.sin``, ``scipy.special.jv`` or the ``+`` of ``numpy_array + a``."""
        return operators.ufunc(self, ufunc, method, inputs, options)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a DLPack capsule of the memory, or of a copy if it is read-only and the consumer cannot respect that."""
        who = interchange.consumer()
        options = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        # on its device: the consumer waits for what is queued there
        return (self._backend.call or plainly)(interchange.capsule, self._array, who, **options)

    def __dlpack_device__(self) -> tuple[Any, int]:
        """Return the DLPack device type and id."""
        return self._array.__dlpack_device__()  # type: ignore[no-any-return]

    @property
    def __cuda_array_interface__(self) -> Any:
        """CUDA's array interface, with the current stream of the array's device; an AttributeError on the host."""
        return (self._backend.call or plainly)(getattr, self._array, "__cuda_array_interface__")

    def __bytes__(self) -> bytes:
        """Return the bytes of the elements in row-major order, as numpy does; host memory only; a copy."""
        return interchange.host(self).tobytes()

    def __buffer__(self, flags: int) -> memoryview:
        """Return the memory, read-only where the array is; host memory only. Python calls this from 3.12 on.

        There ``memoryview(a)``, ``bytearray(a)`` and ``file.write(a)`` take the memory itself. Python 3.11 refuses
        the array, but ``bytearray(a)`` of integers from 0 to 255 keeps one byte of each: write ``bytearray(bytes(a))``.
        """
        return interchange.buffer(self, flags)

    # ---- elements
    def __getitem__(self, key: Any, /) -> "NDArray":
        """Return a view for slices, ``...``, ``None`` and some integers; a copy for index and mask arrays, and for one element.

        An integer for every axis gives an element: a 0-d array with memory of its own, on every backend, so that
        ``v[0], v[1] = v[1], v[0]`` swaps. ``v[0, ...]`` is the view of it.
        Rows are views, so ``m[0], m[1] = m[1], m[0]`` loses one: the class says what to write.
        """
        backend = self._backend
        kind = type(key)
        own: Any = key if kind is int or kind is builtins.slice else _key(self, key)
        if kind is int and len(self._array.shape) > 1:
            own = (key, ...)  # the standard wants an index for every axis, or an ellipsis
        try:
            result: Any = self._array[own] if backend.call is None else backend.call(operator.getitem, self._array, own)
            if not result.shape and not _has_ellipsis(own) and type(result) is backend.array_type:
                result = backend.asarray(result, copy=True)  # numpy gives a scalar here, others a view
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            explain(error, "indexing", self, key)
        if type(result) is not backend.array_type:
            dtype = self._array.dtype  # of which a scalar forgets the byte order
            result = backend.asarray(result) if result.dtype == dtype else backend.asarray(result, dtype=dtype)
        out = _new(NDArray)
        out._array = result
        out._backend = backend
        return out

    def __setitem__(self, key: Any, value: Any, /) -> None:
        """Assign in place, broadcasting ``value``."""
        try:
            plain = isinstance(value, list | tuple)
            own = self._backend.asarray(value, dtype=self.dtype) if plain else operators.operand(self, value)
            if own is NotImplemented:
                msg = f"expected a number or an array, got {type(value).__name__}"
                raise TypeError(msg)  # noqa: TRY301 - explained below, as the others
            (self._backend.call or plainly)(operator.setitem, self._array, _key(self, key), own)
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            explain(error, "assignment to an index", self, key, value)

    def __len__(self) -> int:
        """Return the length of the first axis."""
        if not self._array.shape:
            msg = "len(): a 0-d array has no length"
            raise TypeError(msg)
        return int(self._array.shape[0])

    def __iter__(self) -> Iterator["NDArray"]:
        """Iterate over the first axis: views, or the elements of a 1-d array."""
        return (self[i] for i in range(len(self)))

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
        return self[(*map(builtins.slice, lower, upper), ...)]

    def to_flat(self) -> "NDArray":
        """Return a new one-dimensional array of the elements in row-major order; a copy.

        Examples
        --------
        >>> NDArray(range(6), (2, 3)).T.to_flat()
        NDArray([0, 3, 1, 4, 2, 5], shape=(6,), dtype=int64, device='cpu')
        """
        xp = self._backend.namespace
        return wrap(xp.reshape(xp.asarray(self._array, copy=True), (-1,)), self._backend)

    def flat_copy(self, out: Any) -> None:
        """Copy the elements in row-major order into ``out``, without memory in between where they lie in that order.

        Parameters
        ----------
        out
            An NDArray or an array of a backend, one-dimensional, on this array's device. Elements are cast to its dtype.

        Raises
        ------
        TypeError
            ``out`` is no array: what was copied into a list would be lost.
        ValueError
            ``out`` has another shape than ``(size,)``.
        DeviceError
            ``out`` is on another device.

        Examples
        --------
        >>> import numpy as np
        >>> out = np.zeros(6)
        >>> NDArray(range(6), (2, 3)).T.flat_copy(out)
        >>> out
        array([0., 3., 1., 4., 2., 5.])
        """
        if not isinstance(out, NDArray) and backend_of(out) is None:
            msg = f"flat_copy(): got out of type {type(out).__name__}, expected an array with {self.size} elements"
            raise TypeError(msg)
        target = out if isinstance(out, NDArray) else NDArray(out)
        if target.shape != (self.size,):
            msg = f"flat_copy(): out has shape {target.shape}, expected {(self.size,)}"
            raise ValueError(msg)
        target[...] = wrap(self._backend.namespace.reshape(self._array, (-1,)), self._backend)

    def allclose(self, other: Any, tol: float = 1e-6) -> bool:
        """Say whether both have the same shape and no element differs by more than ``tol`` (absolute).

        As SparkNet's ``checkEqual``: NaN is close to nothing, an infinity only to itself. Neither array is changed;
        on a GPU this waits for the answer.

        Parameters
        ----------
        other
            An NDArray, an array of a backend, or what ``numpy.asarray`` takes.
        tol
            The largest difference, in the unit of the elements.

        Raises
        ------
        DeviceError
            ``other`` is on another device.

        Examples
        --------
        >>> NDArray([1.0, 2.0]).allclose([1.0, 2.0000005])
        True
        >>> NDArray([1.0, 2.0]).allclose([[1.0, 2.0]])
        False
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
        """Pickle as host memory and device; unpickling lands on the same device, in writable memory."""
        host = self.to_host()
        if not host.flags.writeable:  # protocol 5, Spark's and Python 3.14's default, keeps numpy's flag
            host = host.copy(order="K")
        return _unpickle, (host, self.device)

    # ---- operators
    __add__ = operators.binary(operator.add)
    __sub__ = operators.binary(operator.sub)
    __mul__ = operators.binary(operator.mul)
    __truediv__ = operators.binary(operator.truediv)
    __floordiv__ = operators.binary(operator.floordiv)
    __mod__ = operators.binary(operator.mod)
    __pow__ = operators.binary(operator.pow)
    __matmul__ = operators.binary(operator.matmul)
    __and__ = operators.binary(operator.and_)
    __or__ = operators.binary(operator.or_)
    __xor__ = operators.binary(operator.xor)
    __lshift__ = operators.binary(operator.lshift)
    __rshift__ = operators.binary(operator.rshift)
    __lt__ = operators.binary(operator.lt)
    __le__ = operators.binary(operator.le)
    __gt__ = operators.binary(operator.gt)
    __ge__ = operators.binary(operator.ge)
    __eq__ = operators.binary(operator.eq)  # type: ignore[assignment]  # elementwise, not a bool
    __ne__ = operators.binary(operator.ne)  # type: ignore[assignment]

    __radd__ = operators.reflected(operator.add)
    __rsub__ = operators.reflected(operator.sub)
    __rmul__ = operators.reflected(operator.mul)
    __rtruediv__ = operators.reflected(operator.truediv)
    __rfloordiv__ = operators.reflected(operator.floordiv)
    __rmod__ = operators.reflected(operator.mod)
    __rpow__ = operators.reflected(operator.pow)
    __rmatmul__ = operators.reflected(operator.matmul)
    __rand__ = operators.reflected(operator.and_)
    __ror__ = operators.reflected(operator.or_)
    __rxor__ = operators.reflected(operator.xor)
    __rlshift__ = operators.reflected(operator.lshift)
    __rrshift__ = operators.reflected(operator.rshift)

    __divmod__ = operators.quotient_and_rest
    __rdivmod__ = operators.reflected_quotient_and_rest

    __iadd__ = operators.in_place(operator.iadd)
    __isub__ = operators.in_place(operator.isub)
    __imul__ = operators.in_place(operator.imul)
    __itruediv__ = operators.in_place(operator.itruediv)
    __ifloordiv__ = operators.in_place(operator.ifloordiv)
    __imod__ = operators.in_place(operator.imod)
    __ipow__ = operators.in_place(operator.ipow)
    __imatmul__ = operators.in_place(operator.imatmul)
    __iand__ = operators.in_place(operator.iand)
    __ior__ = operators.in_place(operator.ior)
    __ixor__ = operators.in_place(operator.ixor)
    __ilshift__ = operators.in_place(operator.ilshift)
    __irshift__ = operators.in_place(operator.irshift)

    __neg__ = operators.unary(operator.neg)
    __pos__ = operators.unary(operator.pos)
    __abs__ = operators.unary(operator.abs)
    __invert__ = operators.unary(operator.invert)


def _has_ellipsis(key: Any) -> bool:
    return any(part is Ellipsis for part in key) if type(key) is tuple else key is Ellipsis


_PLAIN_KEYS = (int, builtins.slice, type(None), type(Ellipsis))


def _key(self: NDArray, key: Any) -> Any:
    """Return a subscript of the backend's own arrays; a DeviceError for index arrays that are elsewhere."""
    if type(key) is tuple:
        return tuple([part if type(part) in _PLAIN_KEYS else _index(self, part) for part in key])
    return _index(self, key)


def _index(self: NDArray, part: Any) -> Any:
    ours = type(part) is NDArray
    backend = part._backend if ours else backend_of(part)
    if backend is None or backend is self._backend:
        return part._array if ours else part
    msg = (
        f"the index array of {part.dtype} {tuple(part.shape)} is on {backend.device!r} ({backend.name}), the indexed one on "
        f"{self.device!r} ({self.backend}); write nd.asarray(..., device={self.device!r})"
    )
    raise DeviceError(msg)


def _unpickle(host: "np.ndarray[Any, Any]", device: str) -> NDArray:
    try:
        return NDArray(host, device=device)
    except (DeviceError, MissingDependency) as error:
        msg = (
            f"an array of shape {host.shape} was pickled on {device!r} and lands on the same device: {error}. Pickle "
            "a.to_device('cpu'), or send dumps(...) and say at its arrival where to: loads(message, device='cuda')"
        )
        raise type(error)(msg) from error
