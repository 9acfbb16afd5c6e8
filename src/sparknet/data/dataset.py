"""Dataset: examples packed into minibatches, in this process's memory; and the rules of packing.

The rules are the same on a cluster, which is why the results are: the example at position ``p``
belongs to minibatch ``p // batch_size``, minibatch ``i`` belongs to shard ``i % shards``. Only the
last minibatch of the whole set may be short, and shards differ by one minibatch at most, however
unequal the partitions were that the examples came in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from sparknet.data.fields import Field, batch_of_rows, rows_of_batch
from sparknet.data.preprocess import Preprocessor
from sparknet.errors import DataError
from sparknet.ndarray import NDArray

_SHUFFLE = 3  # first in the seed, apart from the purposes in sampling.py

__all__ = ["Dataset", "check_shards", "pack", "packed_positions", "shard_length"]


@dataclass(frozen=True)
class Dataset:
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
    """

    batches: Sequence[Mapping[str, NDArray]]
    fields: tuple[Field, ...]
    batch_size: int
    preprocessor: Preprocessor | None = None

    def count(self) -> int:
        """Return the number of examples."""
        return sum(rows_of_batch(batch) for batch in self.batches)

    @property
    def num_batches(self) -> int:
        """Number of minibatches."""
        return len(self.batches)

    def shard(self, worker: int, workers: int) -> Sequence[Mapping[str, NDArray]]:
        """Return the minibatches of ``worker`` out of ``workers``; nothing is copied."""
        return self.batches[worker::workers]

    def first_batch(self) -> Mapping[str, NDArray]:
        """Return the first minibatch, as stored."""
        return self.batches[0]


def pack(
    rows: Iterable[Any] | Mapping[str, Any],
    fields: Sequence[Field],
    batch_size: int,
    preprocessor: Preprocessor | None = None,
    *,
    shuffle: int | None = None,
) -> Dataset:
    """Pack examples into minibatches in this process's memory.

    Parameters
    ----------
    rows
        Rows (mappings by field name, or tuples in the order of ``fields``), or one mapping field
        name -> array of all examples.
    fields
        Name, shape and dtype of each input, as it is to be stored.
    batch_size
        Examples in a minibatch; the last one of the set may be short, none is dropped.
    preprocessor
        Applied each time a minibatch is used.
    shuffle
        Seed of a permutation of all examples; None keeps their order.

    Raises
    ------
    DataError
        A value does not fit its field, there is no example, or ``batch_size`` is not positive.

    Examples
    --------
    >>> data = pack({"x": [[1.0], [2.0], [3.0]]}, [Field("x", (1,))], batch_size=2)
    >>> data.count(), [len(b["x"]) for b in data.batches]
    (3, [2, 1])
    """
    check_packing(batch_size, shuffle)
    whole = _columns(rows, fields) if isinstance(rows, Mapping) else batch_of_rows(list(rows), fields)
    n = rows_of_batch(whole)
    if n == 0:
        msg = "pack(): got no rows, expected at least one"
        raise DataError(msg)
    if shuffle is not None:
        order = np.argsort(packed_positions(n, shuffle))
        whole = {name: NDArray(array.to_host()[order]) for name, array in whole.items()}
    batches = [{name: a[i : i + batch_size] for name, a in whole.items()} for i in range(0, n, batch_size)]
    if preprocessor is not None:
        preprocessor.fields(fields)
    return Dataset(batches, tuple(fields), batch_size, preprocessor)


def _columns(columns: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, NDArray]:
    missing = [f.name for f in fields if f.name not in columns]
    if missing:
        msg = f"pack(): no column {', '.join(map(repr, missing))}; there are {', '.join(map(repr, columns))}"
        raise DataError(msg)
    return {f.name: NDArray(_whole_column(columns[f.name], f)) for f in fields}


def _whole_column(values: Any, field: Field) -> "np.ndarray[Any, Any]":
    """Return a column as one array, converted as its rows would be."""
    array = values.to_host() if isinstance(values, NDArray) else values
    if isinstance(array, np.ndarray) and array.ndim and array.shape[1:] in (field.shape, (prod(field.shape),)):
        return Field(field.name, (len(array), *field.shape), field.dtype).convert(array.reshape(-1, *field.shape))
    try:
        rows = list(array)
    except TypeError as error:
        msg = f"pack(): column {field.name!r} is a {type(values).__name__}, expected one value for each example"
        raise DataError(msg) from error
    return batch_of_rows([(row,) for row in rows], [field])[field.name].to_host()


def check_packing(batch_size: Any, shuffle: Any = None, shards: Any = None) -> None:
    """Raise a DataError unless the arguments of a packing are whole numbers in their range, or None where allowed."""
    for name, value, least, default in (
        ("batch_size", batch_size, 1, False),
        ("shuffle", shuffle, 0, True),
        ("shards", shards, 1, True),
    ):
        if not (default and value is None) and not is_whole(value, least):
            msg = f"{name}: got {value!r}, expected a whole number of at least {least}"
            raise DataError(msg)


def is_whole(value: Any, least: int) -> bool:
    """Say whether ``value`` is an integer of any kind (but no bool) of at least ``least``."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least


def packed_positions(count: int, shuffle: int | None) -> "np.ndarray[Any, Any]":
    """Return the position of each of ``count`` examples after the shuffle with this seed; int64."""
    if shuffle is None:
        return np.arange(count)
    return np.random.default_rng([_SHUFFLE, shuffle]).permutation(count)


def shard_length(num_batches: int, worker: int, workers: int) -> int:
    """Return how many minibatches the shard of ``worker`` has.

    Examples
    --------
    >>> [shard_length(7, worker, 3) for worker in range(3)]
    [3, 2, 2]
    """
    return len(range(worker, num_batches, workers))


def check_shards(num_batches: int, workers: int, batch_size: int) -> None:
    """Raise a DataError if some of the ``workers`` would have no minibatch."""
    if workers > num_batches:
        msg = (
            f"got {workers} workers for {num_batches} minibatches of {batch_size} examples; every worker needs at "
            f"least one: use at most {num_batches} workers or a smaller batch size"
        )
        raise DataError(msg)
