"""HDF5 files as groups and arrays, through the package h5py (extra ``hdf5``). The only module that imports h5py.

A file may come from anywhere. HDF5 lets it refer to other files (external links, external and virtual data sets), declare
sizes that it does not hold, and inflate a few bytes to any size. So only hard links are followed, sizes are added up and
compared with a limit before memory is taken, and compressed chunks are inflated here up to their declared size, which
HDF5's own filter does not check.
"""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.errors import FormatError, MissingDependency
from sparknet.files.regular import inflated_limit, open_regular, size_of
from sparknet.files.replacing import replacing
from sparknet.formats.contents import Array, admitted, refused

__all__ = ["Group", "created", "is_hdf5", "opened"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_TEXT = 1 << 16  # most bytes of a text
_MEMBERS, _DEEPEST = 1 << 14, 2  # most members, and levels of groups, whose sizes are added up for a message
_DEFLATE, _SHUFFLE = 1, 2  # HDF5's numbers of filters
_USERBLOCKS = (0, *(512 << i for i in range(20)))  # where HDF5 looks for its signature


def is_hdf5(path: Path) -> bool:
    """Say whether a file is HDF5: by its signature, without h5py."""
    with open_regular(path) as file:
        size = size_of(file)
        for start in _USERBLOCKS:
            if start + len(SIGNATURE) > size:
                return False
            file.seek(start)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return True
    return False


@contextmanager
def opened(path: Path, max_bytes: int | None, suffix: str) -> Iterator["Group"]:
    """Open a file for reading; its arrays together may not have more than ``max_bytes``.

    Raises
    ------
    FormatError
        It is no HDF5 file, or is damaged. Reading inside of the block raises this too.
    MissingDependency
        The package h5py is not installed.
    """
    package = _package()
    with open_regular(path) as raw:  # for h5py too, so that the file that is checked is the one that is read
        size = size_of(raw)
        with refused(suffix), package.File(raw, "r") as file:
            yield Group(file, "", _Budget(file, size, inflated_limit(size, max_bytes)))


@contextmanager
def created(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that writes nested mappings of arrays, numbers and texts. The file is replaced as a whole."""
    package = _package()
    # h5py gets the file, not its name, so that a full disk raises the file's OSError, not HDF5's RuntimeError
    with replacing(path) as file, package.File(file, "w", track_order=True) as root:
        yield lambda tree: _fill(root, tree)


def _fill(group: Any, tree: Mapping[str, Any]) -> None:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            _fill(group.create_group(name, track_order=True), value)
        elif isinstance(value, str):  # of a fixed length, with a NUL at the end, which Caffe needs
            raw = value.encode()
            group.create_dataset(name, data=np.array(raw, f"S{len(raw) + 1}"))
        else:
            group.create_dataset(name, data=value)


def _package() -> Any:
    try:
        import h5py
    except ImportError as error:
        msg = "HDF5 files (.caffemodel.h5, .solverstate.h5) need the package h5py: pip install 'sparknet[hdf5]'"
        raise MissingDependency(msg, name="h5py") from error
    return h5py


class _Budget:
    """Bytes that may still be read from a file of ``size`` bytes."""

    def __init__(self, root: Any, size: int, limit: int) -> None:
        self.size, self.limit, self._taken, self._root = size, limit, 0, root

    def take(self, nbytes: int, name: str) -> None:
        """Refuse an array that brings the sum over the limit; the error says what all arrays need."""
        self._taken += nbytes
        if self._taken > self.limit:
            needed = max(self._taken, self._declared())
            msg = (
                f"{self.size} bytes that become {needed} (refused at the array {name!r}); the limit is {self.limit}. "
                f"Pass max_bytes={needed} if you trust where it comes from"
            )
            raise _wrong(msg, name)

    def _declared(self) -> int:
        """Return the size of all data sets of the file together, up to a number of members and a depth of groups."""
        return sum(_sizes(self._root, 0, iter(range(_MEMBERS))))


def _sizes(group: Any, depth: int, left: Iterator[int]) -> Iterator[int]:
    """Yield the sizes of the data sets in a group and in its groups; ``left`` ends after the most members that are looked at.

    HDF5's own visitor asks each object for more, which ends the process for some damaged files.
    """
    for _, name in zip(left, group, strict=False):
        found: Any = group[name] if _is_here(group, name) else None
        if isinstance(found, _package().Group) and depth < _DEEPEST:
            yield from _sizes(found, depth + 1, left)
        elif getattr(found, "shape", None) is not None:
            yield math.prod(found.shape) * found.dtype.itemsize


class Group:
    """A group of an open file; ``name`` is its path."""

    def __init__(self, group: Any, name: str, budget: _Budget) -> None:
        self._group, self._name, self._budget = group, name, budget

    def __contains__(self, name: str) -> bool:
        """Say whether there is a link of this name, of any kind."""
        return bool(self._group.id.links.exists(name.encode()))

    def names(self) -> list[str]:
        """Return the names in the order in which they were written, or sorted by their bytes if the file does not keep it."""
        names = list(self._group)
        for name in names:
            if not isinstance(name, str):  # h5py leaves what is no UTF-8 as bytes
                raise _wrong(f"{self._name!r} has the name {name[:200]!r}, which is not UTF-8", self._name)
        return names

    def is_group(self, name: str) -> bool:
        """Say whether a member is a group; refuse links other than hard links."""
        self._check_link(name)
        return isinstance(self._group[name], _package().Group)

    def group(self, name: str) -> "Group":
        """Return a group in this one."""
        if not self.is_group(name):
            raise _wrong(f"{self._path(name)!r} is no group", self._path(name))
        return Group(self._group[name], self._path(name), self._budget)

    def array(self, name: str) -> Array:
        """Return an array of numbers: a copy, in native byte order."""
        data = self._dataset(name, "fiu", "numbers")
        return admitted(self._path(name), self._read(data, self._path(name)))

    def integer(self, name: str) -> int:
        """Return a whole number."""
        data = self._dataset(name, "iu", "a whole number")
        if math.prod(data.shape) != 1:
            raise _wrong(f"{self._path(name)!r} has shape {data.shape}, expected one number", self._path(name))
        return int(self._read(data, self._path(name)).reshape(()))

    def text(self, name: str) -> str:
        """Return a text of a fixed length."""
        data = self._dataset(name, "S", "text of a fixed length")
        if data.shape != () or data.dtype.itemsize > _TEXT:
            msg = f"{self._path(name)!r} has shape {data.shape} and {data.dtype.itemsize} bytes, expected one text"
            raise _wrong(msg, self._path(name))
        return bytes(self._read(data, self._path(name)).item()).partition(b"\0")[0].decode()

    def _path(self, name: str) -> str:
        return f"{self._name}/{name}" if self._name else name

    def _check_link(self, name: str) -> None:
        if not _is_here(self._group, name):
            kind = self._group.get(name, getlink=True)
            what = type(kind).__name__ if kind is not None else "nothing"
            raise _wrong(f"{self._path(name)!r} is {what}; expected what is in the file itself", self._path(name))

    def _dataset(self, name: str, kinds: str, expected: str) -> Any:
        """Return a data set with elements of these kinds; refuse one with elements in other files."""
        path = self._path(name)
        self._check_link(name)
        data = self._group[name]
        if not isinstance(data, _package().Dataset):
            raise _wrong(f"{path!r} is no data set; expected {expected}", path)
        if data.shape is None or data.dtype.kind not in kinds:
            raise _wrong(f"{path!r} is of dtype {data.dtype}, expected {expected}", path)
        if data.is_virtual or data.external:
            raise _wrong(f"{path!r} has its elements in other files; expected them in this one", path)
        return data

    def _read(self, data: Any, path: str) -> Array:
        nbytes = math.prod(data.shape) * data.dtype.itemsize
        if data.chunks is not None:
            chunk = math.prod(data.chunks) * data.dtype.itemsize
            self._budget.take(max(nbytes, chunk), path)
            return _chunked(data, chunk, self._budget.size, path)
        self._budget.take(nbytes, path)
        stored = data.id.get_storage_size()
        if stored != nbytes or stored > self._budget.size:
            msg = f"{path!r} needs {nbytes} bytes for its shape {data.shape}; the file holds {stored}"
            raise _wrong(msg, path)
        return np.asarray(data[()]).reshape(data.shape)


def _chunked(data: Any, nbytes: int, size: int, path: str) -> Array:
    """Return the elements of a data set in chunks of ``nbytes`` bytes, in a file of ``size`` bytes; none is inflated further."""
    filters = _filters(data, path)
    expected = math.prod(-(-length // step) for length, step in zip(data.shape, data.chunks, strict=True))
    if data.id.get_num_chunks() != expected:
        raise _wrong(f"{path!r} has {data.id.get_num_chunks()} chunks, its shape needs {expected}", path)
    # all places at once: HDF5 counts from the first chunk to find one by its number
    found: list[tuple[tuple[int, ...], int]] = []
    data.id.chunk_iter(lambda chunk: found.append((chunk.chunk_offset, chunk.size)))
    out = np.empty(data.shape, data.dtype)
    for offset, stored in found:
        if stored > size:  # HDF5 would allocate it
            raise _wrong(f"{path!r}, the chunk at {offset}: {stored} bytes in a file of {size}", path)
        mask, raw = data.id.read_direct_chunk(offset)
        for bit, number in reversed(list(enumerate(filters))):
            if not mask >> bit & 1:
                raw = _undo(number, raw, nbytes, data.dtype.itemsize)
        if len(raw) != nbytes:
            raise _wrong(f"{path!r}, the chunk at {offset}: damaged, or not of {nbytes} bytes", path)
        place = tuple(slice(start, start + step) for start, step in zip(offset, data.chunks, strict=True))
        inside = tuple(slice(0, max(0, size - start)) for size, start in zip(data.shape, offset, strict=True))
        out[place] = np.frombuffer(raw, data.dtype).reshape(data.chunks)[inside]
    return out


def _is_here(group: Any, name: str) -> bool:
    """Say whether a member is in the file itself: a hard link, the only kind that does not lead elsewhere."""
    return type(group.get(name, getlink=True)) is _package().HardLink


def _filters(data: Any, path: str) -> list[int]:
    plan = data.id.get_create_plist()
    found = [plan.get_filter(i) for i in range(plan.get_nfilters())]
    for number, _, _, name in found:
        if number not in (_DEFLATE, _SHUFFLE):
            what = name.decode(errors="replace") or f"filter {number}"
            raise _wrong(f"{path!r} is stored by {what}; expected gzip, shuffle or nothing: h5repack -f NONE", path)
    return [number for number, *_ in found]


def _undo(number: int, raw: bytes, nbytes: int, itemsize: int) -> bytes:
    if number == _DEFLATE:
        return zlib.decompressobj().decompress(raw, nbytes + 1)
    return np.frombuffer(raw, np.uint8).reshape(itemsize, -1).T.tobytes()


def _wrong(message: str, name: str) -> FormatError:
    return FormatError(message, tensor=name, offset=None)
