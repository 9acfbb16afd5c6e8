"""Which arrays a message can be received in: those that may be written to, and whose elements have their own memory each.

Where two elements share memory, the one that is written first would be lost in silence. Within one array this is found out exactly.
Two dense arrays are compared as a whole. Others are compared by their first and their last run of neighbouring bytes: so columns that
alternate in one matrix are taken, and an overlap that lies elsewhere is not noticed. Two arrays that are the same memory, as tied weights
of torch are, are taken if the message has the same elements for both.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from sparknet.errors import SchemaError
from sparknet.serialization.message.fitting import check_fits
from sparknet.serialization.message.header import Header
from sparknet.serialization.reader.opening import OpenMessage

__all__ = ["Targets", "repeats"]

_COPY = "receive it in a copy, np.array(x), or of torch x.clone()"


Place = tuple[int, tuple[int, ...] | None]  # address and strides in bytes, as of Backend.place


class Targets:
    """The arrays that a message is received in, with their header.

    Raises
    ------
    ValueError
        An array may not be written to, or shares memory with itself or with another one; the message names it.
    """

    __slots__ = ("_header", "_tied", "arrays", "caller")

    def __init__(self, header: Header, arrays: list[Any], caller: str) -> None:
        self._header, self.arrays, self.caller = header, arrays, caller
        for tensor, array in enumerate(arrays):
            self._refuse(tensor, _read_only(array))
        self._tied = [] if _own_their_memory(arrays) else self._find_tied()

    def _refuse(self, tensor: int, problem: str) -> None:
        if problem:
            msg = f"{self.caller}: {self._named(tensor)} {problem}"
            raise ValueError(msg)

    def _find_tied(self) -> list[tuple[int, int]]:
        """Return the pairs of arrays that are one and the same; refuse what shares memory otherwise."""
        arrays, places, tied = self.arrays, list(map(_place, self.arrays)), []
        for n, (array, place) in enumerate(zip(arrays, places, strict=True)):
            if place is not None and place[1] is not None and repeats(array.shape, place[1], array.dtype.itemsize):
                self._refuse(n, f"has elements that share memory with one another; {_COPY}")
        if _lie_apart(places, self._header.sizes):
            return []
        blocks = [(*block, n) for n, array in enumerate(arrays) if array.size for block in _blocks(array, places[n])]
        for first, second in _overlaps(sorted(blocks)):
            one, other = arrays[first], arrays[second]
            if places[first] != places[second] or one.shape != other.shape or one.dtype != other.dtype:
                self._refuse(first, f"and {self._named(second)} share memory in part; {_COPY}")
            tied.append((first, second))
        return tied

    def check_fit(self, message: OpenMessage) -> None:
        """Refuse a message that does not fit; without checksums nothing tells whether tied weights have the same elements.

        Raises
        ------
        SchemaError
            It has another schema, or different elements for what is one array here.
        """
        check_fits(message.plan.header, self._header, self.caller)
        sums = message.checksums if self._tied else []
        for first, second in self._tied if sums else ():
            if sums[first] != sums[second]:
                msg = (
                    f"{self.caller}: {self._named(first)} and {self._named(second)} are the same memory here, as tied weights are, "
                    f"and the message has different elements for them; {_COPY}"
                )
                raise SchemaError(msg, tensor=self._header.tensor_names()[second])

    def _named(self, tensor: int) -> str:
        name = self._header.tensor_names()[tensor]
        return f"the array {name!r}" if name else "the array"


def repeats(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> bool:
    """Say whether elements of an array share bytes with one another.

    Parameters
    ----------
    shape, strides, itemsize
        As of ``numpy.ndarray``: in bytes, the strides of any sign.

    Examples
    --------
    >>> repeats((3, 4), (8, 8), 8), repeats((3, 4), (-8, 24), 8)
    (True, False)
    """
    if 0 in shape:
        return False
    axes = sorted((abs(step), side) for step, side in zip(strides, shape, strict=True) if side > 1)
    extent = itemsize
    for step, side in axes:
        if step < extent:
            break
        extent += step * (side - 1)
    else:
        return (
            False  # each step leads beyond what the smaller ones reach, as in every array that was sliced or transposed
        )
    span, count = itemsize + sum(step * (side - 1) for step, side in axes), prod(shape)
    if not axes[0][0] or count * itemsize > span:
        return True
    # Only strides that somebody chose come here: each byte of an element is marked, and the marks are counted.
    marks = np.zeros(span, np.uint8)
    steps, sides = zip(*axes, strict=True)
    np.ndarray((*sides, itemsize), np.uint8, marks, 0, (*steps, 1))[...] = 1
    return int(np.count_nonzero(marks)) < count * itemsize


def _read_only(array: Any) -> str:
    """Say why an array cannot be written to, and what to do; an empty string if it can."""
    if type(array) is np.ndarray:
        return (
            "" if array.flags.writeable else "is read-only, as a view of a message is; make a copy first, np.array(x)"
        )
    refuses = array._backend.write_refusal
    return "" if refuses is None else refuses(array._array)


def _own_their_memory(arrays: Sequence[Any]) -> bool:
    """Say whether all are arrays of numpy that own their memory, as most do. This is asked first: to compare addresses takes longer."""
    if not set(map(type, arrays)) <= {np.ndarray} or len(set(map(id, arrays))) < len(arrays):
        return False
    return all(array.flags.owndata and array.flags.forc for array in arrays)


def _place(array: Any) -> Place | None:
    """Return where an array lies; None where its library does not say."""
    if type(array) is np.ndarray:
        return array.__array_interface__["data"][0], None if array.flags.c_contiguous else array.strides
    place = array._backend.place
    return None if place is None else place(array._array)


def _lie_apart(places: list[Place | None], sizes: Sequence[int]) -> bool:
    """Say whether all arrays are in C order and each ends before the next begins; fast for thousands of arrays."""
    known = [place[0] for place in places if place is not None and place[1] is None]
    if len(known) < len(places):
        return False
    order = np.argsort(known)
    starts = np.array(known)[order]
    ends = starts + np.array(sizes)[order]
    return not np.any(starts[1:] < ends[:-1])


def _blocks(array: Any, place: Place | None) -> list[tuple[int, int]]:
    """Return (start, end) addresses of memory that is the array's alone: all of it, or its first and last run if it has holes."""
    if place is None:
        return []
    address, strides = place
    size = array.dtype.itemsize
    if strides is None:
        return [(address, address + array.size * size)]
    axes = [(step, side) for step, side in zip(strides, array.shape, strict=True) if side > 1]
    low = address + sum(step * (side - 1) for step, side in axes if step < 0)
    high = address + sum(step * (side - 1) for step, side in axes if step > 0) + size
    run = size
    for step, side in sorted((abs(step), side) for step, side in axes):
        run = run * side if step == run else run
    return [(low, low + run), (high - run, high)] if high - low > run else [(low, high)]


def _overlaps(blocks: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int]]:
    """Yield pairs of tensors whose blocks overlap: at least one if there are any. Blocks are (start, end, tensor), sorted."""
    furthest, owner = -1, -1
    for start, end, tensor in blocks:
        if start < furthest:
            yield min(owner, tensor), max(owner, tensor)
        if end > furthest:
            furthest, owner = end, tensor
