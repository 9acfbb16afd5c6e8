"""Elements of an NDArray as Python numbers, and advice for attributes that numpy and torch have.

The array-API standard has functions where numpy has methods. The error for a missing attribute says what to write instead.
"""

import inspect
import math
import operator
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from sparknet.backends import get_backend
from sparknet.ndarray.core import Core, call_directly

__all__ = ["Elements"]

# Attribute of other libraries -> what to write instead, if nd has no function of the same name.
_INSTEAD = {
    "clone": "nd.asarray(a, copy=True)",
    "conjugate": "nd.conj(a)",
    "copy": "nd.asarray(a, copy=True)",
    "cpu": "a.to_device('cpu')",
    "cuda": "a.to_device('cuda:0')",
    "cumprod": "nd.cumulative_prod(a)",
    "cumsum": "nd.cumulative_sum(a)",
    "dot": "a @ b",
    "double": "nd.astype(a, 'float64')",
    "fill": "a[...] = value",
    "flatten": "a.to_flat()",
    "float": "nd.astype(a, 'float32')",
    "get": "a.to_host()",
    "itemsize": "a.dtype.itemsize",
    "numpy": "a.to_host()",
    "permute": "nd.permute_dims(a, axes)",
    "ravel": "a.to_flat(), or nd.reshape(a, (-1,)), which may be a view",
    "swapaxes": "nd.permute_dims(a, axes)",
    "to": "a.to_device(device), or nd.astype(a, dtype)",
    "transpose": "a.T, a.mT or nd.permute_dims(a, axes)",
}


def index(array: Any) -> int:
    """Return the value of a library's array for ``__index__``, which cupy's arrays do not have."""
    return operator.index(array if hasattr(array, "__index__") else array.item())


class Elements(Core):
    """The conversions of elements to Python's numbers and text."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers shall find misspelt names

        def __getattr__(self, name: str) -> NoReturn:
            """Raise an AttributeError that says what to write instead."""
            raise AttributeError(_no_attribute(self, name), name=name, obj=self)

    def item(self, *index: int) -> Any:
        """Return one element as a Python number; on a GPU this waits.

        Parameters
        ----------
        *index
            One whole number for each axis; none for an array with one element.

        Raises
        ------
        ValueError
            There is no index, and the array does not have exactly one element.
        IndexError
            The index is outside the array, or not one number for each axis.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray([[1.5, 2.5]]).item(0, 1), NDArray([7]).item()
        (2.5, 7)
        """
        if index:
            if len(index) != len(self._array.shape):
                msg = f"item(): got {len(index)} indices for an array with shape {tuple(self._array.shape)}; in row-major order write a.to_flat().item(i)"
                raise IndexError(msg)
            return self[tuple(map(operator.index, index))].item()  # type: ignore[index]
        if math.prod(self._array.shape) != 1:
            msg = f"item() needs an array with one element, this one has shape {tuple(self._array.shape)}; name one, as in a.item(0), or use a.tolist()"
            raise ValueError(msg)
        return self._backend.to_host(self._array).item()

    def tolist(self) -> Any:
        """Return the elements as Python numbers in nested lists; of a 0-d array, the number.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray([[1, 2], [3, 4]]).tolist()
        [[1, 2], [3, 4]]
        """
        return self._backend.to_host(self._array).tolist()

    def __contains__(self, value: Any) -> bool:
        """Say whether any element equals ``value``, a number or an array to broadcast."""
        found = self == value
        if type(found) is not type(self):
            return False
        backend = found._backend
        return bool((backend.call or call_directly)(bool, backend.namespace.any(found._array)))

    def _scalar(self, convert: Callable[[Any], Any]) -> Any:
        if self._array.shape:
            msg = (
                f"{convert.__name__}() needs a 0-d array, this one has shape {tuple(self._array.shape)}; "
                "index one element, or use nd.all, nd.any or .to_host()"
            )
            raise (ValueError if convert is bool else TypeError)(msg)
        return (self._backend.call or call_directly)(convert, self._array)

    def __bool__(self) -> bool:
        """Return the truth of a 0-d array."""
        return bool(self._scalar(bool))

    def __int__(self) -> int:
        """Return the value of a 0-d array."""
        return int(self._scalar(int))

    def __float__(self) -> float:
        """Return the value of a 0-d array."""
        return float(self._scalar(float))

    def __complex__(self) -> complex:
        """Return the value of a 0-d array."""
        return complex(self._scalar(complex))

    def __index__(self) -> int:
        """Return the value of a 0-d integer array."""
        return int(self._scalar(index))

    def __trunc__(self) -> int:
        """Return the value of a 0-d array without its fraction, for ``math.trunc``."""
        number: float = self._number("math.trunc(a)", "nd.trunc(a)")
        return math.trunc(number)

    def __round__(self, ndigits: int | None = None) -> Any:
        """Return the value of a 0-d array, rounded as Python rounds."""
        return round(self._number("round(a)", "nd.round(a), or a.to_host().round(digits)"), ndigits)

    def __str__(self) -> str:
        """Return the value of a 0-d array, as numpy prints it; of any other, what ``repr()`` returns."""
        return repr(self) if self._array.shape else str(self._backend.to_host(self._array)[()])

    def __format__(self, spec: str) -> str:
        """Return the value of a 0-d array in a format; without one, what ``str()`` returns."""
        if not spec:
            return str(self)
        return format(self._number(f"format {spec!r}", f"[f'{{x:{spec}}}' for x in a.to_flat().tolist()]"), spec)

    def _number(self, what: str, instead: str) -> Any:
        if self._array.shape:
            msg = f"{what} is for one number, this array has shape {tuple(self._array.shape)}; index one element, or use {instead}"
            raise TypeError(msg)
        return self.item()

    def __arrow_array__(self, type: Any = None) -> Any:  # noqa: A002 - pyarrow's name
        """Return a ``pyarrow.Array`` of a 1-d array. pyarrow calls this, so it is imported already."""
        return sys.modules["pyarrow"].array(self._backend.to_host(self._array), type=type)


def _no_attribute(self: Core, name: str) -> str:
    """Return the message for a missing attribute, with what to write instead where that is known."""
    missing = f"{type(self).__name__!r} object has no attribute {name!r}"
    if name.startswith("_"):
        return missing
    nd = self.__array_namespace__()
    instead = _INSTEAD.get(name)
    if instead is None and name in nd.__all__ and callable(getattr(nd, name)):
        _, *others = inspect.signature(getattr(nd, name)).parameters.values()
        needed = [other.name for other in others if other.default is other.empty]
        instead = f"nd.{name}({', '.join(['a', *needed])})"
    if instead is None and hasattr(get_backend("numpy").array_type, name):
        instead = f"a.to_host().{name}, numpy's"
    return missing if instead is None else f"{missing}; write {instead}"
