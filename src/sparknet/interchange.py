"""How an array's memory goes to others: DLPack and Python's buffers, read-only memory kept so. For :mod:`sparknet.ndarray` only.

DLPack 1.0 has a flag for read-only memory. A consumer that asks for an older version cannot be told, and torch asks for
1.0 and then writes all the same (seen in 2.13): a write to a mapped file ends the process, and one to a ``bytes`` changes
what Python holds for immutable. So these get a copy, unless they forbid it.
"""

import sys
from typing import TYPE_CHECKING, Any

from sparknet.errors import DeviceError

if TYPE_CHECKING:
    import numpy as np

    from sparknet.ndarray import NDArray

__all__ = ["buffer", "capsule", "consumer", "host"]

_FLAGGED = (1, 0)  # the version of DLPack that brought the flag
_DEAF = "torch"  # asks for that version, and does not look at the flag


def consumer() -> str:
    """Return the package of the code that called the method which calls this; empty where it has no name."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).partition(".")[0]


def capsule(array: Any, who: str, **options: Any) -> Any:
    """Return a DLPack capsule of a library's own array.

    Parameters
    ----------
    array
        The array; memory that says it is read-only is numpy's alone.
    who
        The package of the caller, as :func:`consumer` finds it.
    **options
        ``stream``, ``max_version``, ``dl_device``, ``copy``, as the array-API standard has them.

    Raises
    ------
    BufferError
        ``copy=False``, and the caller cannot be told that the memory is read-only; or numpy does not hand out the dtype.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if not getattr(getattr(array, "flags", None), "writeable", True):
        version, copy = given.get("max_version"), given.get("copy")
        if version is None or tuple(version) < _FLAGGED or who == _DEAF:
            if copy is False:
                raise BufferError(_refusal(who))
            if copy is None:
                array = array.copy()
    try:
        return array.__dlpack__(**given)
    except BufferError as error:
        if getattr(getattr(array.dtype, "type", None), "__module__", "") != "ml_dtypes":
            raise
        raise BufferError(_no_dlpack(array.dtype)) from error


def _refusal(who: str) -> str:
    """Say that read-only memory cannot be shared with this caller, and what to do."""
    reason = "torch writes to memory that is marked read-only" if who == _DEAF else "the consumer cannot be told so"
    return (
        f"copy=False, but this array is read-only, as a view of a message or of a mapped file is, and {reason}; leave copy=False "
        "out, or have writable memory from the start: loads(..., copy=True), load(..., mmap=False), nd.asarray(a, copy=True)"
    )


def _no_dlpack(dtype: Any) -> str:
    """Say that numpy's DLPack has no such dtype, and the other ways to torch and to numpy."""
    return (
        f"numpy does not hand out {dtype} by DLPack; for torch load it there, loads(..., device='torch:cpu'), or copy it, "
        "a.to_device('torch:cpu').unwrap(); for numpy take a.to_host()"
    )


def host(array: "NDArray") -> "np.ndarray[Any, Any]":
    """Return the memory of an array on the host as numpy's; a DeviceError on a GPU, from which nothing is copied unasked."""
    if not array._backend.host:
        msg = f"this array is on {array.device!r}: call .to_host() to copy it to the host"
        raise DeviceError(msg)
    return array.to_host()


def buffer(array: "NDArray", flags: int) -> memoryview:
    """Return the memory of an array on the host as Python's buffer; Python itself compares ``flags`` with what it is."""
    del flags
    memory: Any = host(array)
    try:
        return memoryview(memory)
    except ValueError as error:
        msg = f"Python's buffers have no {array.dtype}: take a copy, bytes(a), or the bits, a.to_host().view('u1')"
        raise BufferError(msg) from error
