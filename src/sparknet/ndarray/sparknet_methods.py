"""The methods that SparkNet's own NDArray had: views by bounds, flat copies, comparison within a tolerance."""

import builtins
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sparknet.backends import backend_of
from sparknet.errors import explain
from sparknet.ndarray.closeness import close, within
from sparknet.ndarray.core import call_directly
from sparknet.ndarray.indexing import Indexing
from sparknet.ndarray.operators import operand

if TYPE_CHECKING:
    from sparknet.ndarray.array import NDArray

__all__ = ["SparknetMethods"]


class SparknetMethods(Indexing):
    """Methods without a counterpart in the array-API standard."""

    __slots__ = ()

    def slice(self, axis: int, index: int) -> "NDArray":
        """Return the view at ``index`` of ``axis``; that axis is dropped.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray(range(6), (2, 3)).slice(1, 2)
        NDArray([2, 5], shape=(2,), dtype=int64, device='cpu')
        """
        if not -self.ndim <= axis < self.ndim:
            msg = f"slice(): axis {axis} of an array with shape {self.shape}"
            raise IndexError(msg)
        return self[(builtins.slice(None),) * (axis % self.ndim) + (index, ...)]

    def subarray(self, lower: Sequence[int], upper: Sequence[int]) -> "NDArray":
        """Return the view of ``lower[i] <= index < upper[i]`` along every axis ``i``.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray(range(60), (3, 4, 5)).subarray((0, 1, 2), (1, 3, 5)).to_flat()
        NDArray([ 7,  8,  9, 12, 13, 14], shape=(6,), dtype=int64, device='cpu')
        """
        if not len(lower) == len(upper) == self.ndim:
            msg = f"subarray(): got bounds of length {len(lower)} and {len(upper)}; this array has {self.ndim} axes"
            raise IndexError(msg)
        for low, high, length in zip(lower, upper, self.shape, strict=True):
            if not 0 <= low <= high <= length:
                msg = f"subarray(): got bounds {tuple(lower)}, {tuple(upper)}; expected 0 <= lower <= upper <= {self.shape}"
                raise IndexError(msg)
        return self[(*map(builtins.slice, lower, upper), ...)]

    def to_flat(self) -> "NDArray":
        """Return a new one-dimensional array of the elements in row-major order; a copy.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray(range(6), (2, 3)).T.to_flat()
        NDArray([0, 3, 1, 4, 2, 5], shape=(6,), dtype=int64, device='cpu')
        """
        xp = self._backend.namespace
        return self._like(xp.reshape(xp.asarray(self._array, copy=True), (-1,)))

    def flat_copy(self, out: Any) -> None:
        """Copy the elements in row-major order into ``out``, without memory in between where they lie in that order.

        Parameters
        ----------
        out
            An NDArray or an array of a backend, one-dimensional, on this array's device. Elements are cast to its dtype.

        Raises
        ------
        TypeError
            ``out`` is no array: what was copied into a list would be lost.
        ValueError
            ``out`` has another shape than ``(size,)``.
        DeviceError
            ``out`` is on another device.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> import numpy as np
        >>> out = np.zeros(6)
        >>> NDArray(range(6), (2, 3)).T.flat_copy(out)
        >>> out
        array([0., 3., 1., 4., 2., 5.])
        """
        kind: Any = type(self)
        if not isinstance(out, kind) and backend_of(out) is None:
            msg = f"flat_copy(): got out of type {type(out).__name__}, expected an array with {self.size} elements"
            raise TypeError(msg)
        target = out if isinstance(out, kind) else kind(out)
        if target.shape != (self.size,):
            msg = f"flat_copy(): out has shape {target.shape}, expected {(self.size,)}"
            raise ValueError(msg)
        target[...] = self._like(self._backend.namespace.reshape(self._array, (-1,)))

    def allclose(
        self,
        other: Any,
        tol: float | None = None,
        *,
        rtol: float | None = None,
        atol: float | None = None,
        equal_nan: bool = False,
    ) -> bool:
        """Say whether both have the same shape and all elements are close.

        Without ``rtol`` and ``atol``, close is what differs by at most ``tol``, as in SparkNet's ``checkEqual``. With one of them
        or both, it is ``|a - b| <= atol + rtol * |b|`` in float64, as numpy has it. An infinity is close to itself only. Neither
        array is changed; on a GPU this waits for the answer.

        Parameters
        ----------
        other
            An NDArray, an array of a backend, or what ``numpy.asarray`` takes.
        tol
            The largest difference, in the unit of the elements; default: 1e-6.
        rtol
            The largest difference as a part of ``|b|``; with ``atol`` alone, 1e-5.
        atol
            The largest difference beside that, in the unit of the elements; with ``rtol`` alone, 1e-8.
        equal_nan
            Whether NaN is close to NaN.

        Raises
        ------
        TypeError
            There is a ``tol`` beside ``rtol`` or ``atol``.
        DeviceError
            ``other`` is on another device.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray([1.0, 2.0]).allclose([1.0, 2.0000005])
        True
        >>> NDArray([1.0, 2.0]).allclose([[1.0, 2.0]])
        False
        >>> NDArray([100.0, 200.0]).allclose([101.0, 202.0], rtol=0.01)
        True
        """
        is_relative = rtol is not None or atol is not None
        if is_relative and tol is not None:
            msg = f"allclose(): got tol={tol} with rtol or atol, expected one kind of tolerance: tol alone is absolute, as atol is with rtol=0"
            raise TypeError(msg)
        kind: Any = type(self)
        if not isinstance(other, kind):
            other = kind(other, device=None if backend_of(other) else self.device)
        if self.shape != other.shape:
            return False
        options = {"rtol": _or(rtol, 1e-5), "atol": _or(atol, 1e-8)} if is_relative else {"tol": _or(tol, 1e-6)}
        backend, own = self._backend, (self._array, operand(self, other))
        compute = partial(close if is_relative else within, backend=backend, equal_nan=equal_nan, **options)
        try:
            with np.errstate(invalid="ignore", over="ignore"):  # infinities and NaN are answers here
                return bool((backend.call or call_directly)(compute, *own))
        except (TypeError, ValueError, RuntimeError) as error:
            explain(error, "allclose()", self, other)


def _or(given: float | None, default: float) -> float:
    return default if given is None else given
