"""When two arrays are close: two formulas over a library's own arrays of one shape, computed where the arrays are.

``within`` is SparkNet's absolute tolerance, ``close`` the relative one of numpy. Both wait for the device, once.
"""

from typing import Any

import numpy as np

from sparknet.backends import Backend

__all__ = ["close", "within"]


def close(a: Any, b: Any, backend: Backend, *, rtol: float, atol: float, equal_nan: bool) -> bool:
    """Say whether ``|a - b| <= atol + rtol * |b|`` everywhere, in float64; an infinity is close to itself only.

    Parameters
    ----------
    a, b
        Own arrays of ``backend``, of one shape.
    rtol, atol
        The tolerance relative to ``b``, and the absolute one.
    equal_nan
        Whether NaN is close to NaN.
    """
    xp = backend.namespace
    x, y = (xp.astype(array[None, ...], _wide(array, backend)) for array in (a, b))
    same = x == y
    if equal_nan:
        same = same | (xp.isnan(x) & xp.isnan(y))
    near = xp.isfinite(y) & (xp.abs(x - y) <= xp.abs(y) * rtol + atol)
    return bool(xp.all(same | near))


def within(a: Any, b: Any, backend: Backend, *, tol: float, equal_nan: bool) -> bool:
    """Say whether ``|a - b| <= tol`` everywhere, in the arrays' own dtype; an infinity is close to itself only.

    Integers are compared in float64, where no difference wraps around.
    """
    xp = backend.namespace
    a, b = a[None, ...], b[None, ...]  # arrays throughout: numpy's results of arrays without axes are scalars
    same = a == b
    if _kind(a, backend) == "b":
        return bool(xp.all(same))
    if equal_nan:
        same = same | ((a != a) & (b != b))  # noqa: PLR0124 - of dtypes for which a library has no isnan too
    a, b = (xp.astype(x, _FLOAT64) if _kind(x, backend) in "iu" else x for x in (a, b))
    zero = xp.zeros_like(a)  # in the place of what is equal: no infinity is subtracted from itself
    return bool(xp.all(same | (xp.abs(xp.where(same, zero, a) - xp.where(same, zero, b)) <= tol)))


_FLOAT64, _COMPLEX128 = np.dtype("float64"), np.dtype("complex128")


def _kind(array: Any, backend: Backend) -> str:
    """Return numpy's letter for the kind of an own array's dtype; ``"V"`` of one that numpy has not."""
    dtypes = backend.dtypes or {}
    return str(getattr(dtypes.get(array.dtype, array.dtype), "kind", "V"))


def _wide(array: Any, backend: Backend) -> np.dtype[Any]:
    return _COMPLEX128 if _kind(array, backend) == "c" else _FLOAT64
