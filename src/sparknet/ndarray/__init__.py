"""Arrays: one array on one backend, with the surface of the array-API standard.

An NDArray owns no memory and knows no numerics: every operation is the backend's own, unwrapped, called and wrapped again.
The namespace of functions over it is :mod:`sparknet.nd`.
"""

from sparknet.ndarray.array import NDArray
from sparknet.ndarray.array import unpickled as _unpickle  # noqa: F401 - pickles of older versions name it so

__all__ = ["NDArray"]
