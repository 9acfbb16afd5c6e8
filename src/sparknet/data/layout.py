"""The rules of packing: which minibatch and shard an example belongs to, in memory and on a cluster.

They are the same in both, which is why the results are: the example at position ``p`` belongs to
minibatch ``p // batch_size``, minibatch ``i`` belongs to shard ``i % shards``. Only the last minibatch
of the whole set may be short, and shards differ by one minibatch at most, however unequal the
partitions were that the examples came in.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from sparknet.errors import DataError

__all__ = ["Layout", "check_packing", "check_shards", "is_whole", "packed_positions", "shard_length", "split_positions"]

Array = np.ndarray[Any, Any]

_SHUFFLE, _SPLIT = 3, 5  # first in the seed, apart from the purposes in sampling.py


@dataclass(frozen=True)
class Layout:
    """How ``total`` examples lie in minibatches and shards.

    Examples
    --------
    >>> layout = Layout(total=7, batch_size=2, shards=2)
    >>> shard, place = layout.locate(np.arange(7))
    >>> shard.tolist(), place.tolist()
    ([0, 0, 1, 1, 0, 0, 1], [0, 1, 0, 1, 2, 3, 2])
    >>> [layout.examples(shard) for shard in range(2)]
    [4, 3]
    """

    total: int
    batch_size: int
    shards: int

    @property
    def num_batches(self) -> int:
        """Number of minibatches."""
        return -(-self.total // self.batch_size)

    def batches(self, shard: int) -> range:
        """Return the numbers of the shard's minibatches."""
        return range(shard, self.num_batches, self.shards)

    def examples(self, shard: int) -> int:
        """Return how many examples the shard has."""
        has_last = (self.num_batches - 1) % self.shards == shard
        missing = self.num_batches * self.batch_size - self.total if has_last else 0
        return len(self.batches(shard)) * self.batch_size - missing

    def locate(self, positions: Array) -> tuple[Array, Array]:
        """Return shard and place among the shard's examples for positions in the whole set."""
        number, rest = np.divmod(positions, self.batch_size)
        local, shard = np.divmod(number, self.shards)
        return shard, local * self.batch_size + rest


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


def packed_positions(count: int, shuffle: int | None) -> Array:
    """Return the position of each of ``count`` examples after the shuffle with this seed; int64."""
    if shuffle is None:
        return np.arange(count)
    return np.random.default_rng([_SHUFFLE, shuffle]).permutation(count)


def split_positions(count: int, fraction: float, seed: int) -> tuple[Array, Array]:
    """Return each example's position in the training set and in the test set; -1 in the one it is not in; int64.

    Examples
    --------
    >>> train, test = split_positions(5, 0.4, seed=0)
    >>> sorted(train.tolist()), sorted(test.tolist())
    ([-1, -1, 0, 1, 2], [-1, -1, -1, 0, 1])
    """
    if not is_whole(seed, 0):
        msg = f"seed: got {seed!r}, expected a whole number of at least 0"
        raise DataError(msg)
    tests = round(count * fraction) if isinstance(fraction, Real) and 0 < fraction < 1 else 0
    if not 0 < tests < count:
        msg = (
            f"train_test_split(): {fraction!r} of {count} examples leaves a set empty; expected a share between 0 and 1"
        )
        raise DataError(msg)
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng([_SPLIT, seed]).permutation(count)[:tests]] = True
    train, test = (np.where(mask, np.cumsum(mask) - 1, -1) for mask in (~chosen, chosen))
    return train, test


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
