"""The fingerprint of packed data: a short text that differs where the stored minibatches, or their order, differ.

A data set in memory and one on a cluster have the same fingerprint where their minibatches are the same, whatever the shards are.
"""

import hashlib
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from sparknet.data.packed_set import PackedSet
from sparknet.data.shards import Shard
from sparknet.ndarray import NDArray
from sparknet.serialization.memory.checksum import checksum

__all__ = ["fingerprint"]

_BITS = 128


def fingerprint(data: Any) -> str | None:
    """Return the fingerprint of a packed data set; None if it is of a kind that has none.

    Every element is read once, on a cluster where it lies. The preprocessor does not count, because it works when a minibatch is used.

    Examples
    --------
    >>> from sparknet.data import Field, pack
    >>> one, two = (pack({"x": x}, [Field("x", (), "int64")], 2) for x in ([0, 1, 2], [0, 2, 1]))
    >>> fingerprint(one) == fingerprint(one), fingerprint(one) == fingerprint(two)
    (True, False)
    """
    if not isinstance(data, PackedSet):
        return None
    stored: Any = replace(data, preprocessor=None, ragged="reshape", padding=None)  # type: ignore[type-var]
    shards = getattr(data, "shards", 1)
    total = sum(stored.map_shards(partial(_of_shard, shards=shards)))
    return f"{total % (1 << _BITS):032x}"


def _of_shard(shard: Shard, shards: int) -> int:
    """Return the sum of the digests of the minibatches, each with its place in the whole set: it does not depend on the shards."""
    return sum(_digest(shard.index + shards * index, batch) for index, batch in enumerate(shard))


def _digest(place: int, batch: Any) -> int:
    said = [place, [[name, *_said(array)] for name, array in sorted(batch.items())]]
    return int.from_bytes(hashlib.sha256(repr(said).encode()).digest()[: _BITS // 8], "big")


def _said(array: NDArray) -> tuple[str, tuple[int, ...], int]:
    host = np.ascontiguousarray(array.to_host())
    return host.dtype.name, array.shape, checksum(host.reshape(-1).view(np.uint8))
