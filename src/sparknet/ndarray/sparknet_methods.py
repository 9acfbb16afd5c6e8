"""The methods that SparkNet's own NDArray had: views by bounds, flat copies, comparison within a tolerance."""

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sparknet.backends import backend_of
from sparknet.ndarray.indexing import Indexing
from sparknet.ndarray.interchange import Interchange

if TYPE_CHECKING:
    from sparknet.ndarray.array import NDArray

__all__ = ["SparknetMethods"]


class SparknetMethods(Indexing, Interchange):
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

    def allclose(self, other: Any, tol: float = 1e-6) -> bool:
        """Say whether both have the same shape and no element differs by more than ``tol`` (absolute).

        As SparkNet's ``checkEqual``: NaN is close to nothing, an infinity only to itself. Neither array is changed;
        on a GPU this waits for the answer.

        Parameters
        ----------
        other
            An NDArray, an array of a backend, or what ``numpy.asarray`` takes.
        tol
            The largest difference, in the unit of the elements.

        Raises
        ------
        DeviceError
            ``other`` is on another device.

        Examples
        --------
        >>> from sparknet import NDArray
        >>> NDArray([1.0, 2.0]).allclose([1.0, 2.0000005])
        True
        >>> NDArray([1.0, 2.0]).allclose([[1.0, 2.0]])
        False
        """
        kind: Any = type(self)
        if not isinstance(other, kind):
            other = kind(other, device=None if backend_of(other) else self.device)
        if self.shape != other.shape:
            return False
        nd = self.__array_namespace__()
        same = self == other
        if nd.isdtype(self.dtype, "bool"):
            return bool(nd.all(same))
        # integers in float64, where no difference wraps around; no infinity is subtracted from itself
        a, b = (nd.astype(x, nd.float64) if nd.isdtype(x.dtype, "integral") else x for x in (self, other))
        zero = nd.zeros_like(a)
        return bool(nd.all(same | (nd.abs(nd.where(same, zero, a) - nd.where(same, zero, b)) <= tol)))
