"""The array-API namespace over NDArray: the standard's functions, delegated to the array's backend.

Every function is made from the tables below: find the backend (from the first NDArray among the
arguments, or from ``device=``), unwrap, call the backend's function of the same name, wrap what
comes back. Signatures, dtypes and errors are therefore those of the standard and of the backend:
https://data-apis.org/array-api/2024.12/.

Examples
--------
>>> from sparknet import nd
>>> nd.sum(nd.ones((2, 3)) * 2, axis=0)
NDArray([4., 4., 4.], shape=(3,), dtype=float64, device='cpu')
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sparknet.backends import Backend, backend_for_device, get_backend
from sparknet.errors import DeviceError
from sparknet.ndarray import NDArray, wrap

__array_api_version__ = "2024.12"

_ELEMENTWISE = """
    abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_invert bitwise_left_shift bitwise_or
    bitwise_right_shift bitwise_xor ceil clip conj copysign cos cosh divide equal exp expm1 floor floor_divide
    greater greater_equal hypot imag isfinite isinf isnan less less_equal log log10 log1p log2 logaddexp
    logical_and logical_not logical_or logical_xor maximum minimum multiply negative nextafter not_equal positive
    pow real reciprocal remainder round sign signbit sin sinh sqrt square subtract tan tanh trunc
""".split()
_REDUCTIONS = """
    all any argmax argmin count_nonzero cumulative_prod cumulative_sum max mean min prod std sum var
    diff argsort sort searchsorted nonzero where unique_all unique_counts unique_inverse unique_values
""".split()
_MANIPULATION = """
    astype broadcast_arrays broadcast_to can_cast concat expand_dims flip matmul matrix_transpose meshgrid moveaxis
    permute_dims repeat reshape result_type roll squeeze stack take take_along_axis tensordot tile tril triu unstack
    vecdot empty_like full_like ones_like zeros_like
""".split()
_CREATION = ["arange", "empty", "eye", "full", "linspace", "ones", "zeros"]
_LINALG = """
    cholesky cross det diagonal eigh eigvalsh inv matmul matrix_norm matrix_power matrix_rank matrix_transpose outer
    pinv qr slogdet solve svd svdvals tensordot trace vecdot vector_norm
""".split()
_FFT = """
    fft fftfreq fftn fftshift hfft ifft ifftn ifftshift ihfft irfft irfftn rfft rfftfreq rfftn
""".split()
_DTYPES = """
    bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128
""".split()
_CONSTANTS = ["e", "inf", "nan", "newaxis", "pi"]
_DTYPE_FUNCTIONS = ["finfo", "iinfo", "isdtype"]

__all__ = [  # noqa: PLE0604 - lists of names
    *_ELEMENTWISE,
    *_REDUCTIONS,
    *_MANIPULATION,
    *_CREATION,
    *_DTYPES,
    *_CONSTANTS,
    *_DTYPE_FUNCTIONS,
    "asarray",
    "fft",
    "from_dlpack",
    "linalg",
]


def asarray(obj: Any, /, *, dtype: Any = None, device: str | None = None, copy: bool | None = None) -> NDArray:
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

    Examples
    --------
    >>> asarray([[1, 2], [3, 4]], dtype="float32").shape
    (2, 2)
    """
    array = NDArray(obj, device=device) if not isinstance(obj, NDArray) or device is not None else obj
    backend = array._backend
    return wrap(backend.asarray(array.unwrap(), dtype=dtype, copy=copy), backend)


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> NDArray:
    """Return an NDArray over the memory of ``x``, any object with ``__dlpack__``; no copy unless asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from_dlpack(np.ones(2, dtype="float32"))
    NDArray([1., 1.], shape=(2,), dtype=float32, device='cpu')
    """
    host_device_type = 1  # kDLCPU of the DLPack header; the others that we know are CUDA's
    kind, index = x.__dlpack_device__()
    backend = backend_for_device("cpu" if int(kind) == host_device_type else f"cuda:{index}")
    array = wrap(backend.namespace.from_dlpack(x), backend)
    return asarray(array, device=device, copy=copy)


def checked_version(api_version: str | None) -> ModuleType:
    """Return this module for a version of the standard that it implements; else a ValueError."""
    known = (None, "2021.12", "2022.12", "2023.12", __array_api_version__)
    if api_version not in known:
        msg = f"array-API version {api_version!r} is not implemented; known: {', '.join(map(str, known[1:]))}"
        raise ValueError(msg)
    return sys.modules[__name__]


def __array_namespace_info__() -> Any:  # noqa: N807 - the standard's name
    """Return the standard's inspection object (of the default backend: default dtypes, devices)."""
    return get_backend("numpy").namespace.__array_namespace_info__()


def _find_backend(values: Any) -> Backend | None:
    """Return the backend of the first NDArray in ``values`` (looking into lists and tuples)."""
    found = None
    for value in values:
        backend = None
        if type(value) is NDArray:
            backend = value._backend
        elif isinstance(value, list | tuple):
            backend = _find_backend(value)
        if backend is not None and found is not None and backend is not found:
            msg = f"arrays of {found.name} and {backend.name} in one call; move them together with .to_device(...)"
            raise DeviceError(msg)
        found = found or backend
    return found


def _unwrap(value: Any) -> Any:
    if type(value) is NDArray:
        return value.unwrap()
    if type(value) in (list, tuple):
        return type(value)(_unwrap(part) for part in value)
    return value


def _wrap_result(value: Any, backend: Backend) -> Any:
    """Wrap arrays, also inside the tuples and named tuples that some functions return."""
    if isinstance(value, backend.array_type):
        return wrap(value, backend)
    if isinstance(value, tuple):
        parts = [_wrap_result(part, backend) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [_wrap_result(part, backend) for part in value]
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return wrap(value, backend)  # numpy's scalars stand for 0-d arrays
    return value


def _delegate(name: str, extension: str | None = None) -> Callable[..., Any]:
    """Return the function ``name`` (of ``extension``) on NDArrays."""

    def function(*args: Any, **kwargs: Any) -> Any:
        backend = _find_backend(args) or _find_backend(kwargs.values())
        device = kwargs.get("device")
        if backend is None:
            backend = backend_for_device(device or "cpu")
        xp = backend.namespace if extension is None else getattr(backend.namespace, extension)
        kwargs = {key: _unwrap(value) for key, value in kwargs.items()}
        return _wrap_result(getattr(xp, name)(*map(_unwrap, args), **kwargs), backend)

    function.__name__ = function.__qualname__ = name
    function.__module__ = __name__ if extension is None else f"{__name__}.{extension}"
    where = f"{extension}." if extension else ""
    function.__doc__ = f"Return the array-API standard's ``{where}{name}``, computed by the array's backend."
    return function


def _extension(name: str, functions: list[str]) -> ModuleType:
    module = ModuleType(f"{__name__}.{name}", f"The standard's ``{name}`` extension on NDArrays.")
    for function in functions:
        setattr(module, function, _delegate(function, name))
    module.__all__ = functions  # type: ignore[attr-defined]
    return module


linalg = _extension("linalg", _LINALG)
fft = _extension("fft", _FFT)
globals().update({name: _delegate(name) for name in [*_ELEMENTWISE, *_REDUCTIONS, *_MANIPULATION, *_CREATION]})
_numpy = get_backend("numpy").namespace
globals().update({name: getattr(_numpy, name) for name in [*_CONSTANTS, *_DTYPE_FUNCTIONS]})
# dtypes are numpy's on numpy and on cupy: one set serves every backend
globals().update({name: _numpy.dtype(name) for name in _DTYPES})

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Tell type checkers that the generated names exist."""
