"""One BLAS thread: with it, a matrix product has the same bits on every machine."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

__all__ = ["single_threaded_blas"]


@contextmanager
def single_threaded_blas() -> Iterator[Any]:
    """Compute with one BLAS thread inside the block, if threadpoolctl is installed (the extra ``spark`` brings it).

    The number of threads changes the last bits of a matrix product. Besides, several workers on one machine share its cores.
    """
    try:
        import threadpoolctl  # noqa: F401 - whether it is there
    except ImportError:
        yield
        return
    with _libraries(_libraries_loaded()).limit(limits=1, user_api="blas"):
        yield


@lru_cache(maxsize=1)
def _libraries(loaded: object) -> Any:
    """Return the BLAS libraries of this process. Looking for them takes 5 ms where many are loaded, so it is done when there are more."""
    from threadpoolctl import ThreadpoolController

    del loaded  # only another number of them matters
    return ThreadpoolController()


class _Library(ctypes.Structure):
    """The beginning of ``struct dl_phdr_info`` of <link.h>."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("segments", ctypes.c_void_p),
        ("segment_count", ctypes.c_uint16),
        ("loaded", ctypes.c_ulonglong),  # libraries that the process has ever loaded, the same in each entry
    )


def _libraries_loaded() -> object:
    """Return how many libraries the process has ever loaded; where the system does not say so, something that was not returned before."""
    walk = _walk()
    if walk is None:
        return object()
    found = ctypes.c_ulonglong()
    walk(_FIRST, ctypes.byref(found))
    return found.value


@cache
def _walk() -> Any:
    return getattr(ctypes.CDLL(None), "dl_iterate_phdr", None)


def _keep_count(library: Any, _size: int, found: Any) -> int:
    """Keep the count of the first library that is shown, and end the walk."""
    found[0] = library.contents.loaded
    return 1


_FIRST = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Library), ctypes.c_size_t, ctypes.POINTER(ctypes.c_ulonglong))(
    _keep_count
)
