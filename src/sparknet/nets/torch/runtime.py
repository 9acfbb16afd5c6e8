"""Importing torch, and what decides the bits of its arithmetic: the number of threads, and the random numbers.

The number of threads changes the last bits of sums and products. So a net computes with one thread unless it is told otherwise.
Random numbers come from torch's own generators, which are set before each step and put back after it.
"""

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sparknet.errors import MissingDependency

__all__ = ["computing", "give_back", "load", "seeded", "step_seed"]


@functools.cache
def load() -> Any:
    """Return the module ``torch``; a MissingDependency that names the extra if it is not installed."""
    try:
        import torch
    except ImportError as error:
        msg = f"TorchNet needs torch: pip install 'sparknet[torch]' ({error})"
        raise MissingDependency(msg, name="torch") from error
    return torch


def step_seed(seed: int, iteration: int) -> int:
    """Return the seed of torch's generators for one step: dropout and other random choices follow from it.

    Parameters
    ----------
    seed
        What the net was seeded with: the ``seed`` it was made with, or the last argument of ``reseed``.
    iteration
        Number of solver steps before this one.

    Returns
    -------
    int
        A number for ``torch.manual_seed``, at least 0 and below 2**63.

    Examples
    --------
    >>> step_seed(7, 0) == step_seed(7, 0), step_seed(7, 0) == step_seed(7, 1)
    (True, False)
    """
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(seed: int, device: Any) -> Iterator[None]:
    """Seed the generators of the host and of ``device`` inside the block; afterwards they are as before."""
    torch = load()
    generators = [torch.default_generator]
    if device.type == "cuda":
        torch.cuda.init()  # before, there are no generators
        generators.append(torch.cuda.default_generators[device.index])
    before = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Let torch compute with so many threads on the host inside the block."""
    torch = load()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def give_back() -> None:
    """Give the host's memory that is free back to the system: glibc keeps what lay in tensors of less than 32 MB for this process alone.

    It takes 3 ms for 70 MB, and as much as fresh memory takes when it is needed again. Other C libraries have no such function.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
