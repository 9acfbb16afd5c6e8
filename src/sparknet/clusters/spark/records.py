"""Examples as rows of bytes, and where each of them goes: what packing computes on its way, without Spark.

A record is one example: the bytes of its fields one after the other. Records of a data set have one
size, so that an example can be put where it belongs before its neighbours are there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np

from sparknet.data.dataset import shard_length
from sparknet.data.fields import Field, rows_of_batch
from sparknet.ndarray import NDArray

__all__ = ["Layout", "Records"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Records:
    """The records of examples with these fields.

    Examples
    --------
    >>> records = Records((Field("x", (2,), "uint8"), Field("y", (), "int64")))
    >>> joined = records.join({"x": NDArray(np.zeros((3, 2), "uint8")), "y": NDArray(np.arange(3))})
    >>> joined.shape, records.split(joined)["y"].to_host().tolist()
    ((3, 10), [0, 1, 2])
    """

    fields: tuple[Field, ...]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(prod(f.shape) * np.dtype(f.dtype).itemsize for f in self.fields))

    @property
    def size(self) -> int:
        """Bytes of a record; at least one, so that records without any can be counted."""
        return max(1, self._ends[-1])

    def join(self, batch: Mapping[str, NDArray]) -> Array:
        """Return the records of a batch, (n, size) uint8; new memory."""
        records = np.empty((rows_of_batch(batch), self.size), np.uint8)
        for f, (begin, end) in zip(self.fields, pairwise([0, *self._ends]), strict=True):
            rows = np.ascontiguousarray(batch[f.name].to_host()).reshape(len(records), prod(f.shape))
            records[:, begin:end] = rows.view(np.uint8)
        return records

    def split(self, records: Array) -> dict[str, NDArray]:
        """Return the batch of the records; new memory."""
        batch = {}
        for f, (begin, end) in zip(self.fields, pairwise([0, *self._ends]), strict=True):
            rows = np.ascontiguousarray(records[:, begin:end]).view(f.dtype)
            batch[f.name] = NDArray(rows.reshape(len(records), *f.shape))
        return batch


@dataclass(frozen=True)
class Layout:
    """How ``total`` examples lie in minibatches and shards: the rules of :mod:`sparknet.data.dataset`.

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
        return shard_length(self.num_batches, shard, self.shards) * self.batch_size - missing

    def locate(self, positions: Array) -> tuple[Array, Array]:
        """Return shard and place among the shard's examples for positions in the whole set."""
        number, rest = np.divmod(positions, self.batch_size)
        local, shard = np.divmod(number, self.shards)
        return shard, local * self.batch_size + rest
