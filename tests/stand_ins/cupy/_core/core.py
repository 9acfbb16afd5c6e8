"""cupy.ndarray over numpy's memory (cupy/_core/core.pyx). It refuses what CuPy refuses, and counts what CuPy waits for."""

import numpy as np

from cupy._core import indexing, operators, syncdetect
from cupy._core.kernel import check_device, check_dtype, from_cupy_like, launch, view, wait_for_number
from cupy._machine import machine
from cupy.cuda import pinned_memory, runtime
from cupy.cuda.memory import Memory, MemoryPointer
from cupy.cuda.stream import exported_pointer
from cupy.cuda.stream import get_current_stream as current_stream

ON_GPU = 2  # kDLCUDA


class Flags:
    """_core/flags.pyx: there is no ``writeable``."""

    def __init__(self, flags, owndata):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, owndata
        self.fnc, self.forc = flags.fnc, flags.forc


class Capsule:
    """What ``__dlpack__`` returns: the array, and the stream whose work the consumer's was made to wait for."""

    def __init__(self, array, after):
        self.array, self.after = array, after


class ndarray(operators.Operators):
    """core.pyx:134. Its memory is numpy's, which nobody but this stand-in looks at."""

    __slots__ = ("__weakref__", "_host", "data")
    __module__ = "cupy"
    __array_priority__ = 100  # core.pyx:594
    __hash__ = None

    def __new__(cls, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is not None or strides is not None:
            raise NotImplementedError("the stand-in makes arrays of its own memory only")
        return of(np.empty(shape, dtype, order=order or "C"), runtime.getDevice())

    # ---- what it is
    dtype = property(lambda self: self._host.dtype)
    shape = property(lambda self: self._host.shape, lambda self, shape: setattr(self._host, "shape", shape))
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: Flags(self._host.flags, self._host.base is None))
    device = property(lambda self: self.data.device)
    T = property(lambda self: view(np.transpose)(self))
    real = property(lambda self: view(np.real)(self))
    imag = property(lambda self: view(np.imag)(self))

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return repr(self.get())

    # ---- to the host
    def get(self, stream=None, order="C", out=None, blocking=True):
        """core.pyx:2098: waits for the stream given, else for the current device's: of another device that is the wrong one."""
        if stream is None:
            check_device(self, runtime.getDevice())
        if out is not None:
            if (out.dtype, out.shape) != (self.dtype, self.shape):
                raise ValueError(f"{out.dtype} {out.shape} cannot be obtained from {self.dtype} {self.shape}")
            host = out
        else:
            host = np.empty(self.shape, self.dtype, order="C" if order == "A" else order)
        syncdetect._declare_synchronize()
        machine.counts["get"] += 1
        queue = current_stream() if stream is None else stream
        runtime.finish(runtime.getDevice(), queue.ptr)
        host[...] = self._host
        return host

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __bool__(self):
        if self.size != 1:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()"
            )
        return bool(self.get())

    def __int__(self):
        return int(self.get())

    def __float__(self):
        return float(self.get())

    def __complex__(self):
        return complex(self.get())

    def __array__(self, dtype=None):
        """core.pyx:1803."""
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
        )

    # ---- to other libraries
    @property
    def __cuda_array_interface__(self):
        """core.pyx:304: the stream is the current device's, not the array's. The last key is the stand-in's own way back."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "stream": exported_pointer(),
            "version": 3,
            "strides": None if self._host.flags.c_contiguous else self.strides,
            "data": (self.data.ptr if self.size else 0, False),
            "stand-in": self,
        }

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """core.pyx:342: the consumer's stream waits for the current device's, which need not be the array's."""
        if dl_device == (1, 0):  # to the host
            if copy is False:
                raise ValueError("GPU memory cannot be exported to CPU without copy.")
            return self.get(order="A").__dlpack__()
        if dl_device not in {None, self.__dlpack_device__()}:
            raise BufferError("unsupported device requested.")
        if copy is True:
            raise BufferError("copy=True only supported for copy to CPU.")
        return Capsule(self, exported_pointer())

    def __dlpack_device__(self):
        return ON_GPU, self.data.device_id

    # ---- elements, copies
    def __getitem__(self, key):
        return indexing.get(self, key)

    def __setitem__(self, key, value):
        indexing.put(self, key, value)

    def fill(self, value):
        """core.pyx:1000: a number, or an array without axes."""
        own = from_cupy_like(value)
        number = np.asarray(value, self.dtype) if own is None else own._host.astype(self.dtype)
        if number.shape:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        check_device(self, runtime.getDevice())
        self._host[...] = number

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        dtype = np.dtype(dtype)
        if not copy and dtype == self.dtype:
            return self
        return launch(lambda a: a.astype(dtype, order=order), self)

    def copy(self, order="C"):
        """core.pyx:861: to the current device from any other, if the memory is in one piece."""
        if self.data.device_id != runtime.getDevice() and self.size:
            if not self._host.flags.forc:
                raise NotImplementedError("CuPy cannot copy non-contiguous array between devices.")
            machine.log.append(("copy", runtime.getDevice(), current_stream().ptr, self.data.device_id))
            return of(self._host.copy(), runtime.getDevice())
        return launch(np.copy, self, order=order)

    __copy__ = copy

    def view(self, dtype=None):
        return of(self._host.view() if dtype is None else self._host.view(dtype), self.data.device_id, self.data.mem)

    def reshape(self, *shape, order="C"):
        return view(np.reshape)(self, shape[0] if len(shape) == 1 else shape, order=order)

    def ravel(self, order="C"):
        return view(np.ravel)(self, order=order)

    def _reduced(name):
        return lambda self, *args, **kwargs: launch(getattr(np, name), self, *args, **kwargs)

    all, any, argmax, argmin = map(_reduced, ("all", "any", "argmax", "argmin"))
    max, mean, min, prod, sum = map(_reduced, ("max", "mean", "min", "prod", "sum"))

    def set(self, arr, stream=None):
        """core.pyx:2210: no buffer of CuPy's and no wait; the memory is read when the stream comes to it, also ordinary memory where
        the device can read that (HMM, Grace). The stream is the current device's: of another device it is the wrong one.
        """
        check_device(self, runtime.getDevice())
        if (arr.dtype, arr.shape) != (self.dtype, self.shape):
            raise ValueError(f"{arr.dtype} {arr.shape} cannot be set to {self.dtype} {self.shape}")
        if not self._host.flags.forc:
            raise RuntimeError("Cannot set to non-contiguous array")
        uploaded(arr)
        runtime.queued(runtime.getDevice(), current_stream().ptr)
        self._host[...] = arr
        work = runtime.pending.get((runtime.getDevice(), current_stream().ptr))
        if work is not None:
            work.append(_read_late(self._host, runtime.at_address(arr)))


