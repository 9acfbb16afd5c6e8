"""How a function of numpy becomes one of the device: what it may be given, on which device it runs (cupy/_core/_kernel.pyx)."""

import functools

import numpy as np

from cupy._machine import machine
from cupy.cuda import runtime, stream

_SUPPORTED = "?bhilqBHILQefdFD"  # _dtype.pyx:12


def check_dtype(dtype):
    """_dtype.pyx:37: numpy's numbers and bfloat16, no float8, no long double."""
    if not dtype.isnative:
        raise ValueError(f"Unsupported dtype {dtype} with big-endian byte-order")
    if dtype.char not in _SUPPORTED and dtype.name != "bfloat16":  # _scalar.pyx:283
        raise ValueError(f"Unsupported dtype {dtype}")


def from_cupy_like(value):
    """core.pxd:125: an array, or what offers one: by CUDA's array interface first, with a wait (core.pyx:3334)."""
    from cupy._core.core import ndarray

    if isinstance(value, ndarray):
        return value
    described = getattr(value, "__cuda_array_interface__", None)
    if described is None:
        return value.__cupy_get_ndarray__() if hasattr(value, "__cupy_get_ndarray__") else None
    if described.get("stream") is not None:
        runtime.streamSynchronize(described["stream"])
    return described["stand-in"]


def check_device(value, device):
    """_kernel.pyx:128. CuPy asks for peer access, and warns; on this machine there is none, which is an error, as there."""
    where = value.data.device_id
    if where != device:
        raise ValueError(
            f"The device where the array resides ({where}) is different from the current device ({device}). "
            "Peer access is unavailable between these devices."
        )


def argument(value, device):
    """_kernel.pyx:147: arrays of the current device, numbers and what numpy takes beside them; no host arrays."""
    if isinstance(value, list | tuple):
        return type(value)(argument(part, device) for part in value)
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")  # _scalar.pyx:344
    own = None if isinstance(value, np.generic | int | float | complex | str | type) else from_cupy_like(value)
    if own is None:
        return value
    check_device(own, device)
    return own._host


def launch(function, *args, out=None, **kwargs):
    """Compute with numpy's ``function`` on the current device."""
    device = runtime.getDevice()
    runtime.context(device)
    compiled = (device, getattr(function, "__qualname__", function.__name__))
    if compiled not in machine.compiled:
        runtime.finish_all(device)
        machine.compiled.add(compiled)
    own = [argument(value, device) for value in args]
    options = {key: argument(value, device) for key, value in kwargs.items()}
    runtime.queued(device, stream.get_current_stream().ptr)
    with np.errstate(all="ignore"):  # no device tells of an overflow
        if out is not None:
            function(*own, out=argument(out, device), **options)
            return out
        return wrapped(function(*own, **options), device, args)


def wrapped(result, device, sources=()):
    """Return results as arrays of a device, numbers too; what shares memory with a source shares its allocation."""
    from cupy._core.core import ndarray, of

    if isinstance(result, np.ndarray | np.generic):
        own = np.asarray(result)
        for source in sources:
            if isinstance(source, ndarray) and own.size and np.may_share_memory(own, source._host):
                return of(own, source.data.device_id, source.data.mem)
        return of(own, device)
    if isinstance(result, list | tuple) and type(result).__module__ != "cupy":
        return (list if isinstance(result, list) else tuple)(wrapped(part, device, sources) for part in result)
    return result


def kernel(function):
    """Return numpy's function as it runs on the device."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        return launch(function, *args, **kwargs)

    return call


def view(function):
    """Return numpy's function that only looks at memory in another way, which no device has to be current for."""

    @functools.wraps(function)
    def call(a, *args, **kwargs):
        result = function(a._host, *args, **kwargs)
        if a.size and not np.may_share_memory(result, a._host):
            check_device(a, runtime.getDevice())  # it has to be copied
        return wrapped(result, a.data.device_id, (a,))

    return call


def waiting(function):
    """Return numpy's function whose result has a length that the host has to ask for (_routines_indexing.pyx:123)."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        result = launch(function, *args, **kwargs)
        wait_for_number()
        return result

    return call


def wait_for_number():
    """A number comes to the host: ``int(a[-1])``."""
    from cupy._core import syncdetect

    syncdetect._declare_synchronize()
    machine.counts["get"] += 1
    runtime.finish(runtime.getDevice(), stream.get_current_stream().ptr)


class RawKernel:
    """A kernel in CUDA's C++ (cupy/_core/raw.pyx): any is one that runs long, with a last argument of more than one tick."""

    def __init__(self, code, name, **options):
        self.code, self.name = code, name

    def __call__(self, grid, block, arguments, **options):
        if arguments[-1] > 1:
            runtime.pending.setdefault((runtime.getDevice(), stream.get_current_stream().ptr), [])


class ufunc:
    """A ufunc of the device (_kernel.pyx:1147), with numpy's methods."""

    def __init__(self, function):
        self._function = function
        self.__name__ = function.__name__
        self.nin, self.nout = function.nin, function.nout

    def __call__(self, *args, **kwargs):
        names = args[self.nin :]
        if names:
            args, kwargs = args[: self.nin], {**kwargs, "out": names[0]}
        return launch(self._function, *args, **kwargs)

    def __getattr__(self, name):
        if name not in {"outer", "at", "reduce", "accumulate", "reduceat"}:
            raise AttributeError(name)
        return functools.partial(launch, getattr(self._function, name))
