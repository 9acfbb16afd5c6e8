"""PackedSet: what packed data sets share, in memory and on a cluster."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from sparknet.data.ragged import Even, Ragged

__all__ = ["PackedSet"]


class PackedSet:
    """A data set of minibatches, without ``len`` and iteration. It is true, because every set has examples.

    ``len`` and ``for`` could mean examples or minibatches, so they raise an error that names what to call. The error for any
    other missing name, such as ``foreach``, gives the same advice.
    """

    batch_size: int
    ragged: Ragged | None
    padding: Mapping[str, float] | None
    _iteration_hint: str  # how to iterate over its minibatches, in a few words

    @property
    def even(self) -> Even:
        """What happens to short minibatches: ``ragged`` and ``padding``, or ``"reshape"`` where the data set does not say it."""
        return Even(self.batch_size, self.ragged or "reshape", dict(self.padding or {}))

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
