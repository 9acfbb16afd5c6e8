"""Shard: the minibatches of one worker, as a net gets them. Nothing else makes the minibatch of a step.

``averaged_sgd``, ``Dataset.feed`` and ``map_shards`` of both data sets call this module, so all have the same bits. It knows
nothing of Spark: the data set gives it an object that reads a stored minibatch by its index.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import numpy as np

from sparknet.data.blas import single_threaded_blas
from sparknet.data.layout import is_whole
from sparknet.data.prefetch import Prefetcher, prefetch
from sparknet.data.preprocess import Preprocessor
from sparknet.data.preprocess.base import preprocessed
from sparknet.data.ragged import Even, evened
from sparknet.data.sampling import SAMPLERS, Sampling, step_rng
from sparknet.data.user_lines import line_of
from sparknet.errors import DataError, SparknetError, as_sparknet_error, located
from sparknet.ndarray import NDArray

__all__ = ["Shard", "Stored", "as_used", "called", "calling", "check_function", "reseed"]

Used = tuple[int, Mapping[str, NDArray]]


class Stored(Protocol):
    """Minibatches by shard-local index, as they are stored."""

    def __getitem__(self, index: int, /) -> Mapping[str, NDArray]:
        """Return the minibatch."""
        ...


@dataclass(frozen=True, eq=False)
class Shard:
    """The minibatches of one shard of a data set; ``map_shards`` calls a function with it.

    ``len(shard)`` is the number of minibatches. ``for batch in shard`` goes through them in their order, preprocessed as in
    test; :meth:`feed` gives those of a training. Each is a mapping field name -> NDArray. A minibatch is read when it is used,
    so the others cost nothing.

    A minibatch has no rows if all its images were dropped. A padded minibatch (``ragged="pad"``) has all its rows.

    Parameters
    ----------
    index
        Which shard of the data set, 0-based; the number of the worker that trains on it.

    Examples
    --------
    >>> from sparknet.data import Field, pack
    >>> data = pack({"x": range(5)}, [Field("x", (), "int64")], batch_size=2)
    >>> data.map_shards(lambda shard: (shard.index, len(shard), [b["x"].to_host().tolist() for b in shard]), workers=2)
    [(0, 2, [[0, 1], [4]]), (1, 1, [[2, 3]])]
    """

    index: int
    _stored: Stored = field(repr=False)
    _length: int
    _preprocessor: Preprocessor | None = None
    _even: Even | None = None

    def __len__(self) -> int:
        """Return the number of minibatches."""
        return self._length

    def __iter__(self) -> Iterator[Mapping[str, NDArray]]:
        """Iterate over the minibatches in their order, preprocessed as in test.

        Raises
        ------
        SparknetError
            A minibatch cannot be read or prepared; the message begins with its index.
        """
        return (self.used(index, step_rng(0, self.index, index), train=False)[1] for index in range(len(self)))

    def feed(
        self,
        steps: int | None = None,
        *,
        first_step: int = 0,
        seed: int = 0,
        train: bool = True,
        sampling: Sampling = "epoch",
        net: Any = None,
    ) -> Prefetcher[Mapping[str, NDArray]]:
        """Iterate over the minibatches of some steps, which a thread makes before they are asked for.

        Order, contents and random choices are those that :func:`~sparknet.averaged_sgd` gives to the worker of this shard at
        the same steps.

        Parameters
        ----------
        steps
            Number of steps, one minibatch each; None: one epoch. A number beyond the epoch goes on in the next one.
        first_step
            Number of steps that this worker has taken before. With ``tau`` steps a round, round ``r`` begins at ``r * tau``.
        seed
            Decides the order and the preprocessor's random choices.
        train
            True: the preprocessor works as in training, in the order of ``sampling``. False: it works as in test, in the order
            of the shard.
        sampling
            As for ``averaged_sgd``.
        net
            The net that takes the steps. Its methods ``reseed`` (once) and ``prepare`` (for each minibatch) are called as a
            worker calls them; a Caffe net has both, other nets need neither. None: nothing is called.

        Returns
        -------
        Prefetcher
            An iterator of mappings field name -> NDArray, best used in a ``with`` block. Skip a minibatch without rows: a worker
            takes no step on it.

        Raises
        ------
        DataError
            ``steps``, ``first_step`` or ``seed`` is no whole number of at least 0, ``sampling`` is none, or the shard has no
            minibatch. While iterating: a minibatch is refused; the message begins with its index in the shard.

        Examples
        --------
        >>> from sparknet.data import Field, pack
        >>> data = pack({"x": range(6)}, [Field("x", (), "int64")], batch_size=2)
        >>> def first_values(shard):
        ...     with shard.feed(3, first_step=3, seed=7) as batches:
        ...         return [int(batch["x"].to_host()[0]) for batch in batches]
        >>> [sorted(values) for values in data.map_shards(first_values)]
        [[0, 2, 4]]
        """
        steps = len(self) if steps is None else steps
        for name, value in (("steps", steps), ("first_step", first_step), ("seed", seed)):
            if not is_whole(value, 0):
                msg = f"feed(): {name}: got {value!r}, expected a whole number of at least 0"
                raise DataError(msg)
        if sampling not in SAMPLERS:
            msg = f"feed(): sampling: got {sampling!r}, expected one of {', '.join(map(repr, SAMPLERS))}"
            raise DataError(msg)
        sampler = SAMPLERS[sampling](self._length, seed, self.index)  # refuses a shard without minibatches
        if train:
            reseed(net, seed, self.index, first_step)
            indices = sampler.steps(first_step, steps)
        else:
            indices = (step % self._length for step in range(first_step, first_step + steps))
        prepare = getattr(net, "prepare", None)

        def made(place: tuple[int, int]) -> Mapping[str, NDArray]:
            step, index = place
            return self.used(index, step_rng(seed, self.index, step), train=train, prepare=prepare)[1]

        return prefetch(enumerate(indices, first_step), made)

    def used(self, index: int, rng: np.random.Generator, *, train: bool, prepare: Any = None) -> Used:
        """Return how many rows of a minibatch count, and the minibatch as the net gets it; it has no rows if it is left out."""
        try:
            rows, batch = as_used(self._stored[index], self._preprocessor, self._even, rng, train=train)
            if not rows:
                return 0, {name: column[:0] for name, column in batch.items()}
            return rows, batch if prepare is None else prepare(batch, rng, train=train)
        except Exception as error:
            raise as_sparknet_error(error).placed(f"minibatch {index}", batch=index) from error

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: the minibatches stay where they are."""
        msg = "a Shard is read where it lies: return what was made of its minibatches"
        raise TypeError(msg)


