"""A stand-in for CuPy, over numpy: what it refuses, what it waits for and where it computes, without a GPU.

Each trait says which lines of CuPy 14.2.0 it imitates (paths under ``cupy/``); what no test needs is not here. The machine, its
number of devices and what it was asked to do are in ``cupy._machine``. Stricter than CuPy in one thing: an operation on an array
of a device that is not current is an error, as on machines without peer access; with it CuPy warns and goes on. So are
``get()`` and ``set()``.
"""

import os
import warnings as _warnings

import numpy as _np

from cupy import _core, _machine, cuda, fft, linalg, random
from cupy._core import array, ascontiguousarray, asfortranarray, ndarray, ufunc
from cupy._core.core import Capsule as _Capsule
from cupy._core.kernel import RawKernel
from cupy._core.kernel import kernel as _kernel
from cupy._core.kernel import view as _view
from cupy._core.kernel import waiting as _waiting
from cupy.cuda import is_available

__version__ = os.environ.get("STAND_IN_VERSION", "14.2.0")
if "STAND_IN_WARNS" in os.environ:  # _environment.py:470
    _warnings.warn("CuPy failed to preload library (libcutensor.so.2): OSError (no such file)", stacklevel=1)

_NUMPYS = """
    bool_ int8 int16 int32 int64 intp uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128 dtype
    integer signedinteger unsignedinteger floating complexfloating number e inf nan newaxis pi
    finfo iinfo issubdtype isdtype promote_types broadcast_shapes
""".split()
_UFUNCS = """
    absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or bitwise_xor ceil conjugate
    copysign cos cosh divide equal exp expm1 floor floor_divide greater greater_equal hypot invert isfinite isinf isnan
    left_shift less less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul maximum
    minimum multiply negative nextafter not_equal positive power reciprocal remainder right_shift sign signbit sin sinh
    sqrt square subtract tan tanh true_divide trunc
""".split()
_FUNCTIONS = """
    all any arange argmax argmin argsort broadcast_arrays clip concatenate copy cross cumprod cumsum diff empty empty_like eye flip
    full full_like imag isin linspace max mean meshgrid min ones ones_like outer prod real roll round searchsorted sort stack
    std sum take_along_axis tensordot tile trace tril triu var where zeros zeros_like
""".split()
_VIEWS = "broadcast_to diagonal expand_dims moveaxis ravel reshape squeeze swapaxes transpose".split()
_WAITING = "nonzero unique".split()

globals().update({name: getattr(_np, name) for name in _NUMPYS})
globals().update({name: ufunc(getattr(_np, name)) for name in _UFUNCS})
globals().update({name: _kernel(getattr(_np, name)) for name in _FUNCTIONS})
globals().update({name: _view(getattr(_np, name)) for name in _VIEWS})
globals().update({name: _waiting(getattr(_np, name)) for name in _WAITING})
abs = ufunc(_np.absolute)
bool = _np.bool_
conj = ufunc(_np.conjugate)


def asarray(obj, dtype=None, order=None, *, blocking=False):
    return array(obj, dtype, copy=None, order=order, blocking=blocking)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else _np.asarray(a)


def unstack(x, /, *, axis=0):
    return tuple(moveaxis(x, axis, 0))  # noqa: F821 - one of the views


def count_nonzero(a, axis=None):
    return _kernel(lambda own: _np.asarray(_np.count_nonzero(own, axis)))(a)


def result_type(*args):
    return _np.result_type(*[arg.dtype if isinstance(arg, ndarray) else arg for arg in args])


def can_cast(from_, to, casting="safe"):
    return _np.can_cast(from_.dtype if isinstance(from_, ndarray) else from_, to, casting)


def take(a, indices, axis=None, out=None):
    """_core/_routines_indexing.pyx:843: host indices are copied to the device in silence, those out of range wrap (:568)."""
    size = a.size if axis is None else a.shape[axis]
    where = indices if isinstance(indices, ndarray | int) else array(indices, dtype=int)
    return _kernel(lambda own, at: _np.take(own, at % (size or 1), axis))(a, where)


def repeat(a, repeats, axis=None):
    """_core/_routines_manipulation.pyx:580; before 14.1 arrays were refused there (14.0.1, :521)."""
    if isinstance(repeats, ndarray):
        if tuple(map(int, __version__.split(".")[:2])) < (14, 1):
            raise ValueError("cupy.ndaray cannot be specified as `repeats` argument.")
        return _waiting(lambda own, times: _np.repeat(own, times, axis))(a, repeats)
    return _kernel(lambda own: _np.repeat(own, repeats, axis))(a)


def from_dlpack(array, *, device=None, copy=None):
    """_core/dlpack.pyx:507: memory of the devices, kDLCUDA and kDLCUDAManaged; none of the host, page-locked or not."""
    kind, index = array.__dlpack_device__()
    if kind not in {2, 13}:
        raise TypeError(f"Unsupported array type: {kind}")
    with cuda.Device(index):
        capsule = array.__dlpack__(stream=cuda.stream.exported_pointer(), max_version=(1, 2), copy=copy)
    assert isinstance(capsule, _Capsule), "the stand-in takes memory of its own devices only"
    return capsule.array.view()


def get_default_memory_pool():
    return cuda.memory.default_pool


def get_default_pinned_memory_pool():
    return cuda.pinned_memory.default_pool


# what ``from cupy import *`` gives
__all__ = [name for name in globals() if not name.startswith("_")]
__all__ += ["__version__"]
_ = (_core, _machine, RawKernel, ascontiguousarray, asfortranarray, fft, is_available, linalg, random)
