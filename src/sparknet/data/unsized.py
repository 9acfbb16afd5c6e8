"""Unsized: ``len`` and ``for`` of a data set could mean examples or minibatches, so they raise an error that names what to call.

The error for any other missing name, such as ``foreach``, gives the same advice.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["Unsized"]


class Unsized:
    """A data set without ``len`` and iteration. It is true, because every set has examples."""

    _iteration_hint: str  # how to iterate over its minibatches, in a few words

    def __len__(self) -> NoReturn:
        name = type(self).__name__
        msg = f"len() of a {name} could be examples or minibatches: take count() for examples, num_batches for minibatches"
        raise TypeError(msg)

    def __iter__(self) -> Iterator[Any]:
        msg = f"a {type(self).__name__} is not iterated itself: {self._iteration_hint}"
        raise TypeError(msg)

    if not TYPE_CHECKING:  # a type checker would take every name for one that is there

        def __getattr__(self, name: str) -> NoReturn:
            """Raise an AttributeError that says how to iterate over the minibatches."""
            advice = "" if name.startswith("_") else f"; {self._iteration_hint}"
            msg = f"a {type(self).__name__} has no attribute {name!r}{advice}"
            raise AttributeError(msg, name=name, obj=self)

    def __bool__(self) -> bool:
        return True
