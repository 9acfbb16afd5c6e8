"""Tells the format of a file from its contents, because people give files any names."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from sparknet.errors import FormatError
from sparknet.files.regular import open_regular, size_of
from sparknet.formats.hdf5 import is_hdf5, opened
from sparknet.formats.outline import outline
from sparknet.formats.prototxt import MAX_TEXT, read_text
from sparknet.serialization.given import is_message
from sparknet.serialization.message.foreign import likeness
from sparknet.serialization.message.layout import MAGIC

__all__ = ["format_of", "given_path", "looks"]

_MAGICS = {
    MAGIC[:-1]: "sparknet",
    b"\x93NUMPY": "npy",
    b"PK\x05\x06": "npz",
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19": "torch",  # of 2019 and before
}
_ZIP, _OF_TORCH = b"PK\x03\x04", b"/data.pkl"  # the first entry of torch.save
_FIELDS = 1 << 20  # most fields that are looked at: a file with more has elements that are not packed
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types
_HISTORY, _ITERATION = (3, _LENGTH), (1, _VARINT)
_LAYERS = {(2, _LENGTH), (100, _LENGTH)}  # of a NetParameter, the old and the new
_ELEMENTS = {(5, _LENGTH), (5, _FIXED32), (8, _LENGTH), (8, _FIXED64)}  # of a BlobProto


def format_of(path: str | os.PathLike[str]) -> str | None:
    """Return the name of a file's format, as in :func:`~sparknet.formats.read`; ``"net"`` or ``"solver"`` for a prototxt.

    Returns
    -------
    str or None
        None for an unknown format.

    Raises
    ------
    FormatError
        It is HDF5, but neither weights nor a solver's state.
    MissingDependency
        It is HDF5, and the package h5py is not installed.
    OSError
        The file cannot be read, or is a directory, FIFO, socket or device.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "lenet"
    >>> path.write_text('net: "lenet.prototxt" base_lr: 0.01')
    35
    >>> format_of(path)
    'solver'
    """
    path = given_path(path)
    with open_regular(path) as file:
        size = size_of(file)
        head = file.read(16)
        for magic, name in _MAGICS.items():
            if head.startswith(magic):
                return name
        if head.startswith(_ZIP):
            return "torch" if _first_entry(file).endswith(_OF_TORCH) else "npz"
        if 1 < int.from_bytes(head[:8], "little") <= size - 8 and head[8:9] == b"{":
            return "safetensors"
        if is_hdf5(path):
            return _in_hdf5(path)
        file.seek(0)
        try:
            return _in_protobuf(set(islice(_fields(file, size), _FIELDS))) or _in_text(path, size)
        except ValueError:
            return _in_text(path, size)


def _first_entry(file: BinaryIO) -> bytes:
    """Return the name of the first entry of a ZIP archive, as its header in front has it."""
    file.seek(0)
    head = file.read(30)
    return file.read(int.from_bytes(head[26:28], "little"))


def given_path(path: Any) -> Path:
    """Return a path that a caller passed as a Path.

    Raises
    ------
    TypeError
        It is something else, such as bytes or a file object. The message says which function takes that.
    """
    if isinstance(path, str) or (isinstance(path, os.PathLike) and isinstance(os.fspath(path), str)):
        return Path(path)
    if is_message(path):
        fix = "; sparknet.loads(message) reads a message in memory"
    elif hasattr(path, "read"):
        fix = "; sparknet.load(file) reads a message of sparknet from a stream, other formats have to be in a file"
    else:
        fix = "; of a path in bytes, write os.fsdecode(path)" if isinstance(path, bytes | os.PathLike) else ""
    msg = f"got {type(path).__name__}, expected the path of a file, str or PathLike{fix}"
    raise TypeError(msg)


def looks(path: Path) -> str:
    """Return what a file of unknown format looks like, as the end of a sentence; an empty text if that is unknown too."""
    with open_regular(path) as file:
        seems = likeness(file.read(64))
    return f"; it looks like {seems}" if seems else ""


def _in_hdf5(path: Path) -> str:
    with opened(path, None, ".h5") as root:
        names = root.names()
        if {"iter", "history"} <= set(names):
            return "solverstate.h5"
        if "data" in names and root.is_group("data"):
            return "caffemodel.h5"
    msg = (
        f"{str(path)!r}: an HDF5 file, but neither the weights of a Caffe net (a group 'data') nor a solver's state ('iter', "
        f"'history'); it holds {', '.join(names)[:200] or 'nothing'}"
    )
    raise FormatError(msg, tensor=None, offset=None)


def _in_protobuf(fields: set[tuple[int, int]]) -> str | None:
    """Return the format of a message with these fields, each a number and a wire type; None for an unknown one."""
    if _ITERATION in fields and _HISTORY in fields:
        return "solverstate"
    if fields & _LAYERS:
        return "caffemodel"
    return "binaryproto" if fields & _ELEMENTS and all(number < 10 for number, _ in fields) else None


def _fields(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield the number and the wire type of each field of a message in a file, without its contents; a ValueError if it is none."""
    while file.tell() < size:
        tag = _varint(file)
        number, wire = tag >> 3, tag & 7
        if not number or wire not in (_VARINT, _FIXED64, _LENGTH, _FIXED32):
            raise ValueError(tag)
        yield number, wire
        if wire == _VARINT:
            _varint(file)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}.get(wire) or _varint(file)
            if length > size - file.tell():  # also more than the system can seek
                raise ValueError(length)
            file.seek(length, 1)


def _varint(file: BinaryIO) -> int:
    value = 0
    for place in range(10):
        byte = file.read(1)
        if not byte:
            raise ValueError(value)
        value |= (byte[0] & 127) << 7 * place
        if byte[0] < 128:
            return value
    raise ValueError(value)


def _in_text(path: Path, size: int) -> str | None:
    if size > MAX_TEXT:
        return None
    try:
        found = outline(read_text(path)[0])
    except (FormatError, UnicodeDecodeError):
        return None
    return None if found is None else found.kind
