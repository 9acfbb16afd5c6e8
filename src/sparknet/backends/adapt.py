"""Makes a backend from an array-API namespace: all that most libraries need.

NDArray uses numpy's dtypes and sparknet's device strings everywhere, so that a program, a schema of weights or a pickled
array fits every backend. A library's own dtypes and devices are translated here and nowhere else. A library that has
numpy's dtypes and no devices is called directly.
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
        The name that it is registered under: the package that defines its arrays.
    namespace
        The array-API namespace; for libraries without one, that of array_api_compat.
    array_type
        The type of its arrays.
    to_host
        ``to_host(array)`` returns an array as a ``numpy.ndarray``, without a copy for devices called ``"cpu"``.
    default
        The name of the device that is used unless another is named.
    device
        ``device("cuda:1")`` returns the library's device object, or None if the library has no device objects. Any exception
        means that there is no such device. Default: ``default`` is the only device.
    device_of
        ``device_of(array)`` returns the name of an array's device. Default: it is ``default``.
    from_host
        ``from_host(array, device)`` copies a ``numpy.ndarray`` of any memory order to an array in C order on a device object.
        Default: ``namespace.asarray(array, device=device, copy=True)``, with an array in C order.
    from_own
        ``from_own(array, device)`` copies an own array from another device to a device object. Default:
        ``namespace.asarray(array, device=device)``.
    call
        ``call("cuda:1")`` is the :attr:`Backend.call` of that device.
    refusal, host_view, write_refusal, place, placed, converts, room, write, release
        As for :class:`Backend`; ``host_view`` is used for devices called ``"cpu"``.
    known
        For a library with numpy's dtypes: the names of those that it has; others raise a TypeError. Default: all.

    Returns
    -------
    Backend
        The backend of the default device. :attr:`Backend.on` returns those of other devices; there is one value for each device.

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
    """Return the library's device object; a DeviceError if there is no device of that name."""
    try:
        if device is not None:
            return device(wanted)
        if wanted == default:
            return None
        reason = f"it has {default!r} only"
    except DeviceError:
        raise
    except Exception as error:  # noqa: BLE001 - each library has its own exceptions for it
        reason = str(error)
    msg = f"backend {name!r} has no device {wanted!r} here: {reason}"
    raise DeviceError(msg)


def _host(obj: Any, dtype: Any, copy: bool | None) -> np.ndarray[Any, Any]:
    """Return host data as an array in this machine's byte order, checked by numpy's backend."""
    if copy is False:
        msg = f"copy=False, but {type(obj).__name__} in host memory needs a copy to get there"
        raise ValueError(msg)
    is_plain = type(obj) is np.ndarray and obj.dtype.kind in "biufc" and obj.dtype.isnative
    if dtype is None and is_plain:
        return obj  # type: ignore[no-any-return]  # without those checks, because nets have thousands of such arrays
    host = get_backend("numpy").asarray(obj, dtype=dtype)
    array: np.ndarray[Any, Any] = np.asarray(host, dtype=host.dtype.newbyteorder("="))
    return array
