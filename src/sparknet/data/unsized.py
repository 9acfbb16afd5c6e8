"""Unsized: a data set of which ``len`` and ``for`` could mean two things says so, and names what means one."""

from collections.abc import Iterator
from typing import Any, NoReturn

__all__ = ["Unsized"]


class Unsized:
    """A data set with neither length nor order of iteration; it is true, as every set has examples."""

    _gone_through: str  # how to go through its minibatches, in a few words

    def __len__(self) -> NoReturn:
        name = type(self).__name__
        msg = f"len() of a {name} could be examples or minibatches: take count() for examples, num_batches for minibatches"
        raise TypeError(msg)

    def __iter__(self) -> Iterator[Any]:
        msg = f"a {type(self).__name__} is not iterated itself: {self._gone_through}"
        raise TypeError(msg)

    def __bool__(self) -> bool:
        return True
