"""Sparknet's own format, as one among the others."""

from pathlib import Path
from typing import Any

from sparknet.formats.contents import Contents
from sparknet.serialization import inspect, load, save

__all__ = ["read", "write"]


def read(path: Path) -> Contents:
    """Return the object and the metadata of a message; its checksums, if it has any, are compared."""
    info = inspect(path)
    has_checksums = any(tensor.checksum is not None for tensor in info.tensors)
    return Contents(load(path, verify=has_checksums or None), info.metadata)


def write(path: Path, obj: Any, metadata: dict[str, Any]) -> None:
    """Write a message with checksums."""
    save(path, obj, metadata=metadata)
