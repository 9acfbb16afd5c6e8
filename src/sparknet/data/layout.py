"""The rules of packing: which minibatch and shard an example belongs to, in memory and on a cluster.

The example at position ``p`` belongs to minibatch ``p // batch_size``. Minibatch ``i`` belongs to shard ``i % shards``. Only
the last minibatch of the whole set may be short, and shards differ by one minibatch at most, however unequal the partitions of
the rows were. Both kinds of data set follow these rules, so both give the same results.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from sparknet.errors import DataError

__all__ = [
    "Layout",
    "check_packing",
    "check_shards",
    "dealt",
    "is_whole",
    "packed_positions",
    "shard_length",
    "share_and_seed",
    "shuffle_seed",
    "split_positions",
]

Array = np.ndarray[Any, Any]

_SHUFFLE, _SPLIT = 3, 5  # what a generator is for comes first in its seed; sampling.py has the other purposes


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
        return dealt(self.num_batches, shard, self.shards)

    def examples(self, shard: int) -> int:
        """Return how many examples the shard has."""
        has_last = (self.num_batches - 1) % self.shards == shard
        missing = self.num_batches * self.batch_size - self.total if has_last else 0
        return len(self.batches(shard)) * self.batch_size - missing

    def locate(self, positions: Array) -> tuple[Array, Array]:
        """Return, for positions in the whole set, the shard of each and its place among the examples of that shard."""
        number, rest = np.divmod(positions, self.batch_size)
        local, shard = np.divmod(number, self.shards)
        return shard, local * self.batch_size + rest


def check_packing(batch_size: Any, shards: Any = None) -> None:
    """Raise a DataError unless both are whole numbers of at least 1; ``shards`` may be None."""
    for name, value in (("batch_size", batch_size), ("shards", 1 if shards is None else shards)):
        if not is_whole(value, 1):
            msg = f"{name}: got {value!r}, expected a whole number of at least 1"
            raise DataError(msg)


def shuffle_seed(shuffle: Any, seed: Any = None) -> int | None:
    """Return the seed of the permutation that ``shuffle`` and ``seed`` of a packing ask for; None where the order stays.

    Examples
    --------
    >>> shuffle_seed(True, 7), shuffle_seed(True), shuffle_seed(False, 7), shuffle_seed(7)
    (7, 0, None, 7)
    """
    if seed is not None and not is_whole(seed, 0):
        msg = f"seed: got {seed!r}, expected a whole number of at least 0"
        raise DataError(msg)
    if isinstance(shuffle, bool | np.bool_):
        return (seed or 0) if shuffle else None
    if shuffle is not None and not is_whole(shuffle, 0):
        msg = f"shuffle: got {shuffle!r}, expected a whole number of at least 0, the seed, or True with seed=; False for none"
        raise DataError(msg)
    if seed is not None:
        got = "without shuffle" if shuffle is None else f"and shuffle={shuffle!r}, which is a seed too"
        msg = f"seed: got seed={seed!r} {got}; expected shuffle=True, seed={seed!r}"
        raise DataError(msg)
    return shuffle  # type: ignore[no-any-return]


def is_whole(value: Any, least: int) -> bool:
    """Say whether ``value`` is an integer of any kind (but no bool) of at least ``least``."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least


def packed_positions(count: int, shuffle: int | None) -> Array:
    """Return the position of each of ``count`` examples after the shuffle with this seed; int64."""
    if shuffle is None:
        return np.arange(count)
    return np.random.default_rng([_SHUFFLE, shuffle]).permutation(count)


def share_and_seed(test_size: Any, seed: Any, random_state: Any, fraction: Any) -> tuple[Any, Any]:
    """Return share and seed of a split; each may be given under either of its two names."""
    for name, value, other, again in (
        ("test_size", test_size, "fraction", fraction),
        ("seed", seed, "random_state", random_state),
    ):
        if value is not None and again is not None:
            msg = f"train_test_split(): got {name}={value!r} and {other}={again!r}, which are the same; expected one of them"
            raise DataError(msg)
    chosen = random_state if seed is None else seed
    return fraction if test_size is None else test_size, 0 if chosen is None else chosen


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


def dealt(num_batches: int, shard: int, shards: int) -> range:
    """Return the numbers of the minibatches that a shard gets when ``num_batches`` are dealt out to ``shards``, one after the other.

    Examples
    --------
    >>> [list(dealt(7, shard, 3)) for shard in range(3)]
    [[0, 3, 6], [1, 4], [2, 5]]
    """
    return range(shard, num_batches, shards)


def shard_length(num_batches: int, worker: int, workers: int) -> int:
    """Return how many minibatches the shard of ``worker`` has.

    Examples
    --------
    >>> [shard_length(7, worker, 3) for worker in range(3)]
    [3, 2, 2]
    """
    return len(dealt(num_batches, worker, workers))


def check_shards(num_batches: int, workers: int, batch_size: int) -> None:
    """Raise a DataError if some of the ``workers`` would have no minibatch."""
    if workers > num_batches:
        msg = (
            f"got {workers} workers for {num_batches} minibatches of {batch_size} examples; every worker needs at "
            f"least one: use at most {num_batches} workers or a smaller batch size"
        )
        raise DataError(msg)
