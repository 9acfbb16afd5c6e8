"""Sparknet's own format, in the table of formats."""

import mmap
from pathlib import Path
from typing import Any

from sparknet.files.regular import open_regular, size_of
from sparknet.formats.contents import Contents
from sparknet.serialization import inspect, loads
from sparknet.serialization.writing import write_file

__all__ = ["read", "write"]


def read(path: Path, max_bytes: int | None) -> Contents:
    """Return the object and the metadata of a message; its checksums, if it has any, are compared.

    The file is opened once, because another file may replace it at any time.
    """
    with open_regular(path) as file:
        is_empty = not size_of(file)  # an empty file cannot be mapped
        data = b"" if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    info = inspect(data)
    has_checksums = any(tensor.checksum is not None for tensor in info.tensors)
    return Contents(loads(data, verify=has_checksums or None, max_bytes=max_bytes), info.metadata)


def write(path: Path, obj: Any, metadata: dict[str, Any]) -> None:
    """Write a message with checksums to a file of any name, because the caller named the format."""
    write_file(path, obj, metadata=metadata)
