"""From an array-API namespace to a backend: all that most libraries need.

NDArray speaks numpy's dtypes and sparknet's device strings everywhere, so that the same program, the same
schema of weights and the same pickled array fit every backend. What differs is translated here, once, at the border;
a library whose dtypes are numpy's and which has no devices is called as it is.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from sparknet.backends.backend import Backend
from sparknet.backends.devices import device_string
from sparknet.backends.namespace import Dtypes, Namespace, at, bound
from sparknet.backends.registry import get_backend
from sparknet.errors import DeviceError

__all__ = ["adapt"]


def adapt(
    name: str,
    namespace: Any,
    array_type: type,
    to_host: Callable[[Any], Any],
    *,
    default: str = "cpu",
    device: Callable[[str], Any] | None = None,
    device_of: Callable[[Any], str] | None = None,
    from_host: Callable[[Any, Any], Any] | None = None,
    from_own: Callable[[Any, Any], Any] | None = None,
    call: Callable[[str], Callable[..., Any] | None] = lambda _device: None,
    refusal: Callable[[Any], str] | None = None,
    host_view: Callable[[Any], Any] | None = None,
    write_refusal: Callable[[Any], Any] | None = None,
    known: Iterable[str] | None = None,
    place: Callable[[Any], tuple[int, tuple[int, ...] | None]] | None = None,
    placed: Callable[[str], str] | None = None,
    converts: bool = False,
    room: Callable[[Any], Any] | None = None,
    write: Callable[[Any, Any, bool], bool] | None = None,
    release: Callable[[], None] | None = None,
) -> Backend:
    """Return the backend of a library on its default device.

    Parameters
    ----------
    name
        The name that it is registered under: the package that its arrays come from.
    namespace
        The array-API namespace; for libraries that have none, that of array_api_compat.
    array_type
        The type of its arrays.
    to_host
        Returns an array as a ``numpy.ndarray``; for devices called ``"cpu"`` without a copy.
    default
        The device that the backend has before anybody asks for another.
    device
        Returns the library's device object for a name such as ``"cuda:1"``, or None if it has none; any
        exception says that there is no such device. Default: ``default`` is the only one.
    device_of
        Returns the name of an array's device. Default: ``default``.
    from_host
        ``from_host(array, device)`` copies a ``numpy.ndarray`` of any memory order to a C-contiguous array on a device object.
        Default: ``namespace.asarray(array, device=device, copy=True)``, of an array that is contiguous already.
    from_own
        ``from_own(array, device)`` copies an own array from another device. Default:
        ``namespace.asarray(array, device=device)``.
    call
        ``call("cuda:1")`` is the :attr:`Backend.call` of that device.
    refusal, host_view, write_refusal, place, placed, converts, room, write, release
        Those of :class:`Backend`; ``host_view`` for the devices called ``"cpu"``.
    known
        Names of the dtypes that it has, of a library whose dtypes are numpy's; others are a TypeError. Default: all.

    Returns
    -------
    Backend
        Those of its other devices come from :attr:`Backend.on`; there is one value for each device.

    Examples
    --------
    >>> import array_api_strict as xp
    >>> backend = adapt("array_api_strict", xp, type(xp.ones(1)), np.asarray)
    >>> backend.device, backend.namespace.zeros(2, dtype=np.float32)
    ('array_api_strict:cpu', Array([0., 0.], dtype=array_api_strict.float32))
    """
    dtypes = Dtypes(name, namespace, known)
    copy_in = from_host or (
        lambda array, where: namespace.asarray(np.asarray(array, order="C"), copy=True, **at(where))
    )
    copy_over = from_own or (lambda array, where: namespace.asarray(array, **at(where)))

    @cache
    def on(wanted: str) -> Backend:
        where = _device(name, wanted, default, device)
        run = call(wanted)

        def asarray(obj: Any, dtype: Any = None, copy: bool | None = None) -> Any:
            if not isinstance(obj, array_type):
                host = _host(obj, dtype, copy)
                if known is not None:
                    dtypes.own(host.dtype)
                return bound(copy_in, run)(host, where)
            if device_of is not None and device_of(obj) != wanted:
                obj, copy = bound(copy_over, run)(obj, where), None
            if dtype is None and not copy:
                return obj
            return bound(namespace.asarray, run)(obj, dtype=dtypes.own(dtype), copy=copy)

        return Backend(
            name,
            device_string(name, wanted),
            Namespace(namespace, dtypes, where, run),
            array_type,
            asarray,
            to_host,
            host=wanted == "cpu",
            on=on,
            device_of=device_of,
            dtypes=dtypes.to_numpy or None,
            call=run,
            refusal=refusal,
            host_view=host_view if wanted == "cpu" else None,
            write_refusal=write_refusal,
            place=place,
            placed=placed,
            converts=converts,
            room=room,
            write=write,
            release=release,
        )

    return on(default)


def _device(name: str, wanted: str, default: str, device: Callable[[str], Any] | None) -> Any:
    """Return the library's device object; a DeviceError where it has none of that name."""
    try:
        if device is not None:
            return device(wanted)
        if wanted == default:
            return None
        reason = f"it has {default!r} only"
    except DeviceError:
        raise
    except Exception as error:  # noqa: BLE001 - a library's way to say no is its own
        reason = str(error)
    msg = f"backend {name!r} has no device {wanted!r} here: {reason}"
    raise DeviceError(msg)


def _host(obj: Any, dtype: Any, copy: bool | None) -> np.ndarray[Any, Any]:
    """Return host data as an array of this machine's byte order, checked as numpy's backend does."""
    if copy is False:
        msg = f"copy=False, but {type(obj).__name__} in host memory needs a copy to get there"
        raise ValueError(msg)
    is_plain = type(obj) is np.ndarray and obj.dtype.kind in "biufc" and obj.dtype.isnative
    if dtype is None and is_plain:
        return obj  # type: ignore[no-any-return]  # at once, because thousands of weights come so
    host = get_backend("numpy").asarray(obj, dtype=dtype)
    array: np.ndarray[Any, Any] = np.asarray(host, dtype=host.dtype.newbyteorder("="))
    return array
