"""Records: examples as rows of bytes.

A record is one example: the bytes of its fields one after the other. All records of a data set have the same size, so an example
can be written to its place before its neighbours are there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np

from sparknet.data.fields import Field, rows_of_batch
from sparknet.ndarray import NDArray

__all__ = ["Records"]

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
