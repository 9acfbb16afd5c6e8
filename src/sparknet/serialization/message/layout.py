"""Where every byte of a message lies: one function of the header, for the writer and the reader.

A message declares no offset and no length of its own: all follow from the header (see
``docs/reference/format_v1.md``). The reader compares what lies between the payloads with the same
bytes that the writer would write, so overlaps, holes, hidden and trailing bytes cannot exist.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, compress, pairwise
from operator import ne, sub
from typing import Any, NamedTuple
from zlib import crc32

from sparknet.errors import FormatError
from sparknet.serialization.memory.buffers import ALIGNMENT
from sparknet.serialization.message.foreign import likeness

VERSION = 1
MAGIC = b"\x94\xaasparknet/1"  # array of 4; the version, a string of 10 bytes
START = len(MAGIC) + 5  # bytes before the header: the version and the header's length
HEAD = START + 10  # bytes before the first gap, the header not counted

MANY = 8  # neighbours that are alike are read together if they are more: fewer take less time one by one
MAX_BIN = 2**32 - 64  # longest payload in bytes; tests lower it. A longer tensor is split
MAX_HEADER = 2**26  # bytes
MAX_TENSORS = 2**17  # tensors in a message, and names
MAX_DIMS = 2**20  # axes of all tensors together
MAX_PAYLOAD = 2**48  # bytes of all tensors; bounds the number of splits

_UINT32 = 5  # bytes of a uint 32, or of the prefix of an array 32
_BIN8, _BIN32, _NIL = b"\xc4", b"\xc6", b"\xc0"
_SHORTEST = 6  # bytes of a gap: a pad of 1, a prefix of 5
# length of a gap -> the gap without the length of the payload that follows it
_GAPS = {6: _NIL + _BIN32} | {n: _BIN8 + bytes([n - 7]) + bytes(n - 7) + _BIN32 for n in range(7, 70)}


class MessageLayout(NamedTuple):
    """Offsets and lengths in bytes of every payload, and the gap (pad and prefix) before each."""

    starts: list[int]
    lengths: list[int]
    gaps: list[bytes]
    first: list[int]  # tensor -> index of its first payload; one entry more than tensors
    head_size: int  # bytes before the first gap
    total: int  # bytes of the whole message


def lay_out(header_size: int, sizes: list[int]) -> MessageLayout:
    """Return the layout of a message with a header of that size and tensors of these ``sizes`` in bytes."""
    lengths, first = _split(sizes)
    end = HEAD + header_size
    begin = (end + _SHORTEST + ALIGNMENT - 1) & -ALIGNMENT
    steps = [(length + _SHORTEST + ALIGNMENT - 1) & -ALIGNMENT for length in lengths]  # from one payload to the next
    widths = [begin - end, *map(sub, steps, lengths)]  # of the gaps; the last is left over: no payload follows
    starts = list(accumulate(steps, initial=begin))
    starts.pop()
    total = starts[-1] + lengths[-1] if lengths else end
    return MessageLayout(starts, lengths, list(map(_gap, widths, lengths)), first, end, total)


@lru_cache(maxsize=4096)
def _gap(width: int, length: int) -> bytes:
    """Return the ``width`` bytes before a payload of that length: a pad, and the prefix with the length."""
    return _GAPS[width] + length.to_bytes(4, "big")


def _split(sizes: list[int]) -> tuple[list[int], list[int]]:
    """Return the lengths of the payloads, and for each tensor the index of its first payload."""
    if max(sizes, default=0) <= MAX_BIN:
        return sizes, list(range(len(sizes) + 1))
    lengths: list[int] = []
    first = [0]
    for size in sizes:
        full, rest = divmod(size, MAX_BIN)
        lengths += [MAX_BIN] * full
        if rest or not full:
            lengths.append(rest)
        first.append(len(lengths))
    return lengths, first


def runs_of_equals(values: Sequence[Any]) -> list[range]:
    """Return where more than ``MANY`` neighbours are equal.

    Examples
    --------
    >>> runs_of_equals("a" * 9 + "b" * 8 + "c" * 100)
    [range(0, 9), range(17, 117)]
    """
    if len(values) <= MANY:
        return []
    changes = [] if are_equal(values) else compress(range(1, len(values)), map(ne, values, values[1:]))
    return [range(start, end) for start, end in pairwise([0, *changes, len(values)]) if end - start > MANY]


def are_equal(values: Sequence[Any]) -> bool:
    """Say whether all values are equal; there is at least one."""
    return values.count(values[0]) == len(values)


def head(header: bytes, payloads: int) -> bytes:
    """Return all bytes before the first gap."""
    return b"".join((MAGIC, _BIN32, len(header).to_bytes(4, "big"), header, _crc(header), _count(payloads)))


def header_size(begin: bytes) -> int:
    """Return the size in bytes of the header, from the first ``START`` bytes of a message.

    Raises
    ------
    FormatError
        These are not the first bytes of a message that this version reads.
    """
    if begin[: len(MAGIC)] != MAGIC:
        raise _not_ours(begin)
    if len(begin) < START:
        raise truncated(len(begin), "the length of the header")
    if begin[len(MAGIC) : -4] != _BIN32:
        msg = f"byte {len(MAGIC)} is 0x{begin[len(MAGIC)]:02x}, expected 0xc6: the header is a bin 32"
        raise FormatError(msg, tensor=None, offset=len(MAGIC))
    size = int.from_bytes(begin[-4:], "big")
    if size > MAX_HEADER:
        msg = f"byte {len(MAGIC) + 1}: the header's length is {size}, the limit is {MAX_HEADER} bytes"
        raise FormatError(msg, tensor=None, offset=len(MAGIC) + 1)
    return size


def check_header(header: bytes, after: bytes) -> None:
    """Compare the 5 bytes ``after`` the header with its CRC-32, written as a uint 32."""
    if len(after) < _UINT32:
        raise truncated(START + len(header) + len(after), "the header")
    if after != _crc(header):
        msg = f"the header is damaged: its CRC-32 does not match (bytes {START} to {START + len(header) + 4})"
        raise FormatError(msg, tensor=None, offset=START)


def check_count(header_size: int, after: bytes, payloads: int) -> None:
    """Compare the 5 bytes after the header's CRC-32 with the array 32 of that many pads and payloads."""
    at = START + header_size + 5
    if len(after) < _UINT32:
        raise truncated(at + len(after), "the number of payloads")
    if after != _count(payloads):
        msg = f"byte {at}: got {after.hex(' ')}, expected {_count(payloads).hex(' ')}: an array 32 of {2 * payloads} pads and payloads"
        raise FormatError(msg, tensor=None, offset=at)


