"""The functions that write messages: to bytes, into a buffer, as parts, to a file, to a stream."""

import os
from pathlib import Path
from typing import Any

from sparknet.files.replacing import replacing
from sparknet.serialization.given import check_writer, path_of
from sparknet.serialization.memory.streams import write_all, write_at
from sparknet.serialization.message.foreign import check_ending
from sparknet.serialization.writer.encode import pieces, prepare, to_buffer, to_bytes, to_parts

__all__ = ["dump", "dump_parts", "dumps", "dumps_into", "save"]


def dumps(
    obj: Any,
    *,
    encoding: str = "raw",
    compression: str | None = None,
    checksum: bool = True,
    metadata: dict[str, Any] | None = None,
) -> bytes:
    """Return the message of ``obj``.

    Parameters
    ----------
    obj
        An NDArray, a WeightCollection or a mapping ``str -> NDArray``; numpy's arrays and scalars are taken in the place of
        NDArrays. Any memory order, byte order and device: the bytes depend on names, order, shapes,
        dtypes and values alone. Arrays must not be changed meanwhile, by another thread say: the message might then be
        refused as damaged.
    encoding
        How float32 and float64 are written; other types are always raw. ``"raw"`` keeps every bit. With less precision:
        ``"bfloat16"`` (range of float32, 8 bits of precision; a float64 beyond it becomes infinite), ``"float16"`` (up to
        65,504, 11 bits), ``"int8"`` (off by less than 0.4 % of the largest of each 256 neighbours, or by 6e-39 if that is
        more). Readers get float32 or float64 again.
    compression
        ``"zstd"`` or ``"lz4"``: lossless and slow; weights that look random shrink by 10 to 20 %. Needs
        ``sparknet[compression]``. A tensor that does not shrink is written uncompressed.
    checksum
        Write a checksum for each tensor (4 bytes each, about the time of reading the tensor).
    metadata
        Plain values about the message: str -> str, int, float, bool, None, bytes, and lists and dicts of these
        up to 4 levels deep, 1,024 entries each. Tuples are refused, because they would come back as lists. It is read by
        ``loads(message, metadata=True)``, or without the arrays by ``inspect(message).metadata``.

    Returns
    -------
    bytes
        A copy of every tensor. Fresh memory of that size costs more than the copy: see
        :func:`dumps_into` and :func:`dump_parts` for large objects.

    Raises
    ------
    TypeError
        ``obj`` or the metadata is of another type, or an array has a dtype outside the list.
    ValueError
        A name holds a NUL character, a value of the metadata is not plain, a limit of the format is exceeded, the encoding or
        compression is unknown, or the encoding has no place for an element: a finite one that float16 would make infinite, one
        that is not finite as a float32 in int8.
    MissingDependency
        The library of the compression is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> message = dumps(np.arange(3, dtype="int16"))
    >>> len(message), message[2:12]
    (134, b'sparknet/1')
    """
    message = prepare(obj, encoding=encoding, compression=compression, checksum=checksum, metadata=metadata)
    return to_bytes(message)


def dump_parts(
    obj: Any,
    *,
    encoding: str = "raw",
    compression: str | None = None,
    checksum: bool = True,
    metadata: dict[str, Any] | None = None,
) -> list[memoryview]:
    """Return the message of ``obj`` as buffers for ``socket.sendmsg``, ``os.writev`` or a join.

    Parameters are those of :func:`dumps`.

    Returns
    -------
    list of memoryview
        Joined they are ``dumps(obj)``. Those of tensors share memory with ``obj``: do not change
        it before they are sent. Only arrays that are not C-contiguous, not little-endian or not on the host are copied.

    Examples
    --------
    >>> import numpy as np
    >>> array = np.arange(3, dtype="int16")
    >>> [len(part) for part in dump_parts(array)]
    [93, 35, 6]
    >>> np.shares_memory(dump_parts(array)[-1], array)
    True
    """
    message = prepare(obj, encoding=encoding, compression=compression, checksum=checksum, metadata=metadata)
    return to_parts(message)


