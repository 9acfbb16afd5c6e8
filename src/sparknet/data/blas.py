"""One BLAS thread: with it, a matrix product has the same bits on every machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["single_threaded_blas"]


@contextmanager
def single_threaded_blas() -> Iterator[Any]:
    """Compute with one BLAS thread inside the block, if threadpoolctl is installed (the extra ``spark`` brings it).

    The number of threads changes the last bits of a matrix product. Besides, several workers on one machine share its cores.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(limits=1, user_api="blas"):
        yield
