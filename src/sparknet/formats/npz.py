"""Named arrays in a ``.npz`` file, in the format of ``numpy.savez``: a zip archive of ``.npy`` entries.

The archive is written here, because ``numpy.savez`` takes names as keyword arguments and so cannot write an array called
``file``. It is read here, because ``numpy.load`` allocates what a header declares.
"""

import zipfile
from pathlib import Path
from typing import Any

from numpy.lib import format as numpy_format

from sparknet.errors import FormatError, SchemaError
from sparknet.files.regular import inflated_limit, open_regular, size_of
from sparknet.files.replacing import replacing
from sparknet.formats.contents import Array, Contents, assemble, check_dtypes, flatten, refused
from sparknet.formats.npy import DTYPES, read_array

__all__ = ["read", "write"]

# zipfile inflates these two as far as it is asked; others a whole block at a time, for bzip2 45 MB from 46 bytes
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_OTHERS = {9: "deflate64", zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "lzma", 93: "zstd"}
_SUFFIX = ".npy"


def read(path: Path, max_bytes: int | None) -> Contents:
    """Return the arrays of a file, writable and independent of the file; the CRC of each is compared.

    ``max_bytes`` is the most that the archive may inflate to; None: 1 GiB, or 16 times its size if that is more.
    """
    with open_regular(path) as file, refused(".npz"):
        size = size_of(file)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_names(entries)
            _check_methods(entries)
            _check_inflated(sum(entry.file_size for entry in entries), size, max_bytes)
            return Contents(assemble({_name(entry): _array(archive, entry) for entry in entries}), {})


def write(path: Path, obj: Any, metadata: dict[str, Any]) -> None:  # noqa: ARG001 - the format has none
    """Write the arrays of ``obj`` without compression; equal arrays give equal bytes."""
    arrays = flatten(obj)
    check_dtypes(arrays, DTYPES, ".npz")
    for name in arrays:
        if "\0" in name:
            msg = f"the name {name!r} holds a NUL character, where a zip archive ends a name; rename it"
            raise SchemaError(msg, tensor=name)
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(name + _SUFFIX, "w", force_zip64=True) as entry:
                numpy_format.write_array(entry, array, allow_pickle=False)


def _name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.removesuffix(_SUFFIX)


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    name = _name(entry)
    with refused(".npz", name), archive.open(entry) as stream:
        return read_array(stream, entry.file_size, name)


def _check_names(entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    for name in names:
        if not name.endswith(_SUFFIX):
            torch = ": a file of torch.save, of the format 'torch', whose suffixes are .pt and .pth"
            fix = torch if name.endswith("/data.pkl") else ""
            msg = f"holds {name[:200]!r}; expected nothing but arrays ({_SUFFIX}){fix}"
            raise FormatError(msg, tensor=None, offset=None)
    if len(set(names)) != len(names):
        msg = f"a name occurs twice among {', '.join(names)[:200]}"
        raise FormatError(msg, tensor=None, offset=None)


def _check_methods(entries: list[zipfile.ZipInfo]) -> None:
    for entry in entries:
        if entry.compress_type not in _METHODS:
            how = _OTHERS.get(entry.compress_type, f"method {entry.compress_type} of ZIP")
            msg = (
                f"tensor {_name(entry)!r} is compressed by {how}; expected deflate or nothing, as numpy.savez_compressed and "
                "numpy.savez write it"
            )
            raise FormatError(msg, tensor=_name(entry), offset=None)


def _check_inflated(declared: int, size: int, max_bytes: int | None) -> None:
    """Refuse an archive that declares more than the limit. zipfile never inflates more than is declared."""
    limit = inflated_limit(size, max_bytes)
    if declared > limit:
        msg = (
            f"{size} bytes that become {declared}; the limit is {limit}. "
            f"Pass max_bytes={declared} if you trust where it comes from"
        )
        raise FormatError(msg, tensor=None, offset=None)
