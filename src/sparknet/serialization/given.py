"""What callers give as a source or destination: whether it is one, and what to write instead, before a byte is read or written.

A stream blocks, takes or gives bytes, and no longer needs the buffer when the call returns. Whether an object is like that is
decided by its methods and by the classes that define them, so that no package has to be imported.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

from sparknet.errors import shown
from sparknet.files.regular import check_name
from sparknet.serialization.message.layout import MAGIC

__all__ = ["check_reader", "check_writer", "is_message", "path_of"]

_ASYNCHRONOUS = {"asyncio", "tornado", "uvloop"}  # packages whose writers keep the buffer, and send it later
_COROUTINE = 0x80  # flag of the code of an ``async def``: inspect.CO_COROUTINE
_PATH = 200  # characters of a path in a message


class _Side(NamedTuple):
    """One direction: the methods of which a stream has at least one, and what to write instead of everything else."""

    methods: tuple[str, ...]
    path: str
    memory: str
    asynchronous: tuple[str, str]  # what is wrong with it, and what to write
    text: tuple[str, str]
    carriers: dict[str, str]  # method of something else that carries messages -> how it does
    otherwise: str = ""


_WRITING = _Side(
    ("sendall", "write"),
    "write save(path, obj)",
    "write dumps_into(obj, buffer)",
    ("which keeps the arrays' memory and sends it later, when it may have changed", "write writer.write(dumps(obj))"),
    ("which takes text", "open it with mode 'wb'"),
    {
        "send_bytes": "write conn.send_bytes(dumps(obj))",
        "send_multipart": "write socket.send_multipart(dump_parts(obj)), or socket.send(dumps(obj))",
        "put_nowait": "write queue.put(dumps(obj))",
    },
    "write dump(obj, file), or save(path, obj)",
)
_READING = _Side(
    ("recv_into", "readinto", "read"),
    "write open(path, 'rb')",
    "write loads(message), or io.BytesIO(messages) for several",
    ("which has to be awaited", "await the bytes of a message, whose length the sender says first, and loads() them"),
    ("which gives text", "open it with mode 'rb'"),
    {
        "recv_bytes": "write loads(conn.recv_bytes())",
        "recv_multipart": "write loads(socket.recv())",
        "get_nowait": "write loads(queue.get())",
    },
)


def check_writer(given: Any, caller: str) -> None:
    """Refuse what a message cannot be written to.

    Raises
    ------
    TypeError
        It is a path, memory, asynchronous, a text file or no stream at all; the message says what to write instead.
    BlockingIOError
        It is a socket that does not block.
    """
    _check(given, _WRITING, caller, "a socket or a file object")


def check_reader(given: Any, caller: str, *, paths: bool = False) -> None:
    """Refuse what is no stream to read a message from, as :func:`check_writer` does; ``paths``: whether the caller takes paths too."""
    _check(given, _READING, caller, "a path, a socket or a file object" if paths else "a socket or a file object")


def path_of(source: Any) -> Path | None:
    """Return a path given as str, bytes or PathLike; None for anything else, and for bytes that are a message."""
    if isinstance(source, bytes) and source.startswith(MAGIC[:2]):
        return None
    if not isinstance(source, str | bytes | os.PathLike):
        return None
    path = Path(os.fsdecode(source))
    check_name(path)
    return path


def is_message(given: Any) -> bool:
    """Say whether these are bytes that begin as a message does."""
    return isinstance(given, bytes | bytearray) and given.startswith(MAGIC[:-1])


def _check(given: Any, side: _Side, caller: str, expected: str) -> None:
    what, fix = _wrong(given, side)
    if what:
        msg = f"{caller}: got {what}, expected {expected} with {' or '.join(side.methods[-2:])}{f'; {fix}' if fix else ''}"
        raise TypeError(msg)
    if hasattr(given, "gettimeout") and given.gettimeout() == 0:
        msg = f"{caller}: got a socket that does not block; set a timeout in seconds, sock.settimeout(30), or let it block"
        raise BlockingIOError(msg)


def _wrong(given: Any, side: _Side) -> tuple[str, str]:
    """Return what was given and what to write instead; two empty strings for a stream."""
    kind = type(given).__name__
    if is_message(given) or isinstance(given, bytearray | memoryview):
        return f"{kind}, a message in memory" if is_message(given) else kind, side.memory
    if isinstance(given, str | bytes | os.PathLike):
        return f"the path {shown(given, _PATH)}", side.path
    if any(hasattr(given, method) for method in side.methods):
        is_asynchronous = any(_is_asynchronous(given, method) for method in side.methods)
        if not is_asynchronous and not hasattr(given, "encoding"):
            return "", ""
        wrong, fix = side.asynchronous if is_asynchronous else side.text
        return f"{kind}, {wrong}", fix
    carriers = (fix for method, fix in side.carriers.items() if hasattr(given, method))
    return kind, next(carriers, side.otherwise)


def _is_asynchronous(given: Any, method: str) -> bool:
    """Say whether a method has to be awaited or keeps its argument; the class that defines it decides."""
    owner = next((kind for kind in type(given).__mro__ if method in vars(kind)), None)
    flags = getattr(getattr(getattr(given, method, None), "__code__", None), "co_flags", 0)
    return bool(flags & _COROUTINE) or (owner is not None and owner.__module__.partition(".")[0] in _ASYNCHRONOUS)
