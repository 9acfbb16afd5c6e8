"""The cupy backend: arrays on CUDA devices, ``"cuda:0"``, ``"cuda:1"``. The sole importer of cupy here.

Work is queued on cupy's current stream of the array's device, in the calling thread. Only ``to_host`` and the conversions to
Python numbers wait for it. If there are several devices, each operation makes the array's device the current one, because
cupy itself computes on the current device.

Downloads of 1 MiB and more arrive in page-locked memory, and all uploads pass through it: see
:mod:`sparknet.backends.locked`.
"""

import os
import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from sparknet.backends import gpus, registry
from sparknet.backends.adapt import adapt
from sparknet.backends.backend import Backend
from sparknet.backends.locked import LockedMemory
from sparknet.backends.placement import cuda_index, task_placement
from sparknet.dtypes import TABLE
from sparknet.errors import AFTER_FORK, NOT_INITIALIZED, DeviceError, MissingDependency, explain

try:
    import array_api_compat.cupy as namespace
    import cupy
except ImportError as error:
    msg = (
        "CUDA devices need cupy: pip install 'sparknet[cuda12]' or 'sparknet[cuda13]', as the CUDA version that "
        f"nvidia-smi shows ({error}); tensors of torch have devices of their own, such as 'torch:cuda:0'"
    )
    raise MissingDependency(msg, name="cupy") from error

if int(cupy.__version__.partition(".")[0]) < 14:
    msg = (
        f"cupy {cupy.__version__} is installed, 14 or newer is needed: older ones compute with numpy's scalars by value, as numpy 1 "
        "did, and lack functions; pip install --upgrade 'sparknet[cuda12]' or 'sparknet[cuda13]'"
    )
    raise MissingDependency(msg, name="cupy")

PINNED_FROM = 1 << 20  # bytes from which on a download goes to page-locked memory: smaller ones gain nothing
PINNED_LIMIT = 4 << 30  # most bytes of page-locked memory, in use or kept for later arrays

_locked = LockedMemory(cupy.cuda, PINNED_LIMIT)


@cache
def _count() -> int:
    """Return how many devices there are; a DeviceError if none. This starts CUDA in the process."""
    gpus.check_not_forked()
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
        reason = "cupy finds none"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        count, reason = 0, str(error)
    if not count:
        hint = f" ({AFTER_FORK})" if NOT_INITIALIZED in reason else ""
        msg = f"cupy is installed, but no CUDA device can be used here ({reason}); does nvidia-smi show one? Else use device='cpu'{hint}"
        raise DeviceError(msg)
    gpus.note_started()
    return count


def usable() -> bool:
    """Say whether there is a device, without starting CUDA: afterwards, forked processes could not use it."""
    return "BACKEND" in globals() or gpus.count() > 0


def _index(device: str) -> int:
    found = re.fullmatch(r"cuda:(0|[1-9]\d*)", device)
    if not found or int(found[1]) >= _count():
        there = ", ".join(f"'cuda:{index}'" for index in range(_count()))
        msg = (
            f"no device {device!r} here; there is {there}; 'cuda' is the one that a task was given, or the current one"
        )
        raise DeviceError(msg)
    return int(found[1])


def _placed(device: str) -> str:
    """Return the device that ``"cuda"`` is in this task; other names as they are."""
    global _home  # noqa: PLW0603 - a fact of the process
    if device != "cuda":
        return device
    index = cuda_index(_count(), lambda: cupy.cuda.Device().id)
    _home = None if task_placement() is None else index
    return f"cuda:{index}"


class _Current:
    """Makes a device the current one for a block, and afterwards the one before.

    Every thread begins with the first device. A task of Spark that was given another device does not go back to the first one: from
    CUDA 12 on, that alone makes a context there, which takes hundreds of megabytes for each worker of the machine.
    """

    def __init__(self, index: int) -> None:
        self._index = index

    def __enter__(self) -> None:
        self._before = cupy.cuda.runtime.getDevice()
        if self._before != self._index:
            cupy.cuda.runtime.setDevice(self._index)
        _used.add(self._index)

    def __exit__(self, *_: object) -> None:
        if self._before != self._index and (self._before or not _home):
            cupy.cuda.runtime.setDevice(self._before)


_home: int | None = None  # the device that Spark's task was given in this process, if any
_used: set[int] = set()  # devices whose memory may be kept for the next array


def _caller(device: str) -> Callable[..., Any] | None:
    """Return a function that calls another one with ``device`` as the current device; None if it is the only device."""
    index = _index(device)
    if _count() == 1:
        _used.add(0)
        return None

    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with _Current(index):
            return function(*args, **kwargs)

    return call


# ---- transfers
def _to_host(array: Any) -> "np.ndarray[Any, Any]":
    """Copy to the host, and wait until the copy is there."""
    try:
        # locked memory makes a context on the current device, and cupy waits for that device's current stream
        with _Current(array.device.id):
            host = _host_memory(array.shape, array.dtype)
            if array.size:
                array.get(out=host)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        explain(error, "to_host()", array)
    return host


def _host_memory(shape: tuple[int, ...], dtype: Any) -> "np.ndarray[Any, Any]":
    """Return an uninitialized host array for a copy from or to the current device."""
    large = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize >= PINNED_FROM
    locked = _locked.array(shape, dtype) if large else None
    return np.empty(shape, dtype) if locked is None else locked


