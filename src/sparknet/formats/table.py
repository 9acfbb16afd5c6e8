"""The table of formats: their names, suffixes and modules. A new format is a line here."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sparknet.errors import FormatError
from sparknet.formats import (
    binaryproto,
    caffemodel,
    caffemodel_h5,
    hdf5,
    message,
    npy,
    npz,
    safetensors,
    solverstate,
    torch_file,
)
from sparknet.formats.contents import Contents
from sparknet.formats.sniffing import format_of, given_path, looks

__all__ = ["FORMATS", "AnyPath", "format_by_suffix", "format_to_read"]

AnyPath = str | os.PathLike[str]


class _Format(NamedTuple):
    """A format. ``keeps`` are the entries of the metadata that it can hold; None: all. ``flat``: it has one name for each array."""

    suffixes: tuple[str, ...]
    keeps: tuple[str, ...] | None
    read: Callable[[Path, int | None], Contents]
    write: Callable[[Path, Any, dict[str, Any]], None]
    flat: bool = False

    def kept(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entries of the metadata that the format can hold."""
        return {key: value for key, value in metadata.items() if self.keeps is None or key in self.keeps}


FORMATS = {
    "sparknet": _Format((".sparknet", ".msg"), None, message.read, message.write),
    "npy": _Format((".npy",), (), npy.read, npy.write),
    "npz": _Format((".npz",), (), npz.read, npz.write, flat=True),
    "safetensors": _Format((".safetensors",), None, safetensors.read, safetensors.write, flat=True),
    "torch": _Format((".pt", ".pth"), (), torch_file.read, torch_file.write, flat=True),
    "caffemodel": _Format((".caffemodel",), ("name",), caffemodel.read, caffemodel.write),
    "caffemodel.h5": _Format((".caffemodel.h5", ".h5", ".hdf5"), (), caffemodel_h5.read, caffemodel_h5.write),
    "binaryproto": _Format((".binaryproto",), (), binaryproto.read, binaryproto.write),
    "solverstate": _Format((".solverstate",), solverstate.KEPT, solverstate.read, solverstate.write),
    "solverstate.h5": _Format((".solverstate.h5",), solverstate.KEPT, solverstate.read_h5, solverstate.write_h5),
}
_IN_HDF5 = ("caffemodel", "solverstate")  # Caffe looks at the contents, not at the name, to find HDF5
_BY_SUFFIX = {suffix: name for name, form in FORMATS.items() for suffix in form.suffixes}


def format_to_read(path: AnyPath, file_format: str | None) -> str:
    """Return the name of the format of a file: the one that was asked for, else that of the suffix or the contents."""
    try:
        name = format_by_suffix(path, file_format)
    except FormatError as error:
        if file_format is not None:
            raise
        found = format_of(path)
        if found in FORMATS:
            return found
        if found is None:
            msg = f"{error}{looks(Path(path))}"
            raise FormatError(msg, **vars(error)) from None
        msg = f"{os.fspath(path)!r} is a prototxt of a {found}, which holds no arrays; expected {', '.join(FORMATS)}"
        raise FormatError(msg, tensor=None, offset=None) from None
    return f"{name}.h5" if name in _IN_HDF5 and Path(path).is_file() and hdf5.is_hdf5(Path(path)) else name


def format_by_suffix(path: AnyPath, file_format: str | None) -> str:
    """Return the name of the format that was asked for, or that of the suffix."""
    name = given_path(path).name.lower()
    if file_format in FORMATS:
        return file_format
    found = [suffix for suffix in _BY_SUFFIX if name.endswith(suffix) and name != suffix]
    if file_format is None and found:
        return _BY_SUFFIX[max(found, key=len)]
    suffix = Path(path).suffix.lower()
    if file_format is None:
        msg = f"{os.fspath(path)!r}: got the suffix {suffix!r}, expected one of {', '.join(_BY_SUFFIX)}; or name the format"
    else:
        msg = f"got the format {file_format!r}, expected one of {', '.join(FORMATS)}"
    raise FormatError(msg, tensor=None, offset=None)
