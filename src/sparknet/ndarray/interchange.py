"""How other libraries get an array's memory: numpy's protocols, DLPack, Python's buffers. Read-only memory stays read-only.

DLPack 1.0 has a flag for read-only memory. A consumer that asks for an older version does not get the flag. torch asks for 1.0
and ignores the flag (seen in 2.13). A write to a mapped file would end the process, and one to a ``bytes`` would change what
Python takes for immutable. So these consumers get a copy, or an error if they forbid copies.
"""

import sys
from typing import TYPE_CHECKING, Any

from sparknet.backends import get_backend
from sparknet.errors import DeviceError
from sparknet.ndarray import ufuncs
from sparknet.ndarray.core import Core, call_directly

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Interchange"]

_FLAGGED = (1, 0)  # the version of DLPack that brought the flag
_IGNORES_FLAG = "torch"  # asks for that version, and writes nevertheless


class Interchange(Core):
    """The protocols by which other libraries read an NDArray."""

    __slots__ = ()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        """Return a numpy array; host memory only (a GPU array asks for ``.to_host()``)."""
        return get_backend("numpy").asarray(_host(self), dtype=dtype, copy=copy)  # type: ignore[no-any-return]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Compute a numpy ufunc, such as ``np.sin``, ``scipy.special.jv`` or the ``+`` of ``numpy_array + a``."""
        return ufuncs.compute(self, ufunc, method, inputs, options)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a DLPack capsule of the memory, or of a copy if it is read-only and the consumer cannot respect that."""
        consumer = _calling_package()
        options = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        # on the array's device, because the consumer waits for what is queued there
        return (self._backend.call or call_directly)(_capsule, self._array, consumer, **options)

    def __dlpack_device__(self) -> tuple[Any, int]:
        """Return the DLPack device type and id."""
        return self._array.__dlpack_device__()  # type: ignore[no-any-return]

    @property
    def __cuda_array_interface__(self) -> Any:
        """CUDA's array interface, with the current stream of the array's device; an AttributeError on the host."""
        return (self._backend.call or call_directly)(getattr, self._array, "__cuda_array_interface__")

    def __bytes__(self) -> bytes:
        """Return the bytes of the elements in row-major order, as numpy does; host memory only; a copy."""
        return _host(self).tobytes()

    def __buffer__(self, flags: int) -> memoryview:
        """Return the memory, read-only where the array is; host memory only. Python calls this from 3.12 on.

        There ``memoryview(a)``, ``bytearray(a)`` and ``file.write(a)`` take the memory itself. Python 3.11 refuses
        the array, but ``bytearray(a)`` of integers from 0 to 255 keeps one byte of each: write ``bytearray(bytes(a))``.
        """
        return _buffer(self, flags)


def _calling_package() -> str:
    """Return the name of the package that called the method which calls this function; empty if it has none."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).partition(".")[0]


def _capsule(array: Any, consumer: str, **options: Any) -> Any:
    """Return a DLPack capsule of a library's own array.

    Parameters
    ----------
    array
        The array. Of the libraries here, numpy alone has read-only memory.
    consumer
        Name of the package that asks.
    **options
        ``stream``, ``max_version``, ``dl_device`` and ``copy`` of the array-API standard.

    Raises
    ------
    BufferError
        ``copy=False``, and the consumer would write to memory that is read-only; or numpy's DLPack has no such dtype.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if not getattr(getattr(array, "flags", None), "writeable", True):
        version, copy = given.get("max_version"), given.get("copy")
        if version is None or tuple(version) < _FLAGGED or consumer == _IGNORES_FLAG:
            if copy is False:
                raise BufferError(_refusal(consumer))
            if copy is None:
                array = array.copy()
    try:
        return array.__dlpack__(**given)
    except BufferError as error:
        if getattr(getattr(array.dtype, "type", None), "__module__", "") != "ml_dtypes":
            raise
        raise BufferError(_no_dlpack(array.dtype)) from error


def _refusal(consumer: str) -> str:
    """Return the message for a consumer that read-only memory cannot be shared with, with the fix."""
    reason = "the consumer cannot be told so"
    if consumer == _IGNORES_FLAG:
        reason = "torch writes to memory that is marked read-only"
    return (
        f"copy=False, but this array is read-only, as a view of a message or of a mapped file is, and {reason}; leave copy=False "
        "out, or have writable memory from the start: loads(..., copy=True), load(..., mmap=False), nd.asarray(a, copy=True)"
    )


def _no_dlpack(dtype: Any) -> str:
    """Return the message for a dtype that numpy's DLPack does not have, with other ways to torch and numpy."""
    return (
        f"numpy does not hand out {dtype} by DLPack; for torch load it there, loads(..., device='torch:cpu'), or copy it, "
        "a.to_device('torch:cpu').unwrap(); for numpy take a.to_host()"
    )


def _host(array: Core) -> "np.ndarray[Any, Any]":
    """Return a host array's memory as numpy's; a DeviceError for a GPU array, which is copied on request only."""
    if not array._backend.host:
        msg = f"this array is on {array.device!r}: call .to_host() to copy it to the host"
        raise DeviceError(msg)
    return array.to_host()


def _buffer(array: Core, flags: int) -> memoryview:
    """Return a host array's memory as Python's buffer."""
    del flags  # Python itself compares them with the buffer
    memory: Any = _host(array)
    try:
        return memoryview(memory)
    except ValueError as error:
        msg = f"Python's buffers have no {array.dtype}: take a copy, bytes(a), or the bits, a.to_host().view('u1')"
        raise BufferError(msg) from error
