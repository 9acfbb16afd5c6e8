"""A backend is a value, not a class tree: an array library *on one device*.

So "same backend" and "same device" are one test of identity, which costs nothing where arrays meet.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Backend"]


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """An array library on one device: what NDArray needs to know of it.

    :func:`sparknet.backends.adapt.adapt` makes one of a library's array-API namespace.

    Parameters
    ----------
    name
        The name it is registered under: the package that its arrays come from.
    device
        The device string of its arrays, such as ``"cpu"``, ``"cuda:1"``, ``"torch:cpu"``.
    namespace
        An array-API namespace over the library's own arrays. It takes numpy's dtypes and makes its arrays on
        this device.
    array_type
        The type of the library's own arrays.
    asarray
        ``asarray(obj, dtype=None, copy=None)``: the library's own array of ``obj`` on this device. ``obj`` is
        an own array of any device, or host data, which is always copied unless the library's memory is numpy's.
    to_host
        The array as a ``numpy.ndarray``; no copy where ``host`` is true.
    host
        Whether the arrays lie in host memory.
    on
        ``on("cuda:1")`` is the backend of the library's other device of that name; None: it has this one only.
    device_of
        The device of an own array, as ``on`` takes it.
    placed
        ``placed("cuda")`` is the device that a name without a number stands for in this task, as ``on`` takes it; other names
        are returned as they are. None: there are no such names.
    dtypes
        The library's dtypes -> numpy's; None where they are numpy's own.
    call
        ``call(function, *args, **kwargs)`` runs a function on this device; None where arrays alone decide that.
    refusal
        ``refusal(array)`` says why an own array has no elements that numpy could hold, and what to do, or nothing; None: all have.
    host_view
        ``host_view(array)`` is an own array's memory as a contiguous ``numpy.ndarray`` to write to, which the library has been
        told of; None where the library has to write itself, or refuses to. None: it always writes itself.
    write_refusal
        ``write_refusal(array)`` says why the library refuses to write to an own array, and what to do, or nothing; None: it never
        does.
    place
        ``place(array)`` is where an own array's elements lie: the address of the first, and its strides in bytes, or None where they
        are contiguous in C order. What shares memory is refused as a target by it. None: nobody can tell.
    converts
        Whether ``a[key] = b`` converts ``b`` to the dtype of ``a``, as numpy's does: the standard has no such assignment.
    element_is_scalar
        Whether ``v[0]`` of one axis is a scalar, as numpy's is, and ``m[0]`` of more needs no ellipsis to be a row. The standard
        has a 0-d array, which may be a view, and wants the ellipsis.
    room, write
        ``room(array)`` is host memory, contiguous as C has it, to receive what goes to an own array next, and
        ``write(array, host, given)`` copies host memory of the same shape there, which the caller uses no more if it is ``given`` away;
        it returns False where it cannot. None: by a new array.
    release
        Gives memory that no array uses, and that the library keeps for the next one, back to device and machine. None: it keeps
        none.

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
    element_is_scalar: bool = False
    room: Callable[[Any], Any] | None = None
    write: Callable[[Any, Any, bool], bool] | None = None
    release: Callable[[], None] | None = None
