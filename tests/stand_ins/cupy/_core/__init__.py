"""Arrays, and how functions compute with them; the names are those of CuPy's own package."""

from cupy._core import syncdetect
from cupy._core.core import array, ascontiguousarray, asfortranarray, ndarray
from cupy._core.kernel import ufunc

__all__ = ["array", "ascontiguousarray", "asfortranarray", "ndarray", "syncdetect", "ufunc"]