def of(host, device, mem=None):
    """Return the array over this memory, on that device; without ``mem`` it is allocated there."""
    check_dtype(host.dtype)
    made = object.__new__(ndarray)
    made._host = host
    made.data = MemoryPointer(mem or Memory(host.nbytes, device), host.ctypes.data)
    return made


def _read_late(target, source):
    """Return what a stream does when it comes to a copy from the host: it reads what is there by then."""
    before = source.tobytes()

    def read():
        if source.tobytes() != before:  # else the copy has its elements, and what was computed with them
            target[...] = source

    return read


def uploaded(host):
    """Note a copy from the host."""
    machine.counts["upload"] += 1
    machine.uploads.append((type(host), np.shape(host)))


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, blocking=False):
    """core.pyx:2821: of an array on any device, or of what numpy makes an array of, which is copied to the current device."""
    own = from_cupy_like(obj)
    if own is not None:
        there = own if own.data.device_id == runtime.getDevice() else own.copy()
        return there.astype(own.dtype if dtype is None else dtype, copy=bool(copy) and there is own)
    host = np.array(obj, dtype=dtype, copy=None, ndmin=ndmin, order="K" if order is None else order)
    check_dtype(host.dtype)
    uploaded(obj)
    made = of(host.copy(order="F" if host.flags.fnc else "C"), runtime.getDevice())
    work = runtime.pending.get((runtime.getDevice(), current_stream().ptr))
    if not host.ndim or not pinned_memory.is_memory_pinned(
        host.ctypes.data
    ):  # core.pyx:3077: through a buffer of cupy's
        pinned_memory.alloc_pinned_memory(host.nbytes)
    elif work is not None:  # the device reads it itself, when it comes to that
        work.append(_read_late(made._host, host))
    if blocking:
        current_stream().synchronize()
    return made


def ascontiguousarray(a, dtype=None):
    """core.pyx:3221: of an array without axes it makes one with one axis."""
    same = dtype is None or np.dtype(dtype) == a.dtype
    if same and a._host.flags.c_contiguous:
        return a.ravel() if not a.ndim else a
    return launch(lambda own: np.ascontiguousarray(own, dtype), a)


def asfortranarray(a, dtype=None):
    """core.pyx:3242: the same of Fortran's order."""
    same = dtype is None or np.dtype(dtype) == a.dtype
    if same and a._host.flags.f_contiguous:
        return a.ravel() if not a.ndim else a
    return launch(lambda own: np.asfortranarray(np.atleast_1d(own), dtype), a)


__all__ = ["array", "ascontiguousarray", "asfortranarray", "ndarray", "of", "wait_for_number"]
