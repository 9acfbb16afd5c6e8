"""The array-API namespace over NDArray: the standard's functions, delegated to the array's backend.

Every function is made from a table, ``sparknet.nd.standard``. It finds the backend (that of the first NDArray among the
arguments, or of ``device=``), unwraps the arguments, calls the backend's function of the same name and wraps the result.
So signatures, dtypes and results are those of the standard and of the backend:
https://data-apis.org/array-api/2025.12/.

Examples
--------
>>> from sparknet import nd
>>> nd.sum(nd.ones((2, 3)) * 2, axis=0)
NDArray([4., 4., 4.], shape=(3,), dtype=float64, device='cpu')
"""

import builtins
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sparknet.backends import backend_for_device, backend_of, get_backend
from sparknet.backends.devices import convert
from sparknet.errors import DeviceError, explain
from sparknet.nd import fft, linalg
from sparknet.nd.delegate import functions
from sparknet.nd.info import NamespaceInfo
from sparknet.nd.standard import DTYPES, FUNCTIONS, VERSION, VERSIONS
from sparknet.ndarray.array import NDArray, wrap

__array_api_version__ = VERSION

_FUNCTIONS = functions(FUNCTIONS)
_CONSTANTS = ["e", "inf", "nan", "newaxis", "pi"]
_numpy = get_backend("numpy").namespace
# Device types of DLPack's header: the host's memory, page-locked or not (kDLCPU, kDLCUDAHost, kDLROCMHost), and CUDA's
# (kDLCUDA, kDLCUDAManaged).
_HOST, _CUDA = (1, 3, 11), (2, 13)

__all__ = [  # noqa: PLE0604 - lists of names
    *_FUNCTIONS,
    *_CONSTANTS,
    *DTYPES,
    "asarray",
    "astype",
    "fft",
    "from_dlpack",
    "linalg",
]


def asarray(obj: Any, /, *, dtype: Any = None, device: str | None = None, copy: builtins.bool | None = None) -> NDArray:
    """Return ``obj`` as an NDArray.

    Parameters
    ----------
    obj
        NDArray, array of a backend, nested sequences, scalar, or an object with the buffer protocol.
    dtype
        Convert to this dtype.
    device
        ``"cpu"`` or ``"cuda:N"``; default: where ``obj`` is.
    copy
        True: always a copy. False: never, a ``ValueError`` where one is needed. None: only where needed.

    Returns
    -------
    NDArray
        Shares memory with ``obj`` wherever no copy is needed.

    Raises
    ------
    TypeError, ValueError
        ``obj`` holds something else than numbers, or its parts differ in length.

    Examples
    --------
    >>> asarray([[1, 2], [3, 4]], dtype="float32").shape
    (2, 2)
    """
    if isinstance(obj, NDArray):
        return wrap(*convert(obj._array, obj._backend, dtype=dtype, device=device, copy=copy))
    return wrap(*convert(obj, backend_of(obj), dtype=dtype, device=device, copy=copy))


def astype(x: NDArray, dtype: Any, /, *, copy: builtins.bool = True, device: str | None = None) -> NDArray:
    """Return ``x`` converted to ``dtype``.

    Parameters
    ----------
    x
        An NDArray, or an array of a backend.
    dtype
        numpy's dtype or its name, on every backend.
    copy
        False: return ``x`` itself if it has that dtype already.
    device
        Move the result there. Default: it stays where ``x`` is.

    Raises
    ------
    TypeError
        There is no such dtype, or the backend does not have it.

    Examples
    --------
    >>> astype(asarray([1.7, -1.7]), "int8")
    NDArray([ 1, -1], shape=(2,), dtype=int8, device='cpu')
    """
    array = asarray(x)
    try:
        own = array._backend.namespace.astype(array._array, _numpy.dtype(dtype), copy=copy)
    except (TypeError, ValueError, RuntimeError) as error:
        explain(error, "nd.astype()", x, dtype)
    found = wrap(own, array._backend)
    return found if device is None else found.to_device(device)


def from_dlpack(x: Any, /, *, device: str | None = None, copy: builtins.bool | None = None) -> NDArray:
    """Return an NDArray over the memory of ``x``, any object with ``__dlpack__``; a copy only if asked for.

    The NDArray is numpy's for host memory, page-locked or not, and cupy's for CUDA's, managed memory included.

    Raises
    ------
    TypeError
        ``x`` has no ``__dlpack__``.
    DeviceError
        The memory is neither the host's nor CUDA's.
    ValueError
        The backend cannot share its dtype or strides.

    Examples
    --------
    >>> import numpy as np
    >>> from_dlpack(np.ones(2, dtype="float32"))
    NDArray([1., 1.], shape=(2,), dtype=float32, device='cpu')
    """
    if not hasattr(x, "__dlpack_device__"):
        msg = f"from_dlpack(): got {type(x).__name__}, expected an array with __dlpack__; use nd.asarray(...)"
        raise TypeError(msg)
    kind, index = x.__dlpack_device__()
    if kind not in (*_HOST, *_CUDA):
        msg = f"from_dlpack(): got memory of DLPack's device type {int(kind)}, expected one of 1, 2, 3, 11 and 13: the host's and CUDA's"
        raise DeviceError(msg)
    backend = backend_for_device("cpu" if kind in _HOST else f"cuda:{index}")
    try:
        array = wrap(backend.namespace.from_dlpack(x), backend)
    except (RuntimeError, BufferError) as error:
        explain(error, "from_dlpack()", x)
    return asarray(array, device=device, copy=copy)


def checked_version(api_version: str | None) -> ModuleType:
    """Return this module; a ValueError if it does not implement that version of the standard."""
    if api_version not in (None, *VERSIONS):
        msg = f"array-API version {api_version!r} is not implemented; known: {', '.join(VERSIONS)}"
        raise ValueError(msg)
    return sys.modules[__name__]


def __array_namespace_info__() -> NamespaceInfo:  # noqa: N807 - the standard's name
    """Return the standard's inspection object: capabilities, devices, dtypes."""
    return NamespaceInfo()


# Last, because the standard's names hide builtins (bool, all, sum, ...) that the code above uses.
globals().update(_FUNCTIONS)
globals().update({name: getattr(_numpy, name) for name in _CONSTANTS})
globals().update({name: _numpy.dtype(name) for name in DTYPES})

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Tell type checkers that the generated names exist."""
