"""The base of all parts of NDArray: its two slots, and the properties that describe the array."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sparknet.backends import Backend

if TYPE_CHECKING:
    import numpy as np

    from sparknet.ndarray.array import NDArray

__all__ = ["Core", "call_directly"]

_new = object.__new__


class Core:
    """A library's array and the backend that computes with it. NDArray is the one class of it that has instances."""

    __slots__ = ("_array", "_backend")

    _array: Any
    _backend: Backend

    @property
    def dtype(self) -> Any:
        """The dtype: numpy's object on every backend.

        Examples
        --------
        >>> from sparknet import NDArray
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
        >>> from sparknet import NDArray
        >>> NDArray([1.5, 2.5]).device
        'cpu'
        """
        return self._backend.device

    @property
    def backend(self) -> str:
        """Name of the backend, as :func:`sparknet.backends.get_backend` takes it.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray([1.5, 2.5]).backend
        'numpy'
        """
        return self._backend.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray(range(6), (2, 3)).shape
        (2, 3)
        """
        return tuple(self._array.shape)

    @property
    def ndim(self) -> int:
        """Number of axes.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray(range(6), (2, 3)).ndim
        2
        """
        return len(self._array.shape)

    @property
    def size(self) -> int:
        """Number of elements.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray(range(6), (2, 3)).size
        6
        """
        return math.prod(self._array.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements. Gaps between the elements of a view do not count.

        Examples
        --------
        >>> from sparknet import NDArray
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
            The array does not have two axes, and the standard has ``T`` for two alone.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray(range(6), (2, 3)).T.shape
        (3, 2)
        """
        if len(self._array.shape) != 2:
            msg = f"T is of arrays with 2 axes, this one has shape {self.shape}; use mT, or nd.permute_dims()"
            raise ValueError(msg)
        return self._like(self._array.T)

    @property
    def mT(self) -> "NDArray":  # noqa: N802 - the standard's name
        """The transpose of the last two axes; a view, which shares memory.

        Raises
        ------
        ValueError
            The array has fewer than two axes.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray(range(24), (2, 3, 4)).mT.shape
        (2, 4, 3)
        """
        return self._like(self._backend.namespace.matrix_transpose(self._array))

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """Return :mod:`sparknet.nd`."""
        from sparknet import nd  # the one import upwards: the namespace makes arrays

        return nd.checked_version(api_version)

    def _like(self, array: Any) -> "NDArray":
        """Wrap an array or scalar of the same library on the same backend; shares memory."""
        backend = self._backend
        if type(array) is not backend.array_type and not isinstance(array, backend.array_type):
            array = backend.asarray(array)
        out: Any = _new(type(self))
        out._array = array
        out._backend = backend
        return out  # type: ignore[no-any-return]

    def unwrap(self) -> Any:
        """Return the backend's own array; no copy, shares memory.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> import numpy as np
        >>> own = np.zeros(3)
        >>> NDArray(own).unwrap() is own
        True
        """
        return self._array

    def to_host(self) -> "np.ndarray[Any, Any]":
        """Return a ``numpy.ndarray``: shares memory on the host, a copy from a GPU.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> a = NDArray([1.0, 2.0])
        >>> a.to_host()[0] = 7.0
        >>> a
        NDArray([7., 2.], shape=(2,), dtype=float64, device='cpu')
        """
        return self._backend.to_host(self._array)  # type: ignore[no-any-return]


def call_directly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function: what a backend does that has no :attr:`~sparknet.backends.Backend.call`."""
    return function(*args, **kwargs)
