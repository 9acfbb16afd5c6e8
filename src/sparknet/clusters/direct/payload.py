"""The form of a result on its way to the driver: its arrays one after the other, each at a multiple of 64 bytes, cut into slices.

Names, shapes and dtypes go ahead, in a few bytes (:func:`as_lists`), so that the driver knows what each byte is before the first one comes.
A slice ends with two checksums. That of its data, because a bit that flips on the way would else be averaged in silence. And that of
all slices up to this one: a worker that goes on where another one was lost has to have the result of that one, from the first slice on.
"""

import math
import operator
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np

from sparknet.clusters.direct.bodies import SLICE
from sparknet.dtypes import TABLE
from sparknet.errors import ClusterError, FormatError
from sparknet.ndarray import NDArray
from sparknet.nets.base import SolverState
from sparknet.serialization.memory.buffers import little_endian
from sparknet.serialization.memory.checksum import checksum

__all__ = [
    "Place",
    "ResultLayout",
    "Schema",
    "Slices",
    "as_lists",
    "asked_of",
    "checked",
    "data_in_a_slice",
    "heard",
    "of_bytes",
    "same",
    "schema_of",
    "schema_of_state",
    "whole",
]

_ALIGNED = 64  # bytes
_SUM = 4  # bytes of a checksum; a slice ends with two
_SMALL = 1 << 20  # bytes of a slice of a small result
_SLICES = 16  # of a result, if they have neither fewer bytes than _SMALL nor more than SLICE
_DTYPES = {row.name: row for row in TABLE}

Schema: TypeAlias = Mapping[str, tuple[tuple[tuple[int, ...], str], ...]]
"""Name -> (shape, name of the dtype) of each of its arrays."""


