"""cupy.linalg: what cuSOLVER reports is looked at on demand only (cupy/linalg/_util.py:110, cupyx/_ufunc_config.py:42)."""

import functools

import numpy as np
from numpy.linalg import LinAlgError

from cupy._core.kernel import kernel

__all__ = [
    "LinAlgError",
    *("cholesky", "cond", "cross", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "lstsq", "matmul"),
    *("matrix_power", "matrix_rank", "matrix_transpose", "norm", "pinv", "qr", "slogdet", "solve", "svd"),
    *("tensorinv", "tensorsolve"),
]
_SQUARE = {"cholesky", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matrix_power", "slogdet", "solve"}


def _routine(name):
    function = getattr(np.linalg, name)
    run = kernel(function)

    @functools.wraps(function)
    def call(a, *args, **kwargs):
        if name in _SQUARE:  # looked at on the host (_util.py:33-56)
            if a.ndim < 2:
                raise LinAlgError(f"{a.ndim}-dimensional array given. Array must be at least two-dimensional")
            if a.shape[-2] != a.shape[-1]:
                raise LinAlgError("Last 2 dimensions of the array must be square")
        try:
            return run(a, *args, **kwargs)
        except LinAlgError as error:
            import cupyx

            if cupyx.geterr()["linalg"] == "raise":
                msg = f"Error reported by {name} in cuSOLVER. devInfo = 1. Please refer to the cuSOLVER documentation."
                raise LinAlgError(msg) from error
            garbage = np.full(np.shape((args[0] if name == "solve" else a)._host), 7.0, a.dtype)
            return kernel(lambda: garbage)()

    return call


globals().update({name: _routine(name) for name in __all__[1:]})