def _from_host(host: "np.ndarray[Any, Any]", _device: None) -> Any:
    """Copy host memory of any order to the current device. The caller may change ``host`` when this returns."""
    if not host.ndim:
        return cupy.array(host)  # passed as an argument of a kernel, without a transfer
    array = cupy.empty(host.shape, host.dtype)
    _send(array, host)
    return array


def _send(array: Any, host: "np.ndarray[Any, Any]", *, given: bool = False) -> None:
    """Copy to an own array in C order on the current device. The caller may change ``host`` when this returns.

    Ordinary memory is first copied to a locked buffer, and this does not wait for the device. The device, or its driver, reads
    directly from locked memory, and from ordinary memory if no more may be locked. Then this waits until the device has read it,
    unless the caller has ``given`` the memory away.
    """
    if not host.size:
        return
    is_locked = host.flags.c_contiguous and cupy.cuda.pinned_memory.is_memory_pinned(host.ctypes.data)
    staged = host if is_locked else _locked.array(host.shape, host.dtype)
    stream = cupy.cuda.get_current_stream()
    if staged is None or (is_locked and not given):
        array.set(host)
        stream.synchronize()
        return
    if staged is not host:
        staged[...] = host
    array.set(staged)
    _locked.keep(staged, stream)


def _room(array: Any) -> "np.ndarray[Any, Any]":
    """Return host memory for the elements that will be written to an own array."""
    with _Current(array.device.id):
        return _host_memory(array.shape, array.dtype)


def _write(array: Any, host: "np.ndarray[Any, Any]", given: bool) -> bool:
    """Copy host memory to an own array of the same shape; return whether that was possible."""
    if not array.flags.c_contiguous or array.dtype != host.dtype:
        return False
    with _Current(array.device.id):
        _send(array, host, given=given)
    return True


def _from_own(array: Any, _device: None) -> Any:
    """Copy from another device to the current one, in the order of both devices' streams. The host does not wait."""
    with _Current(array.device.id):
        # cupy copies contiguous arrays alone between devices; ascontiguousarray would add an axis to a 0-d array
        whole = array if array.flags.c_contiguous else cupy.ascontiguousarray(array)
        there = cupy.cuda.get_current_stream()
        ready = there.record()
    here = cupy.cuda.get_current_stream()
    here.wait_event(ready)
    copied = whole.copy()
    done = here.record()
    with _Current(array.device.id):  # the null stream is that of the current device
        there.wait_event(done)  # before the memory of ``whole`` is used again
    return copied


# ---- functions that differ
def _repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Any:
    """Repeat elements. Waits for repeats in an array, because the result's size depends on them; cupy takes arrays from 14.1 on."""
    return cupy.repeat(x, repeats.tolist() if isinstance(repeats, cupy.ndarray) else repeats, axis)


def _clip(x: Any, /, min: Any = None, max: Any = None) -> Any:  # noqa: A002 - the standard's names
    """Clip without waiting: array_api_compat selects by masks, and asks the device how many elements they have.

    cupy's own clip ignores a bound that is NaN. As in array_api_compat, a bound that no integer of the dtype can exceed is ignored.
    """
    clipped = x
    for limited, bound in ((cupy.maximum, min), (cupy.minimum, max)):
        if bound is None or (type(bound) is int and _never_reached(bound, x.dtype, limited is cupy.maximum)):
            continue
        fitting = bound.astype(x.dtype, copy=False) if isinstance(bound, cupy.ndarray) else _number(bound, x.dtype)
        clipped = limited(clipped, fitting)
    return x.copy() if clipped is x else clipped


def _never_reached(bound: int, dtype: Any, is_min: bool) -> bool:
    return dtype.kind in "iu" and (bound <= cupy.iinfo(dtype).min if is_min else bound >= cupy.iinfo(dtype).max)


def _number(bound: Any, dtype: Any) -> Any:
    """Return a bound as a Python number, which takes the dtype of the array."""
    return int(bound) if dtype.kind in "iu" else float(bound)


_namespace = SimpleNamespace(**(vars(namespace) | {"repeat": _repeat, "clip": _clip}))


def _no_object(device: str) -> None:
    """Refuse a name that is no device here. Devices need no objects, because cupy uses the current device."""
    _index(device)


def _release() -> None:
    """Give free memory of the devices in use, and free page-locked memory, back."""
    for index in list(_used):
        with _Current(index):  # cupy frees that of the current device
            cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()
    _locked.free()


def __getattr__(name: str) -> Backend:
    """Make BACKEND at its first use: importing this module must not start CUDA."""
    if name != "BACKEND":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    made: Backend = globals().setdefault(name, _backend())
    return made


def _forget() -> None:
    """Forget the backend in a forked child, which cannot use CUDA: :func:`_count` says so to callers there."""
    if globals().pop("BACKEND", None) is not None:
        _count.cache_clear()
        registry.forget("cupy")


os.register_at_fork(after_in_child=_forget)


def _backend() -> Backend:
    return adapt(
        "cupy",
        _namespace,
        cupy.ndarray,
        _to_host,
        default="cuda:0",
        device=_no_object,
        device_of=lambda array: f"cuda:{array.device.id}",
        from_host=_from_host,
        from_own=_from_own,
        call=_caller,
        placed=_placed,
        write=_write,
        room=_room,
        converts=True,
        place=lambda array: (array.data.ptr, None if array.flags.c_contiguous else array.strides),
        known=[row.name for row in TABLE if row.in_cupy],
        release=_release,
    )
