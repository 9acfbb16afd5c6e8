"""Reading, writing and converting weight files of any format."""

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparknet.errors import FormatError, SchemaError, SparknetError, located
from sparknet.files.regular import check_max_bytes
from sparknet.formats.casting import cast, check_cast
from sparknet.formats.contents import Contents, under_own_names
from sparknet.formats.table import FORMATS, AnyPath, format_by_suffix, format_to_read
from sparknet.serialization.message.metadata import check_metadata
from sparknet.serialization.objects import take_apart

__all__ = ["Conversion", "convert", "read", "write"]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion did.

    Parameters
    ----------
    source_format, target_format
        Names of the formats.
    kind
        ``"array"``, ``"mapping"`` or ``"weights"``.
    tensors, parameters, nbytes
        Number of arrays, number of their elements, and their size in bytes.
    lost
        What the target's format cannot hold: entries of the metadata, then layers without arrays.
    seconds
        Time for reading and writing.
    """

    source_format: str
    target_format: str
    kind: str
    tensors: int
    parameters: int
    nbytes: int
    lost: tuple[str, ...]
    seconds: float


def read(path: AnyPath, *, file_format: str | None = None, max_bytes: int | None = None) -> Contents:
    """Return what a weight file holds.

    Parameters
    ----------
    path
        The file.
    file_format
        ``"sparknet"``, ``"npy"``, ``"npz"``, ``"safetensors"``, ``"torch"``, ``"caffemodel"``, ``"caffemodel.h5"``,
        ``"binaryproto"``, ``"solverstate"`` or ``"solverstate.h5"``. Default: the format of the suffix, or of the contents if the suffix is unknown. A
        ``.caffemodel`` or ``.solverstate`` that is HDF5 is read as HDF5.
    max_bytes
        Most bytes that compressed contents may have when they are inflated: the tensors of a message as for
        :func:`sparknet.load`, all of an ``.npz`` archive or of HDF5. It is compared before anything is inflated. None: 1 GiB, or
        16 times the file if that is more. The tensors of a file of torch, which may show the same bytes, have as many at most. The other
        formats compress nothing. An ``.npz`` may be stored or deflated, as numpy
        writes it; other methods are refused.

    Returns
    -------
    Contents
        The object and its metadata. From a file with flat names it is a WeightCollection if all names are ``layer/0``, ``layer/1``,
        ..., and a mapping otherwise. Arrays may be read-only; ``copy()`` makes writable ones.

    Raises
    ------
    FormatError
        The file is damaged, of another format, over ``max_bytes``, or its suffix is unknown. The field ``tensor`` says where, if
        that is known.
    ValueError
        ``max_bytes`` is no number of bytes.
    MissingDependency
        The package that the format needs is not installed.
    OSError
        The file cannot be read, or is a directory, FIFO, socket or device.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> path = Path(tempfile.mkdtemp()) / "mean.npy"
    >>> np.save(path, np.zeros((3, 2, 2), "float32"))
    >>> read(path).obj.shape
    (3, 2, 2)
    """
    check_max_bytes(max_bytes)
    name = format_to_read(path, file_format)
    try:
        return FORMATS[name].read(Path(path), max_bytes)
    except FormatError as error:
        msg = f"{os.fspath(path)!r}: {error}"
        raise FormatError(msg, **vars(error)) from error


def write(path: AnyPath, obj: Any, *, file_format: str | None = None, metadata: dict[str, Any] | None = None) -> None:
    """Write a weight file. At every moment there is the whole old file or the whole new one.

    Parameters
    ----------
    path, file_format
        As for :func:`read`; a file that exists is replaced.
    obj
        An NDArray, a WeightCollection or a mapping ``str -> NDArray``; numpy arrays are taken too.
    metadata
        As for :func:`sparknet.dumps`. ``.safetensors`` keeps texts, and other values as JSON. ``.caffemodel`` holds ``"name"``
        alone, a solver state ``"learned_net"`` and ``"current_step"``, the other formats nothing.

    Raises
    ------
    TypeError
        ``obj`` or ``metadata`` is of another type, for example a masked array or a list. Nothing is written.
    SchemaError
        The format cannot hold the object: its dtype, a name, several arrays, over 2 GiB, metadata. Nothing is written.
    MissingDependency, OSError
        As for :func:`read`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> path = Path(tempfile.mkdtemp()) / "w.npz"
    >>> write(path, {"scale": np.ones(2, "float32")})
    >>> read(path).obj
    {'scale': NDArray([1., 1.], shape=(2,), dtype=float32, device='cpu')}
    """
    name = format_by_suffix(path, file_format)
    metadata = {} if metadata is None else metadata
    try:
        check_metadata(metadata)
        _check_kept(name, metadata)
        FORMATS[name].write(Path(path), obj, metadata)
    except ValueError as error:  # a limit of the format, or a name that cannot be encoded
        kind = type(error) if isinstance(error, SparknetError) else SchemaError
        msg = f"{os.fspath(path)!r}: {error}"
        raise kind(msg, **vars(error)) from error


def convert(
    source: AnyPath,
    target: AnyPath,
    *,
    source_format: str | None = None,
    target_format: str | None = None,
    max_bytes: int | None = None,
    dtype: str | None = None,
) -> Conversion:
    """Read one weight file and write its contents to another, which is replaced as a whole.

    Weights that a training of a torch module wrote know the names of its ``state_dict`` (``tensor_names`` of their metadata). Files with
    flat names, ``.npz``, ``.safetensors`` and ``.pt``, get these.

    Parameters
    ----------
    source, target
        The files; a target that exists is replaced.
    source_format, target_format
        As for :func:`read`.
    max_bytes
        For the source, as for :func:`read`.
    dtype
        Convert the arrays to ``"float16"``, ``"float32"`` or ``"float64"``, for a target that cannot hold their own dtype. 0-d whole
        numbers, such as counts of steps, stay as they are. None: convert nothing.

    Returns
    -------
    Conversion
        What was converted. ``lost`` names the metadata and the layers without arrays that the target cannot hold.

    Raises
    ------
    FormatError
        The source is damaged, of another format, or over ``max_bytes``.
    SchemaError
        The target's format, or ``dtype``, cannot hold what is in the source. Nothing is written.
    OSError
        A file cannot be read or written, or both are the same file.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.savez(folder / "w.npz", **{"ip/0": np.ones((2, 3)), "ip/1": np.ones(2)})
    >>> done = convert(folder / "w.npz", folder / "w.sparknet")
    >>> done.kind, done.tensors, done.parameters
    ('weights', 2, 8)
    """
    begin = time.perf_counter()
    if dtype is not None:
        check_cast(dtype)
    names = format_to_read(source, source_format), format_by_suffix(target, target_format)
    if Path(target).exists() and Path(source).samefile(target):
        msg = f"{os.fspath(target)!r} is the source itself; write to another file"
        raise shutil.SameFileError(msg)
    obj, metadata = read(source, file_format=names[0], max_bytes=max_bytes)
    if dtype is not None:
        with located(repr(os.fspath(source))):
            obj = cast(obj, dtype)
    if FORMATS[names[1]].flat:
        obj, metadata = under_own_names(obj, metadata)
    kept = FORMATS[names[1]].kept(metadata)
    write(target, obj, file_format=names[1], metadata=kept)
    kind, layers, counts, arrays = take_apart(obj)
    lost = [key for key in metadata if key not in kept]
    if names[1] != "sparknet":
        lost += [layer for layer, count in zip(layers, counts, strict=False) if not count]  # only weights have counts
    return Conversion(
        *names,
        kind,
        len(arrays),
        sum(array.size for array in arrays),
        sum(array.nbytes for array in arrays),
        tuple(lost),
        time.perf_counter() - begin,
    )


def _check_kept(name: str, metadata: Mapping[str, Any]) -> None:
    """Raise a SchemaError if a format cannot hold some of the metadata."""
    lost = sorted(metadata.keys() - FORMATS[name].kept(metadata).keys())
    if lost:
        msg = f"a file of format {name} has no place for the metadata {', '.join(lost)}"
        raise SchemaError(msg, got=lost)