def as_used(
    stored: Mapping[str, NDArray],
    preprocessor: Preprocessor | None,
    even: Even | None,
    rng: np.random.Generator,
    *,
    train: bool,
) -> Used:
    """Return the number of rows that count, and the minibatch after the preprocessor, padded; it is left out if no rows count."""
    return evened(preprocessed(stored, preprocessor, rng, train=train), even)


def reseed(net: Any, seed: int, worker: int, first_step: int) -> None:
    """Seed the net's own random generator (dropout), if it has one, for the steps from ``first_step`` on."""
    if hasattr(net, "reseed"):
        net.reseed(int(step_rng(seed, worker, first_step).integers(2**31)))


def check_function(caller: str, fn: Any) -> None:
    """Raise a DataError unless ``fn`` can be called; the message begins with ``caller``."""
    if not callable(fn):
        msg = f"{caller}: got {fn!r:.60}, expected a function of one Shard, such as len"
        raise DataError(msg)


def called(fn: Callable[[Shard], Any], shard: Shard) -> Any:
    """Return ``fn(shard)``, called as on a worker."""
    with calling(shard.index):
        return fn(shard)


@contextmanager
def calling(shard: int) -> Iterator[None]:
    """Run the user's function for a shard inside the block: with one BLAS thread, as on a worker.

    The message of an error of sparknet then begins with the shard. Any other error stays as it is, and gets a note that names
    the shard and the line of the function.
    """
    with located(f"shard {shard}"), single_threaded_blas():
        try:
            yield
        except SparknetError:
            raise
        except Exception as error:
            error.add_note(f"[shard {shard}, {line_of(error)}]")
            raise
