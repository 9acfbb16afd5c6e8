"""The functions that read a message: from bytes, from a file, from a stream, or the header alone."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from sparknet.serialization.given import check_reader, path_of
from sparknet.serialization.inspection import MessageInfo
from sparknet.serialization.memory.buffers import aligned, as_memory
from sparknet.serialization.memory.streams import read_at
from sparknet.serialization.message.layout import truncated
from sparknet.serialization.reader.decode import ReadOptions, decode
from sparknet.serialization.reader.opening import OpenMessage, check_gaps, open_message
from sparknet.serialization.reader.sources import (
    is_mappable,
    mapped,
    message_of,
    next_message,
    whole,
)
from sparknet.serialization.reader.verifying import check_tensors
from sparknet.serialization.reader.views import check_stored

__all__ = ["inspect", "load", "loads", "verify"]


def loads(
    buffer: Any,
    *,
    copy: bool = False,
    device: str | None = None,
    verify: bool | None = None,
    max_bytes: int | None = None,
    mmap: bool | None = None,
    metadata: bool = False,
) -> Any:
    """Return the object in a message.

    Parameters
    ----------
    buffer
        Exactly one message: bytes, bytearray, memoryview, mmap, numpy array of bytes.
    copy
        False: arrays are read-only views that share memory with ``buffer`` and keep all of it alive.
        True: arrays own their memory and are writable.
        Tensors that are encoded or compressed in the message become arrays of their own in both cases.
    device
        ``"cuda:N"`` copies the arrays there; by default they are on the host.
    verify
        Compare every tensor with its checksum, and refuse bools that are neither 0 nor 1. None does
        it for messages of up to 1 MiB, and whenever the elements are read anyway: with ``copy=True``
        or a device. Views of larger messages are not verified, so that their cost does not grow with
        the message: ask for it with
        ``verify=True``, which also refuses a message without checksums. The structure and the
        header's own checksum are always checked.
    max_bytes
        The most bytes that the compressed tensors of the message may have when they are inflated. Their size is known, and
        compared with this limit, before anything is inflated. None: 1 GiB, or 16 times the message if that is more.
    mmap
        As for :func:`load`, which maps files. Here False means ``copy=True``, and True changes nothing.
    metadata
        True: a pair of the object and what the writer said about the message. Of a message that is not to be read,
        ``inspect(buffer).metadata`` is the same.

    Returns
    -------
    NDArray, WeightCollection or dict of str to NDArray
        The kind that was written. A tensor over 4 GiB is always copied, because it lies in pieces.

    Raises
    ------
    FormatError
        The bytes are no message, or damaged; ``tensor`` (name or None) and ``offset`` (bytes) say where.
    MissingDependency
        The message holds bfloat16 or float8 and the package ml_dtypes is not installed; or it is compressed, and
        ``sparknet[compression]`` is not.

    Examples
    --------
    >>> from sparknet import NDArray
    >>> from sparknet.serialization import dumps
    >>> loads(dumps({"a": NDArray([1, 2])}))["a"]
    NDArray([1, 2], shape=(2,), dtype=int64, device='cpu')
    >>> loads(dumps(NDArray([1, 2]), metadata={"step": 7}), metadata=True)[1]
    {'step': 7}
    """
    message = open_message(as_memory(buffer, "loads()").toreadonly())
    obj = decode(message, ReadOptions(copy=copy or mmap is False, device=device, verify=verify, max_bytes=max_bytes))
    return (obj, dict(message.plan.header.metadata)) if metadata else obj


def load(
    source: Any,
    *,
    mmap: bool | None = None,
    copy: bool | None = None,
    keys: Collection[str] | None = None,
    device: str | None = None,
    verify: bool | None = None,
    max_bytes: int | None = None,
    metadata: bool = False,
) -> Any:
    """Return the object in a file, or the next one in a stream.

    Parameters
    ----------
    source
        The path (str, bytes or PathLike) of a file that holds exactly one message; also of a pipe or a device, such as
        ``/dev/stdin``. Or a stream: a socket, or a file object with ``readinto`` or ``read`` (``io.BytesIO``, ``gzip.open``,
        a member of a ZIP archive, what fsspec opens). Of a stream nothing behind the message is read.
    mmap
        True, the default: the file is mapped; arrays are read-only views, and their elements are read from the
        disk when they are used. :func:`save` replaces a file as a whole, so it may do so
        meanwhile; a program that shortens the file in place kills its readers.
        False: the elements are read now, arrays are writable and independent of the file. So they are in any case of a
        stream, a pipe or a device, which cannot be mapped.
    copy
        The same in the word of :func:`loads`: ``copy=True`` is ``mmap=False``.
    keys
        Only these names (layers, for weights), in the order of the file; the others are not checked, and from a file not read.
    device, verify, max_bytes
        As for :func:`loads`; None verifies files of up to 1 MiB, with ``mmap=False``, from a stream, or if a device is given.
    metadata
        True: a pair of the object and what the writer said about the message, as for :func:`loads`.

    Raises
    ------
    TypeError
        ``source`` is neither a path nor a stream that can be read here; the message says what to write instead.
    FormatError
        The file holds no message, or a damaged one; the error says what it looks like.
    StreamEnd
        A stream, not a path, has ended before the first byte of a message.
    KeyError
        A name in ``keys`` is not in the message.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> import io
    >>> import tempfile
    >>> from sparknet import NDArray
    >>> from sparknet.serialization import dumps, save
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save(directory + "/w.msg", {"a": NDArray([1, 2]), "b": NDArray([3])})
    ...     load(directory + "/w.msg", keys=["b"])
    {'b': NDArray([3], shape=(1,), dtype=int64, device='cpu')}
    >>> load(io.BytesIO(dumps(NDArray([1, 2]))))
    NDArray([1, 2], shape=(2,), dtype=int64, device='cpu')
    """
    if mmap is not None and copy is not None and mmap is copy:
        msg = f"load(): got mmap={mmap} and copy={copy}; expected one of them, or the opposite: copy=True is mmap=False"
        raise ValueError(msg)
    mmap = not copy if mmap is None else mmap
    options = ReadOptions(owned=True, device=device, verify=verify, keys=keys, max_bytes=max_bytes)
    path = path_of(source)
    if path is None:
        check_reader(source, "load()", paths=True)
        message = next_message(source)
    else:
        message, options = _of_file(path, options, mmap=mmap)
    obj = decode(message, options)
    return (obj, dict(message.plan.header.metadata)) if metadata else obj


def _of_file(path: Path, options: ReadOptions, *, mmap: bool) -> tuple[OpenMessage, ReadOptions]:
    """Return the message that is all of a file, mapped or read, and how to decode it then."""
    with path.open("rb") as file:
        if not is_mappable(file):
            return whole(file), options
        message = mapped(file)
        if mmap or options.keys is not None:
            return message, options._replace(copy=not mmap, owned=False)
        data = aligned(message.plan.layout.total)
        ends = read_at(file, data)
    if ends < len(data):
        raise truncated(ends, f"its {len(data)} bytes")
    return message._replace(data=data.data), options


def inspect(source: Any, *, verify: bool = False) -> MessageInfo:
    """Return what a message holds, from its header.

    Parameters
    ----------
    source
        The path of a file (str or PathLike), a message in a bytes-like object, or a stream as for :func:`load`. A stream that
        can seek is put back where it was; from another, such as a socket, the message is taken.
    verify
        Read everything too: structure, checksums, bools. Without, only the header and its
        checksum are read, and the size of the whole is compared with what the header says.

    Raises
    ------
    FormatError
        It is no message, or it is damaged; with ``verify=True`` also if it has no checksums.
    StreamEnd
        A stream has ended.

    Examples
    --------
    >>> from sparknet import NDArray
    >>> from sparknet.serialization import dumps
    >>> info = inspect(dumps({"a": NDArray([1, 2])}, metadata={"epoch": 3}))
    >>> info.kind, info.tensors[0].name, info.tensors[0].shape, info.metadata
    ('mapping', 'a', (2,), {'epoch': 3})
    """
    message = message_of(source, "inspect()")
    header = message.header()
    if verify:
        check_gaps(message)
        check_tensors(message, range(len(header.codes)), required=True)
        check_stored(message)
    return MessageInfo.of(header, message.plan.layout, verified=verify)


def verify(source: Any) -> None:
    """Read a whole message and raise a FormatError if anything in it is damaged.

    Parameters
    ----------
    source
        As for :func:`inspect`.

    Examples
    --------
    >>> from sparknet import NDArray
    >>> from sparknet.serialization import dumps
    >>> message = bytearray(dumps({"a": NDArray([1, 2])}))
    >>> verify(message)
    >>> message[-1] ^= 1
    >>> verify(message)
    Traceback (most recent call last):
    sparknet.errors.FormatError: tensor 'a' (from byte 128) is damaged: its checksum does not match
    """
    inspect(source, verify=True)
