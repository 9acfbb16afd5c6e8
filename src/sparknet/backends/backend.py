"""A backend is a value, not a class tree: an array library *on one device*.

So "same backend" and "same device" are one test of identity, which takes no time when two arrays meet.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Backend"]


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """An array library on one device: what NDArray needs to know about it.

    :func:`sparknet.backends.adapt.adapt` makes a backend from a library's array-API namespace.

    Parameters
    ----------
    name
        The name that it is registered under: the package that defines its arrays.
    device
        The device string of its arrays, such as ``"cpu"``, ``"cuda:1"``, ``"torch:cpu"``.
    namespace
        An array-API namespace over the library's own arrays. It takes numpy's dtypes and makes its arrays on
        this device.
    array_type
        The type of the library's own arrays.
    asarray
        ``asarray(obj, dtype=None, copy=None)`` returns ``obj`` as the library's own array on this device. ``obj`` is an own array
        on any device, or host data. Host data is always copied, unless the library's memory is numpy's.
    to_host
        ``to_host(array)`` returns the array as a ``numpy.ndarray``; no copy if ``host`` is true.
    host
        Whether the arrays lie in host memory.
    on
        ``on("cuda:1")`` returns the backend of the library's device of that name. None: the library has this device only.
    device_of
        ``device_of(array)`` returns the name of an own array's device, as ``on`` takes it.
    placed
        ``placed("cuda")`` returns the device that a name without a number means in this task, as ``on`` takes it. Other names are
        returned as they are. None: all names have numbers.
    dtypes
        The library's dtypes -> numpy's. None: the library uses numpy's dtypes.
    call
        ``call(function, *args, **kwargs)`` runs a function on this device. None: the arrays alone decide where it runs.
    refusal
        ``refusal(array)`` returns why numpy cannot hold the elements of an own array, with the fix, or an empty text if it can.
        None: it can hold all.
    host_view
        ``host_view(array)`` returns an own array's memory as a contiguous ``numpy.ndarray`` to write to, and tells the library of
        the write. It returns None if the library has to write itself, or refuses to. None: the library always writes itself.
    write_refusal
        ``write_refusal(array)`` returns why the library refuses to write to an own array, with the fix, or an empty text if it does
        not. None: it never refuses.
    place
        ``place(array)`` returns where an own array's elements lie: the address of the first one, and the strides in bytes, or None
        for strides of C order. By it, targets that share memory are refused. None: nobody can tell.
    converts
        Whether ``a[key] = b`` converts ``b`` to the dtype of ``a``, as in numpy. The standard does not ask for it.
    room, write
        ``room(array)`` returns host memory in C order for the elements that will be written to an own array next.
        ``write(array, host, given)`` copies host memory of the same shape to the array; it returns False if it cannot. If ``given``
        is true, the caller does not use the host memory afterwards. None: elements are written through a new array.
    release
        ``release()`` gives memory that the library keeps for later arrays back to the device and the machine. None: it keeps none.
    element_is_scalar
        Whether ``v[0]`` of one axis is a scalar, and ``m[0]`` of more axes a row, as in numpy. In the standard ``v[0]`` is a 0-d
        array, which may be a view, and a row is ``m[0, ...]``.

    Examples
    --------
    >>> from sparknet.backends import get_backend
    >>> backend = get_backend("numpy")
    >>> backend.name, backend.device, backend.host
    ('numpy', 'cpu', True)
    >>> backend.namespace.exp(backend.asarray([0.0]))
    array([1.])
    """

    name: str
    device: str
    namespace: Any = field(repr=False)
    array_type: type
    asarray: Callable[..., Any]
    to_host: Callable[[Any], Any]
    host: bool = True
    on: "Callable[[str], Backend] | None" = None
    device_of: Callable[[Any], str] | None = None
    dtypes: Mapping[Any, Any] | None = None
    call: Callable[..., Any] | None = None
    refusal: Callable[[Any], str] | None = None
    host_view: Callable[[Any], Any] | None = None
    write_refusal: Callable[[Any], str] | None = None
    place: Callable[[Any], tuple[int, tuple[int, ...] | None]] | None = None
    placed: Callable[[str], str] | None = None
    converts: bool = False
    room: Callable[[Any], Any] | None = None
    write: Callable[[Any, Any, bool], bool] | None = None
    release: Callable[[], None] | None = None
    element_is_scalar: bool = False