def data_in_a_slice(nbytes: int) -> int:
    """Return how many bytes of a payload of about ``nbytes`` a slice has: each slice takes time of its own, and small ones stay in the cache.

    Examples
    --------
    >>> [data_in_a_slice(nbytes) for nbytes in (1000, 40_000_000, 244_000_000)]
    [1048512, 2499904, 4194240]
    """
    return min(max(nbytes // _SLICES, _SMALL), SLICE) // _ALIGNED * _ALIGNED - _ALIGNED


def schema_of(arrays: Mapping[str, Sequence[NDArray]]) -> Schema:
    """Return the schema of named arrays, such as those of weights."""
    return {name: tuple((array.shape, _name(array.dtype)) for array in each) for name, each in arrays.items()}


def schema_of_state(state: SolverState) -> Schema:
    """Return the schema of a solver state: one array a name."""
    return schema_of({name: [array] for name, array in state.items()})


def asked_of(state: SolverState, names: Sequence[str]) -> SolverState:
    """Return the arrays of a state that are to travel; without names all of them."""
    return {name: array for name, array in state.items() if not names or name in names}


def same(a: Schema, b: Schema) -> bool:
    """Say whether two schemas have the same names in the same order, with the same arrays."""
    return list(a.items()) == list(b.items())


def as_lists(schema: Schema) -> list[Any]:
    """Return a schema as lists, for JSON; :func:`heard` takes it back."""
    return [[name, [[list(shape), dtype] for shape, dtype in arrays]] for name, arrays in schema.items()]


def heard(lists: Sequence[Any]) -> Schema:
    """Return the schema that :func:`as_lists` was given.

    Examples
    --------
    >>> heard(as_lists({"ip": (((2, 3), "float32"),)}))
    {'ip': (((2, 3), 'float32'),)}
    """
    return {name: tuple((tuple(shape), dtype) for shape, dtype in arrays) for name, arrays in lists}


@dataclass(frozen=True)
class Place:
    """Where an array lies in a payload; ``begin`` and ``end`` are in bytes."""

    begin: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        """The byte after the last one."""
        return self.begin + self.dtype.itemsize * math.prod(self.shape)


@dataclass(frozen=True)
class ResultLayout:
    """Where the arrays of a schema lie, from the byte ``begin`` of a payload on.

    Examples
    --------
    >>> layout = ResultLayout({"ip": (((2, 3), "float32"), ((3,), "float32"))})
    >>> [(place.begin, place.end) for place in layout.places], layout.end
    ([(0, 24), (64, 76)], 128)
    """

    schema: Schema
    begin: int = 0

    @cached_property
    def places(self) -> list[Place]:
        """The place of each array, in order."""
        fields = [(_dtype(name), shape) for arrays in self.schema.values() for shape, name in arrays]
        sizes = [_padded(dtype.itemsize * math.prod(shape)) for dtype, shape in fields]
        begins = accumulate(sizes, initial=self.begin)
        return [Place(begin, dtype, shape) for begin, (dtype, shape) in zip(begins, fields, strict=False)]

    @property
    def end(self) -> int:
        """The byte after the last array, padded."""
        return _padded(self.places[-1].end) if self.places else self.begin

    def named(self, memory: np.ndarray[Any, Any]) -> dict[str, list[NDArray]]:
        """Return name -> arrays, as views of the bytes of this layout."""
        views = (
            NDArray(memory[place.begin - self.begin : place.end - self.begin].view(place.dtype).reshape(place.shape))
            for place in self.places
        )
        return {name: [next(views) for _ in arrays] for name, arrays in self.schema.items()}


class Slices(Sequence[list[Any]]):
    """A payload as slices, each made when it is asked for: a view of one array, or a copy where a slice has parts of several.

    Several threads may ask for them.

    Parameters
    ----------
    layouts
        One behind the other, from byte 0 on.
    arrays
        Those of all layouts, in order. Their memory is shared where it is contiguous and on the host.
    size
        Bytes of the payload in a slice, a multiple of 64.

    Examples
    --------
    >>> layout = ResultLayout({"ip": (((2,), "uint8"), ((3,), "uint8"))})
    >>> arrays = [NDArray(np.array([1, 2], "uint8")), NDArray(np.array([3, 4, 5], "uint8"))]
    >>> ((data, _),) = Slices([layout], arrays, data_in_a_slice(layout.end))
    >>> data[:2].tolist(), data[64:67].tolist(), len(data)
    ([1, 2], [3, 4, 5], 128)
    """

    def __init__(self, layouts: Sequence[ResultLayout], arrays: Iterable[NDArray], size: int) -> None:
        self._begins = [place.begin for layout in layouts for place in layout.places]
        self._bytes = [_bytes(array) for array in arrays]
        self._nbytes, self._size = layouts[-1].end, size
        self._lock = threading.Lock()  # of what follows
        self._sums: list[bytes] = []  # the checksums of the slices that were made so far

    def __len__(self) -> int:
        return (self._nbytes + self._size - 1) // self._size

    def __getitem__(self, number: Any) -> list[Any]:
        place = operator.index(number)
        if not 0 <= place < len(self):
            raise IndexError(number)
        with self._lock:
            for each in range(
                len(self._sums), place + 1
            ):  # those before it were sent by another worker, or to another one
                self._append_sums(self._data(each))
        return [self._data(place), self._sums[place]]

    def _append_sums(self, data: np.ndarray[Any, Any]) -> None:
        before = int.from_bytes(self._sums[-1][_SUM:], "big") if self._sums else 0
        self._sums.append(_sums(checksum(data), before))

    def _data(self, number: int) -> np.ndarray[Any, Any]:
        first = number * self._size
        last = min(first + self._size, self._nbytes)
        pieces = [
            (begin, each)
            for begin, each in zip(self._begins, self._bytes, strict=True)
            if begin < last and begin + len(each) > first
        ]
        if len(pieces) == 1:
            begin, each = pieces[0]
            if begin <= first and begin + len(each) >= last:
                return each[first - begin : last - begin]
        data = np.zeros(last - first, np.uint8)
        for begin, each in pieces:
            low, high = max(begin, first), min(begin + len(each), last)
            data[low - first : high - first] = each[low - begin : high - begin]
        return data


def checked(received: memoryview, worker: int, number: int, before: int) -> tuple[np.ndarray[Any, Any], int]:
    """Return the bytes of the payload in a slice, and the checksum of all slices up to this one.

    Parameters
    ----------
    received
        The slice.
    worker, number
        Whose it is, and which.
    before
        The checksum of all slices before this one; 0 if it is the first.

    Raises
    ------
    FormatError
        The bytes are not what the worker has sent.
    ClusterError
        The worker goes on with another result than that of the one which sent the slices before.
    """
    data, said = received[: -2 * _SUM], bytes(received[-2 * _SUM :])
    found = checksum(data)
    sums = _sums(found, before)
    if sums == said:
        return np.frombuffer(data, np.uint8), int.from_bytes(sums[_SUM:], "big")
    if _own(found, said[_SUM:]) != said[:_SUM]:
        raise _damaged(worker, number, len(data))
    msg = (
        f"worker {worker}: it was lost while its result was sent, and the same work, done again, gave another result before slice "
        f"{number}; the net, its factory or the data is not the same each time: seed what is random by the step"
    )
    raise ClusterError(msg, shard=worker)


def whole(received: memoryview, worker: int, number: int) -> np.ndarray[Any, Any]:
    """Return the bytes of the payload in a slice, whatever the slices before it were; raise a FormatError as :func:`checked` does."""
    data, said = received[: -2 * _SUM], bytes(received[-2 * _SUM :])
    if _own(checksum(data), said[_SUM:]) != said[:_SUM]:
        raise _damaged(worker, number, len(data))
    return np.frombuffer(data, np.uint8)


def of_bytes(memory: np.ndarray[Any, Any], size: int) -> Slices:
    """Return slices of memory, in the form that :func:`whole` takes."""
    array = NDArray(memory)
    return Slices([ResultLayout(schema_of({"": [array]}))], [array], size)


def _damaged(worker: int, number: int, count: int) -> FormatError:
    msg = (
        f"worker {worker}: slice {number} of its result, {count:,} bytes, has another checksum than it was sent with: "
        "memory or network of one of the two machines is faulty"
    )
    return FormatError(msg, tensor=None, offset=None)


def _sums(data: int, before: int) -> bytes:
    """Return the two checksums at the end of a slice, of the checksum of its data and the second one of the slice before."""
    through = crc32(data.to_bytes(_SUM, "big"), before).to_bytes(_SUM, "big")
    return _own(data, through) + through


def _own(data: int, through: bytes) -> bytes:
    """Return the first checksum: the second one is checked by it too."""
    return crc32(through, data).to_bytes(_SUM, "big")


@cache
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name  # numpy makes it anew each time, which takes longer than all else of a small array


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


@cache
def _dtype(name: str) -> np.dtype[Any]:
    if name not in _DTYPES:
        msg = f"an array of {name} cannot travel; expected one of {', '.join(_DTYPES)}"
        raise FormatError(msg, tensor=None, offset=None)
    return little_endian(_DTYPES[name].dtype())


def _bytes(array: NDArray) -> np.ndarray[Any, Any]:
    """Return the elements of an array as bytes, in C order and little-endian; shares memory where they are so already."""
    host = array.to_host()
    flat: np.ndarray[Any, Any] = np.ascontiguousarray(host, little_endian(host.dtype)).reshape(-1).view(np.uint8)
    return flat
