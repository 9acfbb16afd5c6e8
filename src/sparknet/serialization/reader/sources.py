"""Where messages come from: a path, memory or a stream. This module opens, maps and reads; what is in a message is others' business."""

import mmap as memory_map
import os
import stat
from typing import Any, BinaryIO

from sparknet.errors import FormatError, StreamEnd, shown
from sparknet.serialization.given import check_reader, path_of
from sparknet.serialization.memory.buffers import as_memory
from sparknet.serialization.message.layout import truncated
from sparknet.serialization.reader.opening import OpenMessage, head_of_stream, next_call, open_message, rest_of_stream


def is_stream(source: Any) -> bool:
    """Say whether this is a socket or a file object; memory, such as a mapped file, is no stream."""
    return any(hasattr(source, method) for method in ("recv_into", "readinto", "read")) and not is_memory(source)


def is_memory(source: Any) -> bool:
    """Say whether this is a bytes-like object."""
    try:
        memoryview(source)
    except TypeError:
        return False
    return True


def is_mappable(file: BinaryIO) -> bool:
    """Say whether an open file is a regular one with contents; pipes, devices and files of /proc are read as streams."""
    status = os.fstat(file.fileno())
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def mapped(file: BinaryIO) -> OpenMessage:
    """Return the message that is all of a regular file, mapped read-only."""
    return open_message(memoryview(memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ)), of_file=True)


def whole(file: BinaryIO) -> OpenMessage:
    """Return the message that is all of what a file gives until it ends, in memory of its own."""
    try:
        message = next_message(file)
    except StreamEnd:
        raise truncated(0, "the version") from None
    if file.read(1):
        total = message.plan.layout.total
        msg = f"the message ends at byte {total}, more bytes follow; {next_call(total, of_file=True)}"
        raise FormatError(msg, tensor=None, offset=total)
    return message


def next_message(stream: Any) -> OpenMessage:
    """Return the next message of a stream, in memory of its own, and read nothing behind it.

    Raises
    ------
    StreamEnd
        The stream has ended, after a message or before the first.
    FormatError
        It ends within a message, or holds something else.
    """
    head = head_of_stream(stream)
    if head is None:
        raise ended()
    return rest_of_stream(stream, head)


def ended() -> StreamEnd:
    """Return the exception of a stream that has no more messages."""
    return StreamEnd("the stream has ended: no byte of another message came, and all before it are whole")


def message_of(source: Any, caller: str) -> OpenMessage:
    """Return the message at a path, in memory or next in a stream; a stream that can seek is put back where it was.

    Bytes are a message, not a path: they may come from anywhere, and must not choose which file is opened.
    """
    path = None if isinstance(source, bytes) else path_of(source)
    if isinstance(source, bytes) and source.startswith(b"/"):
        msg = f"{caller}: got {shown(source)}, expected a message; of a path in bytes, write os.fsdecode(path)"
        raise FormatError(msg, tensor=None, offset=0)
    if path is not None:
        with path.open("rb") as file:
            return mapped(file) if is_mappable(file) else whole(file)
    if not is_stream(source):
        return open_message(as_memory(source, caller).toreadonly())
    check_reader(source, caller)
    if not (hasattr(source, "seekable") and source.seekable()):
        return next_message(source)
    place = source.tell()
    try:
        return next_message(source)
    finally:
        source.seek(place)
