"""Indexing: ``a[key]``, ``a[key] = value``, and iteration over the first axis."""

import builtins
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sparknet.backends import backend_of
from sparknet.errors import DeviceError, explain
from sparknet.ndarray.core import Core, call_directly
from sparknet.ndarray.operators import operand

if TYPE_CHECKING:
    from sparknet.ndarray.array import NDArray

__all__ = ["Indexing"]

_new = object.__new__


class Indexing(Core):
    """Reading and assigning by index, and iteration."""

    __slots__ = ()

    def __getitem__(self, key: Any, /) -> "NDArray":
        """Return a view for slices, ``...``, ``None`` and some integers; a copy for index and mask arrays, and for one element.

        An integer for every axis gives an element: a 0-d array with memory of its own, on every backend, so that
        ``v[0], v[1] = v[1], v[0]`` swaps. ``v[0, ...]`` is the view of it.
        Rows are views, so ``m[0], m[1] = m[1], m[0]`` loses one: the class says what to write.
        """
        kind = type(key)
        backend = self._backend
        if kind is int and backend.element_is_scalar:  # written out, because loops over rows are common
            try:
                row: Any = self._array[key]
                if type(row) is not backend.array_type:  # an array of a subclass, or an element: without its byte order
                    row = backend.asarray(row) if row.shape else self._array[key, ...].copy()
            except IndexError as error:
                explain(error, "indexing", self, key)
            out: Any = _new(type(self))
            out._array = row
            out._backend = backend
            return out  # type: ignore[no-any-return]
        own: Any = key if kind is int or kind is builtins.slice else _key(self, key)
        if kind is int and len(self._array.shape) > 1:
            own = (key, ...)  # the standard wants an index for every axis, or an ellipsis
        try:
            array, run = self._array, backend.call
            result: Any = array[own] if run is None else run(operator.getitem, array, own)
            if type(result) is not backend.array_type:
                dtype: Any = array.dtype  # of which a scalar forgets the byte order
                result = backend.asarray(result) if result.dtype == dtype else backend.asarray(result, dtype=dtype)
            elif not backend.element_is_scalar and _is_element(result, own):
                result = backend.asarray(result, copy=True)  # the element of others is a view
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            explain(error, "indexing", self, key)
        out = _new(type(self))
        out._array = result
        out._backend = backend
        return out  # type: ignore[no-any-return]

    def __setitem__(self, key: Any, value: Any, /) -> None:
        """Assign in place, broadcasting ``value``."""
        try:
            plain = isinstance(value, list | tuple)
            own = self._backend.asarray(value, dtype=self.dtype) if plain else operand(self, value)
            if own is NotImplemented:
                msg = f"expected a number or an array, got {type(value).__name__}"
                raise TypeError(msg)  # noqa: TRY301 - explained below, as other errors are
            (self._backend.call or call_directly)(operator.setitem, self._array, _key(self, key), own)
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            explain(error, "assignment to an index", self, key, value)

    def __len__(self) -> int:
        """Return the length of the first axis."""
        if not self._array.shape:
            msg = "len(): a 0-d array has no length"
            raise TypeError(msg)
        return int(self._array.shape[0])

    def __iter__(self) -> Iterator["NDArray"]:
        """Iterate over the first axis: views, or the elements of a 1-d array."""
        return (self[i] for i in range(len(self)))


def _is_element(result: Any, key: Any) -> bool:
    """Say whether a key took one element. A key with an ellipsis takes a view of it."""
    return not result.shape and not any(part is Ellipsis for part in (key if type(key) is tuple else (key,)))


_PLAIN_KEYS = (int, builtins.slice, type(None), type(Ellipsis))


def _key(self: Core, key: Any) -> Any:
    """Return a key for the library's own arrays; a DeviceError if an index array is on another device."""
    if type(key) is tuple:
        return tuple([part if type(part) in _PLAIN_KEYS else _index(self, part) for part in key])
    return _index(self, key)


def _index(self: Core, part: Any) -> Any:
    ours = type(part) is type(self)
    backend = part._backend if ours else backend_of(part)
    if backend is None or backend is self._backend:
        return part._array if ours else part
    msg = (
        f"the index array of {part.dtype} {tuple(part.shape)} is on {backend.device!r} ({backend.name}), the indexed one on "
        f"{self.device!r} ({self.backend}); write nd.asarray(..., device={self.device!r})"
    )
    raise DeviceError(msg)
