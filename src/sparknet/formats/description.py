"""Describes a file of any known format: its tensors, their sizes, its metadata."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparknet.errors import FormatError
from sparknet.formats.contents import flatten
from sparknet.formats.conversion import read
from sparknet.formats.outline import outline
from sparknet.formats.prototxt import read_text
from sparknet.formats.sniffing import format_of, looks
from sparknet.formats.table import FORMATS
from sparknet.serialization.objects import take_apart
from sparknet.serialization.visible import visible

__all__ = ["ArrayInfo", "FileInfo", "describe"]


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """One array of a file.

    Parameters
    ----------
    name
        ``layer/i`` in weights; empty for a single array.
    dtype, shape
        Name of the element type; lengths of the axes.
    nbytes
        Size of the elements in bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What a file holds.

    Parameters
    ----------
    format
        Name of the format, as in :func:`~sparknet.formats.read`; ``"net"`` or ``"solver"`` for a prototxt.
    kind
        ``"array"``, ``"mapping"``, ``"weights"`` or ``"prototxt"``.
    tensors
        One entry for each array, in order.
    parameters, nbytes
        Number of all elements, and their size in bytes.
    file_nbytes
        Size of the file in bytes.
    metadata
        The file's metadata; for a prototxt, its plain fields.
    layers
        Name and type of each layer of a prototxt.
    """

    format: str
    kind: str
    tensors: tuple[ArrayInfo, ...]
    parameters: int
    nbytes: int
    file_nbytes: int
    metadata: dict[str, Any] = field(default_factory=dict)
    layers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Return a table: a line for the file, one for each array or layer."""
        size = f"{self.file_nbytes:,} bytes"
        if self.kind == "prototxt":
            count = f", {len(self.layers)} layers" if self.format == "net" else ""
            lines = [f"prototxt of a {self.format}{count}, {size}"]
        else:
            sums = f"{len(self.tensors)} tensors, {self.parameters:,} parameters, {self.nbytes:,} bytes"
            lines = [f"{self.format}: {self.kind}, {sums}; the file has {size}"]
        names = [visible(tensor.name) for tensor in self.tensors]
        width = max(map(len, names), default=0)
        lines += [
            f"  {name:<{width}}  {t.dtype:<10} {t.shape!s:<20} {t.nbytes:>15,} bytes"
            for name, t in zip(names, self.tensors, strict=True)
        ]
        layers = [(visible(name), visible(kind)) for name, kind in self.layers]
        width = max((len(name) for name, _ in layers), default=0)
        lines += [f"  {name:<{width}}  {kind}" for name, kind in layers]
        lines += [f"  {visible(key)}: {value!r}" for key, value in self.metadata.items()]
        return "\n".join(lines)


def describe(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> FileInfo:
    """Return what a file holds. Its format is told from its contents, not from its name.

    Parameters
    ----------
    path
        A weight file, a mean image, a solver's state, or a prototxt of a net or solver.
    max_bytes
        As for :func:`~sparknet.formats.read`.

    Raises
    ------
    FormatError
        The file is of no known format, damaged, or over ``max_bytes``.
    MissingDependency
        The package that its format needs is not installed.
    OSError
        The file cannot be read, or is a directory, FIFO, socket or device.

    Notes
    -----
    The whole file is read. For a message of sparknet, :func:`sparknet.inspect` reads the header alone.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> path = Path(tempfile.mkdtemp()) / "mean"
    >>> with path.open("wb") as file:
    ...     np.save(file, np.zeros((3, 2, 2), "float32"))
    >>> print(describe(path))
    npy: array, 1 tensors, 12 parameters, 48 bytes; the file has 176 bytes
        float32    (3, 2, 2)                         48 bytes
    """
    name = format_of(path)
    path = Path(path)
    size = path.stat().st_size
    if name in ("net", "solver"):
        found = outline(read_text(path)[0])
        assert found is not None
        return FileInfo(name, "prototxt", (), 0, 0, size, dict(found.fields), found.layers)
    if name is None:
        msg = f"{str(path)!r}: {size} bytes of no known format; expected {', '.join(FORMATS)}, or a prototxt of a net or solver{looks(path)}"
        raise FormatError(msg, tensor=None, offset=None)
    obj, metadata = read(path, file_format=name, max_bytes=max_bytes)
    kind = take_apart(obj).kind
    named = [("" if kind == "array" else name, array) for name, array in flatten(obj).items()]
    tensors = tuple(ArrayInfo(name, array.dtype.name, array.shape, array.nbytes) for name, array in named)
    parameters = sum(array.size for _, array in named)
    return FileInfo(name, kind, tensors, parameters, sum(t.nbytes for t in tensors), size, metadata)
