"""Locked arrays; and cupyx.errstate: whether what cuSOLVER reports is looked at, which waits (cupyx/_ufunc_config.py)."""

import contextlib
import threading

import numpy as np
from cupy.cuda import alloc_pinned_memory

_config = threading.local()


def empty_pinned(shape, dtype=float):
    """cupyx/_pinned_array.py:20: by cupy's own pool."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, alloc_pinned_memory(size))


def geterr():
    return {"linalg": getattr(_config, "linalg", "ignore")}


@contextlib.contextmanager
def errstate(*, linalg=None):
    before = geterr()["linalg"]
    _config.linalg = before if linalg is None else linalg
    try:
        yield
    finally:
        _config.linalg = before
