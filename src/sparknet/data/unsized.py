"""Unsized: a data set of which ``len`` and ``for`` could mean two things says so, and names what means one.

So do other names that it does not have, such as ``foreach``.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

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

    if not TYPE_CHECKING:  # else every name would be there

        def __getattr__(self, name: str) -> NoReturn:
            """Raise the AttributeError of a name that is not there, which says how the minibatches are gone through."""
            advice = "" if name.startswith("_") else f"; {self._gone_through}"
            msg = f"a {type(self).__name__} has no attribute {name!r}{advice}"
            raise AttributeError(msg, name=name, obj=self)

    def __bool__(self) -> bool:
        return True
