"""Dataset: examples packed into minibatches, in this process's memory. :mod:`sparknet.data.layout` has the rules of packing."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sparknet.data.fields import Field, rows_of_batch
from sparknet.data.layout import check_shards, dealt, is_whole, shard_length, share_and_seed, split_positions
from sparknet.data.packed_set import PackedSet
from sparknet.data.prefetch import Prefetcher
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even, Ragged, check_padding
from sparknet.data.shards import Shard, called, check_function
from sparknet.data.sums import check_summable
from sparknet.errors import DataError
from sparknet.ndarray import NDArray

__all__ = ["Dataset", "cut"]


@dataclass(frozen=True)
class Dataset(PackedSet):
    """Packed minibatches in memory.

    Parameters
    ----------
    batches
        The minibatches in order; each a mapping field name -> NDArray ``(n, *field.shape)``.
    fields
        What is in them, as stored (before the preprocessor).
    batch_size
        Examples in every minibatch but the last.
    preprocessor
        Applied when a minibatch is used, not when it is stored.
    ragged, padding
        What happens to a short minibatch when it is used, as for :func:`pack`.
    """

    batches: Sequence[Mapping[str, NDArray]]
    fields: tuple[Field, ...]
    batch_size: int
    preprocessor: Preprocessor | None = None
    ragged: Ragged | None = None
    padding: Mapping[str, float] | None = None

    _iteration_hint = "feed() gives its minibatches as they are used, batches are those stored"

    def __repr__(self) -> str:
        return (
            f"<Dataset: {self.count():,} examples in {self.num_batches:,} minibatches of {self.batch_size}, "
            f"{sum(array.nbytes for batch in self.batches for array in batch.values()):,} bytes>"
        )

    def count(self) -> int:
        """Return the number of examples."""
        return sum(rows_of_batch(batch) for batch in self.batches)

    @property
    def num_examples(self) -> int:
        """Number of examples, as :meth:`count` returns it."""
        return self.count()

    @property
    def num_batches(self) -> int:
        """Number of minibatches."""
        return len(self.batches)

    def shard(self, worker: int, workers: int) -> Sequence[Mapping[str, NDArray]]:
        """Return the minibatches of ``worker`` out of ``workers``; nothing is copied."""
        numbers = dealt(self.num_batches, worker, workers)
        return self.batches[numbers.start : numbers.stop : numbers.step]

    def first_batch(self) -> Mapping[str, NDArray]:
        """Return the first minibatch, as stored."""
        return self.batches[0]

    def _summed(self, part: Callable[[Iterable[Mapping[str, NDArray]]], Any]) -> Any:
        """Return ``part(minibatches)`` of all minibatches as stored, which a data set on a cluster adds up shard by shard.

        As there, it must be a number, an array, a WeightCollection or a dict of these.
        """
        return check_summable(part(self.batches), "summed(): what the function returned")

    def summed(self, part: Callable[[Iterable[Mapping[str, NDArray]]], Any]) -> Any:
        """Return ``part(minibatches)`` of all minibatches as stored. New programs call :meth:`map_shards`.

        :meta private:
        """
        return self._summed(part)

    def map_shards(self, fn: Callable[[Shard], Any], workers: int = 1) -> list[Any]:
        """Return ``fn(shard)`` for each shard, computed one after the other in this process.

        ``sparknet.spark.PackedDataset.map_shards`` does the same in tasks on Spark, with the same bits. So a loop of your own
        can be tried out here.

        Parameters
        ----------
        fn
            Called with a :class:`Shard`. If threadpoolctl is installed, it computes with one BLAS thread.
        workers
            Number of shards. Minibatch ``i`` of the set is in shard ``i % workers``.

        Raises
        ------
        DataError
            ``fn`` is no function, there are more workers than minibatches, or ``ragged="pad"`` does not say what with.
        SparknetError
            ``fn`` raised it; the message begins with the shard.

        Examples
        --------
        >>> from sparknet.data import pack
        >>> data = pack({"x": range(5)}, [Field("x", (), "int64")], batch_size=2)
        >>> data.map_shards(lambda shard: sum(len(batch["x"]) for batch in shard), workers=2)
        [3, 2]
        """
        check_function("map_shards()", fn)
        self._check_used("map_shards()", workers)
        return [called(fn, self._shard(worker, workers)) for worker in range(workers)]

    def _check_used(self, caller: str, workers: int) -> None:
        if not is_whole(workers, 1):
            msg = f"{caller}: workers: got {workers!r}, expected a whole number of at least 1"
            raise DataError(msg)
        check_padding(caller, self.ragged, self.padding)
        check_shards(self._num_used, workers, self.batch_size)

    @property
    def _num_used(self) -> int:
        return self.even.num_used(self.num_batches, self.count())

    def _shard(self, worker: int, workers: int) -> Shard:
        """Return the shard of ``worker`` as it is used."""
        length = shard_length(self._num_used, worker, workers)
        return Shard(worker, self.shard(worker, workers), length, self.preprocessor, self.even)

    def feed(
        self, *, epochs: int | None = 1, seed: int = 0, train: bool = True, worker: int = 0, workers: int = 1
    ) -> Prefetcher[Mapping[str, NDArray]]:
        """Iterate over preprocessed minibatches, which a thread makes before they are asked for.

        Parameters
        ----------
        epochs
            Number of passes over the minibatches; None: no end.
        seed
            Decides the order and the preprocessor's random choices. They are those of :func:`~sparknet.averaged_sgd` with this
            seed.
        train
            True: the preprocessor works as in training, and each epoch has a new order. False: it works as in test, in the
            order of the set.
        worker, workers
            Which shard to iterate over, and the number of shards: with ``workers=4`` the set has the shards 0 to 3. By default
            the whole set is one shard.

        Returns
        -------
        Prefetcher
            An iterator, best used in a ``with`` block. A minibatch has no rows if all its images were dropped, or if it is too
            short and left out (``ragged="drop"``). A padded minibatch has all its rows.

        Raises
        ------
        DataError
            ``epochs`` or ``worker`` is out of range, there are more workers than minibatches, or ``ragged="pad"`` does not
            say what with. While iterating: a minibatch is refused; the message begins with its index in the shard.

        Examples
        --------
        >>> from sparknet.data import pack
        >>> data = pack({"x": range(5)}, [Field("x", (), "int64")], batch_size=2)
        >>> with data.feed(train=False) as batches:
        ...     [batch["x"].to_host().tolist() for batch in batches]
        [[0, 1], [2, 3], [4]]
        """
        if epochs is not None and not is_whole(epochs, 0):
            msg = f"feed(): got epochs={epochs!r}, expected a whole number of at least 0, or None"
            raise DataError(msg)
        if not (is_whole(workers, 1) and is_whole(worker, 0) and worker < workers):
            msg = f"feed(): got worker={worker!r} of workers={workers!r}, expected a whole number from 0 to workers - 1"
            raise DataError(msg)
        self._check_used("feed()", workers)
        shard = self._shard(worker, workers)
        return shard.feed(sys.maxsize if epochs is None else epochs * len(shard), seed=seed, train=train)

    def train_test_split(
        self,
        test_size: float | None = None,
        seed: int | None = None,
        *,
        random_state: int | None = None,
        fraction: float | None = None,
    ) -> "tuple[Dataset, Dataset]":
        """Split the examples into two sets, for training and for test.

        Parameters
        ----------
        test_size
            Share of the examples that the test set gets, above 0 and below 1; rounded to a whole number of examples.
        seed
            Decides which examples go into the test set; 0 if it is left out. Within each set the examples keep their order.
        random_state
            scikit-learn's name of ``seed``, which is its name everywhere else here.
        fraction
            The former name of ``test_size``.

        Returns
        -------
        Dataset, Dataset
            For training, for test. Packed anew, in new memory: only the last minibatch of each may be short, and is left out
            where ``ragged`` is ``"drop"``.

        Raises
        ------
        DataError
            One of the sets would be empty; or share or seed is given under both of its names.

        Examples
        --------
        >>> from sparknet.data import pack
        >>> data = pack({"x": range(10)}, [Field("x", (), "int64")], batch_size=4)
        >>> [part.count() for part in data.train_test_split(test_size=0.3, seed=7)]
        [7, 3]
        """
        share, chosen = share_and_seed(test_size, seed, random_state, fraction)
        whole = {f.name: np.concatenate([batch[f.name].to_host() for batch in self.batches]) for f in self.fields}
        train, test = (
            replace(
                self, batches=cut({name: a[where >= 0] for name, a in whole.items()}, self.even, "train_test_split()")
            )
            for where in split_positions(self.count(), share, chosen)
        )
        return train, test


def cut(arrays: Mapping[str, "np.ndarray[Any, Any]"], even: Even, what: str) -> list[dict[str, NDArray]]:
    """Return the minibatches as views; the last examples are left out where ``even`` says so, and ``what`` begins the log's line."""
    n, batch_size = even.num_packed(len(next(iter(arrays.values()))), what), even.batch_size
    return [{name: NDArray(a[i : i + batch_size]) for name, a in arrays.items()} for i in range(0, n, batch_size)]
