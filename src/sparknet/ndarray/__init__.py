"""Arrays: one array on one backend, with the surface of the array-API standard.

An NDArray owns no memory and knows no numerics: each operation calls the backend with the library's own arrays and wraps the
result. The functions over arrays are in :mod:`sparknet.nd`.
"""

from sparknet.ndarray.array import NDArray
from sparknet.ndarray.array import unpickled as _unpickle  # noqa: F401 - pickles of older versions name it so

__all__ = ["NDArray"]