def dumps_into(
    obj: Any,
    buffer: Any,
    *,
    encoding: str = "raw",
    compression: str | None = None,
    checksum: bool = True,
    metadata: dict[str, Any] | None = None,
) -> int:
    """Write the message of ``obj`` to the start of a buffer that is kept; return its size in bytes.

    Parameters
    ----------
    obj, encoding, compression, checksum, metadata
        As for :func:`dumps`.
    buffer
        Writable, contiguous memory: bytearray, memoryview, numpy array. Bytes after the message are left
        as they are. A numpy array used again and again is the fastest destination there is.

    Raises
    ------
    ValueError
        The buffer is too small (the message names the size needed) or read-only; nothing is written then.

    Examples
    --------
    >>> import numpy as np
    >>> from sparknet.serialization import loads
    >>> buffer = np.empty(200, "uint8")
    >>> size = dumps_into(np.arange(3, dtype="int16"), buffer)
    >>> size, loads(buffer[:size])
    (134, NDArray([0, 1, 2], shape=(3,), dtype=int16, device='cpu'))
    """
    message = prepare(obj, encoding=encoding, compression=compression, checksum=checksum, metadata=metadata)
    return to_buffer(message, buffer, "dumps_into()")


def save(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    obj: Any,
    *,
    encoding: str = "raw",
    compression: str | None = None,
    checksum: bool = True,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Write the message of ``obj`` to a file, atomically.

    The bytes go to a temporary file in the same directory, which takes the name ``path`` when they
    are on the disk: at every moment there is the old file or the new one, whole. Tensors are
    written from where they are, with no copy of the size of the message. A process that is killed while it writes leaves
    the temporary file, ``.sparknet-<machine>-<number>.tmp``; the next one that writes to that directory on this machine
    removes it.

    Parameters
    ----------
    path
        The file; one that exists is replaced (a reader that has it mapped keeps the old one), and its permissions are
        kept: one that is read-only is refused. Where it is a symbolic link, the file that the link leads to is replaced.
    obj, encoding, compression, checksum, metadata
        As for :func:`dumps`.

    Raises
    ------
    ValueError
        The path ends as the files of another program do (``.npz``, ``.caffemodel``, ``.pt``): nobody could read it by that name.
        :func:`sparknet.formats.write` writes those of other programs.
    OSError
        It cannot be written: no such directory, no permission, disk full, or what is there is no regular file (for a device or
        FIFO see :func:`dump`). The old file is as it was. Only if the last step fails, which syncs the directory, the new file
        is there, and a power failure may still undo that.

    Examples
    --------
    >>> import numpy as np
    >>> import tempfile
    >>> from sparknet.serialization import load
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save(directory + "/w.msg", {"a": np.ones(2)})
    ...     load(directory + "/w.msg")
    {'a': NDArray([1., 1.], shape=(2,), dtype=float64, device='cpu')}
    """
    target = path_of(path)
    if target is None:
        fix = "dump(obj, file)" if hasattr(path, "write") or hasattr(path, "sendall") else "save(path, obj)"
        msg = f"save(): got {type(path).__name__} for the path, expected str, bytes or PathLike; write {fix}"
        raise TypeError(msg)
    check_ending(target)
    write_file(target, obj, encoding=encoding, compression=compression, checksum=checksum, metadata=metadata)


def write_file(path: Path, obj: Any, *, follow_links: bool = True, **options: Any) -> None:
    """Write a message to a file of any ending, as :func:`save` does; ``options`` are those of :func:`dumps`."""
    message = prepare(obj, **{"encoding": "raw", "compression": None, "checksum": True, "metadata": None, **options})
    with replacing(path, follow_links=follow_links) as file:
        write_at(file, pieces(message))


def dump(
    obj: Any,
    fileobj: Any,
    *,
    encoding: str = "raw",
    compression: str | None = None,
    checksum: bool = True,
    metadata: dict[str, Any] | None = None,
) -> int:
    """Write the message of ``obj`` to a file object; return its size in bytes.

    Messages may follow one another: :func:`iter_load` reads them all.

    Parameters
    ----------
    obj, encoding, compression, checksum, metadata
        As for :func:`dumps`.
    fileobj
        A socket, or what has ``write(bytes-like)``: a binary file, a pipe. It needs no ``seek``. It is given the tensors' own
        memory and must not need it after ``write`` has returned. Writers that keep it, as asyncio's do, would send what is
        there later, so they are refused; give them ``dumps(obj)``.

    Raises
    ------
    TypeError
        ``fileobj`` is no such stream; the message says what to write instead.
    OSError
        The stream fails, or is a socket that does not block (BlockingIOError): of the latter nothing is written.
    ValueError, MissingDependency
        As for :func:`dumps`.

    Examples
    --------
    >>> import numpy as np
    >>> import io
    >>> stream = io.BytesIO()
    >>> dump(np.zeros(2), stream), dump({"a": np.ones(1)}, stream)
    (144, 136)
    """
    check_writer(fileobj, "dump()")
    message = prepare(obj, encoding=encoding, compression=compression, checksum=checksum, metadata=metadata)
    write_all(fileobj, to_parts(message))
    return message.size
