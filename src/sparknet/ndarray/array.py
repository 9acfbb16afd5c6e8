"""NDArray: one array on one backend, with the surface of the array-API standard.

It owns no memory and knows no numerics. Each operation unwraps the library's own arrays, calls the backend and wraps
the result; there is no chain of ``isinstance`` on the way. The parts of NDArray are in the modules beside this one,
the functions over arrays in :mod:`sparknet.nd`.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, final

from sparknet.backends import Backend, backend_of, get_backend
from sparknet.backends.devices import convert
from sparknet.errors import DeviceError, MissingDependency, explain
from sparknet.ndarray.elements import Elements
from sparknet.ndarray.interchange import Interchange
from sparknet.ndarray.operators import Operators
from sparknet.ndarray.sparknet_methods import SparknetMethods

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NDArray", "wrap", "wrap_all"]

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
class NDArray(Elements, Operators, Interchange, SparknetMethods):
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
    Where numpy has a method, :mod:`sparknet.nd` has a function. The error for a missing attribute names it.

    Examples
    --------
    >>> a = NDArray(range(60), (3, 4, 5))
    >>> a.slice(0, 1).slice(1, 2)
    NDArray([22, 27, 32, 37], shape=(4,), dtype=int64, device='cpu')
    >>> float((a * 2).to_host()[1, 2, 3])
    66.0
    """

    __slots__ = ()
    __array_priority__ = 1000.0

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

    def to_device(self, device: str, /, *, stream: Any = None) -> "NDArray":
        """Return this array on ``device``: the array itself if it is there already, else a copy.

        Parameters
        ----------
        device
            A device string as in :attr:`device`: ``"cpu"``, ``"cuda:0"``, ``"torch:cpu"``.
        stream
            A parameter of the standard that is ignored: the backend's current stream is used.

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
        """Pickle host memory and the device. Unpickling puts the array on the same device, in writable memory."""
        host = self.to_host()
        if not host.flags.writeable:  # protocol 5, Spark's and Python 3.14's default, keeps numpy's flag
            host = host.copy(order="K")
        return unpickled, (host, self.device)


def unpickled(host: "np.ndarray[Any, Any]", device: str) -> NDArray:
    """Return the array of a pickle, on the device that it was pickled on."""
    try:
        return NDArray(host, device=device)
    except (DeviceError, MissingDependency) as error:
        msg = (
            f"an array of shape {host.shape} was pickled on {device!r} and lands on the same device: {error}. Pickle "
            "a.to_device('cpu'), or send dumps(...) and say at its arrival where to: loads(message, device='cuda')"
        )
        raise type(error)(msg) from error
