"""Lossless WebP images of many groups of code tables, which libwebp holds all at once, written bit by bit.

The format is "WebP Lossless Bitstream Specification" (RFC 9649, section 3): a group for each square of 4 x 4 pixels, numbered by an
image of its own, and five codes of one symbol each in a group.
"""

import struct

__all__ = ["webp_of_groups"]

_GROUPS = 1 << 16  # a group has a number of 16 bits
_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8)  # in which the lengths of the codes of code lengths are written


class _Bits:
    """Bits, the lowest first."""

    def __init__(self) -> None:
        self._value = self._count = 0
        self._bytes = bytearray()

    def put(self, *pairs: tuple[int, int]) -> None:
        """Append values of so many bits each."""
        for value, count in pairs:
            self._value |= value << self._count
            self._count += count
            while self._count >= 8:
                self._bytes.append(self._value & 0xFF)
                self._value, self._count = self._value >> 8, self._count - 8

    def contents(self) -> bytes:
        """Return the bytes, and zeros behind them, which a decoder may look at."""
        return bytes(self._bytes) + bytes([self._value]) + bytes(16)


def webp_of_groups(side: int) -> bytes:
    """Return a black image of ``side`` x ``side`` pixels, with a group for each 4 x 4 of them, 65,536 at most."""
    squares = (side // 4) ** 2
    bits = _Bits()
    bits.put((0x2F, 8), (side - 1, 14), (side - 1, 14), (0, 4))  # signature, size, no transparency, version
    bits.put((0, 1), (0, 1), (1, 1), (0, 3))  # no transform, no cache of colors, groups, of 4 x 4 pixels
    bits.put((0, 1))  # the image of numbers has no cache
    for alphabet in (280, 256):  # green with the low eight bits of a number, red with the high ones
        bits.put((0, 1), (len(_ORDER) - 4, 4), *((int(length in (0, 8)), 3) for length in _ORDER), (0, 1))
        bits.put(*((int(symbol < 256), 1) for symbol in range(alphabet)))  # 256 codes of eight bits
    bits.put(*[(1, 4)] * 3)  # blue, transparency, distance: one symbol, 0
    for number in range(squares):
        bits.put((_reversed(number & 0xFF), 8), (_reversed(number >> 8 & 0xFF), 8))
    bits.put(*[(1, 4)] * (5 * min(squares, _GROUPS)))
    data = bits.contents()
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _reversed(value: int) -> int:
    return int(f"{value:08b}"[::-1], 2)