def _crc(header: bytes) -> bytes:
    return b"\xce" + crc32(header).to_bytes(4, "big")


def _count(payloads: int) -> bytes:
    return b"\xdd" + (2 * payloads).to_bytes(4, "big")


def truncated(length: int, missing: str, tensor: str | None = None) -> FormatError:
    """Return the error of a message that ends after ``length`` bytes."""
    msg = f"truncated message: it ends at byte {length}, before the end of {missing}"
    return FormatError(msg, tensor=tensor, offset=length)


def _not_ours(begin: bytes) -> FormatError:
    if len(begin) < len(MAGIC) and MAGIC.startswith(begin):
        return truncated(len(begin), "the version")
    end = 2 + (begin[1] & 0x1F if len(begin) > 1 else 0)  # of a fixstr
    name, slash, version = begin[2:end].partition(b"/")
    if begin[:1] == MAGIC[:1] and name == b"sparknet" and slash:
        number = version.decode("ascii", "replace")
        msg = f"the message has version {number!r}, this reader knows up to {VERSION}; upgrade sparknet"
        return FormatError(msg, tensor=None, offset=1)
    seems = likeness(begin)
    looks = f"which looks like {seems}" if seems else f"expected {MAGIC!r}"
    msg = f"not a sparknet message: it begins with {begin[:12]!r}, {looks}"
    return FormatError(msg, tensor=None, offset=0)
