"""Combines arrays of which the same part of each result comes at a time: on the driver, or on a worker that combines a part of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from sparknet.averaging.rules import Named
from sparknet.averaging.slices import Combine
from sparknet.clusters.direct.payload import ResultLayout
from sparknet.errors import SchemaError
from sparknet.ndarray import NDArray

__all__ = ["Combined", "Stretch", "stretches_of", "taken"]

Bytes = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Stretch:
    """Arrays of one dtype, one behind the other: they are combined as one. What lies between them is zero."""

    begin: int
    end: int
    dtype: np.dtype[Any]


def stretches_of(layout: ResultLayout) -> list[Stretch]:
    """Return the stretches of the arrays of a layout."""
    runs = [list(each) for _, each in groupby(layout.places, key=lambda place: place.dtype)]
    return [Stretch(each[0].begin, each[-1].end, each[0].dtype) for each in runs]


class Combined:
    """Combines stretches into memory that begins at the byte ``begin`` of the payload; what lies outside of it is not given."""

    def __init__(self, memory: Bytes, begin: int, runs: Sequence[Stretch], combine: Combine) -> None:
        self._memory, self._begin, self._runs, self.combine = memory, begin, runs, combine

    def take(self, at: int, parts: Sequence[Bytes]) -> None:
        """Take a part of each result, from the byte ``at`` on."""
        for run in self._runs:
            first, last = max(run.begin, at), min(run.end, at + len(parts[0]))
            if first < last:
                self._store(run.dtype, first, [NDArray(each[first - at : last - at].view(run.dtype)) for each in parts])

    def put(self, at: int, combined: Bytes) -> None:
        """Take a part that was combined elsewhere, from the byte ``at`` on."""
        first, last = max(self._begin, at), min(self._begin + len(self._memory), at + len(combined))
        if first < last:
            self._memory[first - self._begin : last - self._begin] = combined[first - at : last - at]

    def told(self) -> list[Any] | None:
        """Return what :func:`taken` makes one of these of; None where the way to combine cannot be told."""
        if not isinstance(self.combine, Named):
            return None
        runs = [[run.begin, run.end, run.dtype.str] for run in self._runs]
        return [self.combine.name, list(self.combine.shares), runs]

    def _store(self, dtype: np.dtype[Any], first: int, arrays: list[NDArray]) -> None:
        combined = self.combine(arrays)
        if not isinstance(combined, NDArray):
            msg = f"by_slices(): combine returned {type(combined).__name__}, expected an NDArray"
            raise TypeError(msg)
        if combined.shape != arrays[0].shape or combined.dtype != dtype:
            msg = (
                f"by_slices(): combine returned {combined.dtype} of shape {combined.shape}, expected {dtype} of shape "
                f"{arrays[0].shape}, as it was given"
            )
            raise SchemaError(msg, got=str(combined.dtype), expected=str(dtype))
        begin = first - self._begin
        self._memory[begin : begin + arrays[0].nbytes].view(dtype)[:] = combined.to_host()


def taken(told: Sequence[Any], memory: Bytes, begin: int) -> Combined:
    """Return what combines as :meth:`Combined.told` said, into ``memory`` for the bytes from ``begin`` on."""
    name, shares, runs = told
    return Combined(
        memory,
        begin,
        [Stretch(first, last, np.dtype(dtype)) for first, last, dtype in runs],
        Named(name, tuple(shares)),
    )
