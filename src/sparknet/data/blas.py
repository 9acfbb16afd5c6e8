"""One BLAS thread: what makes the bits of a worker's products those of every other machine's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["single_threaded_blas"]


@contextmanager
def single_threaded_blas() -> Iterator[Any]:
    """Compute with one BLAS thread inside the block, where threadpoolctl is installed.

    The number of threads changes the last bits of a matrix product, and several workers on one
    machine would fight for its cores. (The ``spark`` extra brings threadpoolctl.)
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(limits=1, user_api="blas"):
        yield
