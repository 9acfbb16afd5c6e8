"""The bytes of a message: a header of 48 bytes, then a text and a body of the lengths that it says.

All is decided by the header: what kind it is, and whether its lengths are allowed. So nothing is allocated for a length that a
stranger made up. Nothing here reads or writes; :mod:`.wire` does.
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparknet.errors import DataError, FormatError
from sparknet.transport.messages import Beat, Close, Done, Failed, Hello, Pull, Rest, Slice, Work

__all__ = ["HEADER_BYTES", "Frame", "framed", "read_header", "works"]

_HEADER = struct.Struct(">4sB3xQqqQQ")  # magic, kind, round or shard, two numbers, bytes of the text, bytes of the body
HEADER_BYTES = _HEADER.size
_MAGIC = b"SNR1"
_TEXT = 1 << 20  # bytes
_TRACEBACK = 1 << 16

# kind -> (message, longest text, whether it has a body)
_KINDS: dict[int, tuple[type, int, bool]] = {
    1: (Hello, _TEXT, False),
    2: (Work, 0, True),
    3: (Done, _TEXT, False),
    4: (Failed, _TEXT, False),
    5: (Pull, 0, False),
    6: (Slice, 0, True),
    7: (Beat, 0, False),
    8: (Close, _TRACEBACK, False),
}
_NUMBERS = {message: number for number, (message, _, _) in _KINDS.items()}
_MADE: dict[type, Callable[["Frame", bytes, Any], Any]] = {
    Hello: lambda frame, text, _: Hello(frame.round, _about(text)),
    Work: lambda frame, _, body: Work(frame.round, body, *_exactly_and_ahead(*frame.numbers)),
    Done: lambda frame, text, _: Done(frame.round, *frame.numbers, *_parted(text)),
    Failed: lambda frame, text, _: Failed(frame.round, text),
    Pull: lambda frame, _, __: Pull(frame.round, frame.numbers[0]),
    Slice: lambda frame, _, body: Slice(frame.round, frame.numbers[0], body),
    Beat: lambda _, __, ___: Beat(),
    Close: lambda _, text, __: Close(text.decode(errors="replace")),
}


@dataclass(frozen=True)
class Frame:
    """A header that was read: how many bytes follow, and what they become."""

    kind: type
    round: int
    numbers: tuple[int, int]
    text_bytes: int
    body_bytes: int

    def message(self, text: bytes, body: Any) -> Any:
        """Return the message, or raise a FormatError; ``body`` is what was received for it, of ``body_bytes``."""
        return _MADE[self.kind](self, text, body)


def framed(message: Any) -> list[Any]:
    """Return what to send, part after part: header and text together, then the parts of the body.

    A body is bytes, or a sequence of them; it is not copied. A text that is too long is cut where it is for people, and else
    raises a FormatError.

    Examples
    --------
    >>> from sparknet.transport.messages import Slice
    >>> [len(part) for part in framed(Slice(1, 0, b"weights"))]
    [48, 7]
    """
    round_, first, second, text, body = 0, 0, 0, b"", []
    match message:
        case Hello(shard, about):
            round_, text = shard, json.dumps(about).encode()
        case Work(round_, parts, exactly, second):
            first, body = -1 if exactly is None else exactly, _parts(parts)
        case Done(round_, first, second, result, notes):
            text = len(result).to_bytes(4, "big") + result + notes
        case Failed(round_, reason):
            text = reason[:_TEXT]
        case Close(said):
            text = said.encode(errors="replace")[:_TRACEBACK]
        case Pull(round_, first):
            pass
        case Slice(round_, first, data):
            body = _parts(data)
    _check("text", type(message), len(text), _KINDS[_NUMBERS[type(message)]][1])
    size = sum(memoryview(part).nbytes for part in body)
    header = _HEADER.pack(_MAGIC, _NUMBERS[type(message)], round_, first, second, len(text), size)
    return [header + text, *body]


def works(bodies: Mapping[int, Any], shards: int) -> dict[int, Any]:
    """Return the parts of the work of each shard, or raise a DataError for what is not bytes, or of no shard.

    Examples
    --------
    >>> works({0: "weights"}, 1)
    Traceback (most recent call last):
    sparknet.errors.DataError: the work of shard 0 is str; expected contiguous bytes, or a sequence of them
    """
    if not bodies or any(shard not in range(shards) for shard in bodies):
        msg = f"got work for the shards {list(bodies)}; expected one or more of 0 to {shards - 1}"
        raise DataError(msg)
    found = dict[int, Any]()
    for shard, body in bodies.items():
        try:
            is_known = isinstance(body, Rest)
            found[shard] = Rest(body.holder, _views(body.rest), _views(body.whole)) if is_known else _views(body)
        except TypeError:
            msg = (
                f"the work of shard {shard} is {type(body).__name__}; expected contiguous bytes, or a sequence of them"
            )
            raise DataError(msg) from None
    return found


def read_header(header: bytes, *, longest: int, allowed: Sequence[type]) -> Frame:
    """Return what a header says, or raise a FormatError.

    Parameters
    ----------
    header
        48 bytes.
    longest
        Bytes that a body may have.
    allowed
        Messages that may come from there.

    Examples
    --------
    >>> from sparknet.transport.messages import Slice
    >>> read_header(framed(Slice(1, 0, bytes(10**6)))[0], longest=1000, allowed=[Slice])
    Traceback (most recent call last):
    sparknet.errors.FormatError: frame: Slice has a body of 1,000,000 bytes, expected at most 1,000
    """
    magic, kind, round_, first, second, text_bytes, body_bytes = _HEADER.unpack(header)
    message, longest_text, has_body = _KINDS.get(kind, (None, 0, False))
    if magic != _MAGIC or message is None or header[5:8] != b"\0\0\0":
        msg = f"frame: got {header[:8]!r}, expected {_MAGIC!r} and a kind of message"
        raise FormatError(msg)
    if message not in allowed:
        msg = f"frame: got {message.__name__}, expected one of {', '.join(each.__name__ for each in allowed)}"
        raise FormatError(msg)
    if second < 0 or first < -1 or (first < 0 and message is not Work):
        msg = f"frame: {message.__name__} has the numbers {first} and {second}, expected none below 0"
        raise FormatError(msg)
    _check("text", message, text_bytes, longest_text)
    _check("body", message, body_bytes, longest if has_body else 0)
    return Frame(message, round_, (first, second), text_bytes, body_bytes)


def _check(what: str, message: type, got: int, most: int) -> None:
    if got > most:
        msg = f"frame: {message.__name__} has a {what} of {got:,} bytes, expected at most {most:,}"
        raise FormatError(msg)


def _exactly_and_ahead(first: int, second: int) -> tuple[int | None, int]:
    """Return what the two numbers of Work say."""
    return None if first < 0 else first, second


def _parted(text: bytes) -> tuple[bytes, bytes]:
    """Return the result and the notes of a Done, which begins with the length of the first."""
    cut = 4 + int.from_bytes(text[:4], "big")
    if len(text) < cut:
        msg = f"frame: Done has a text of {len(text):,} bytes, expected at least {cut:,}"
        raise FormatError(msg)
    return text[4:cut], text[cut:]


def _views(body: Any) -> list[memoryview]:
    return [memoryview(part).cast("B") for part in _parts(body) if memoryview(part).nbytes]


def _parts(body: Any) -> list[Any]:
    """Return the parts of a body; what is bytes itself, such as an array, is one part and not a sequence of its elements."""
    try:
        memoryview(body)
    except TypeError:
        return list(body)
    return [body]


def _about(text: bytes) -> dict[str, str]:
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"frame: Hello is no JSON: {error}"
        raise FormatError(msg) from None
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        msg = "frame: Hello is no mapping of names to text"
        raise FormatError(msg)
    return about
