"""float32 to bfloat16 and float16 and back, a chunk at a time, by integer arithmetic on all values at once.

numpy's own conversion to float16 goes value by value, at half the speed. Rounding is to nearest, ties to even. Infinite
values stay infinite. NaN stays NaN: quiet, with its sign and the first bits of its payload.
"""

import numpy as np

from sparknet.serialization.memory.buffers import Array, Bytes

_U2, _U4, _I4, _F4 = (np.dtype(name) for name in ("<u2", "<u4", "<i4", "<f4"))
_HALF_OVERFLOW = 65520  # the smallest value that rounds to an infinite float16


def encode_bfloat16(singles: Array, stored: Bytes, scratch: Array, _: Array) -> int:
    """Keep the upper half of the bits, rounded. Return -1, because bfloat16 can hold every value."""
    bits, rounded = singles.view(_U4), scratch[0]
    np.right_shift(bits, 16, out=rounded)
    has_nan = np.isnan(np.maximum.reduce(singles))  # here, while the values are in the cache: that saves a tenth of all
    np.bitwise_and(rounded, 1, out=rounded)
    np.add(rounded, 0x7FFF, out=rounded)  # just below half a unit, or half a unit where the last bit kept is 1
    np.add(rounded, bits, out=rounded)
    np.right_shift(rounded, 16, out=rounded)
    if has_nan:  # rounding could carry into the sign, or leave an infinity
        nan = np.isnan(singles)
        rounded[nan] = bits[nan] >> 16 | 0x40
    np.copyto(stored.view(_U2), rounded, casting="unsafe")
    return -1


def decode_bfloat16(stored: Bytes, singles: Array, _: Array) -> str:
    """Fill the lower half of the bits with 0."""
    bits = singles.view(_U4)
    np.copyto(bits, stored.view(_U2))
    np.left_shift(bits, 16, out=bits)
    return ""


def encode_float16(singles: Array, stored: Bytes, scratch: Array, values: Array) -> int:
    """Return the index of the first finite value that would become infinite, or -1.

    To a value is added 8192 times its power of two (at least 2**-14, that of subnormal float16): the sum ends with the digit
    that the float16 ends with, so the addition rounds as wanted, and the sum's last bits count in its units. Exponent and
    those bits, moved together by an addition, are the float16, but for a constant: the factor is 8194 to make up for it.
    """
    magnitude, total = scratch.view(_F4)
    np.abs(singles, out=magnitude)
    special = None
    if not np.maximum.reduce(magnitude) < _HALF_OVERFLOW:
        special = ~(magnitude < _HALF_OVERFLOW)
        beyond = special & np.isfinite(values)
        if beyond.any():
            return int(beyond.argmax())
    bits, (result, other) = singles.view(_U4), scratch  # other: the bits of total
    np.bitwise_and(bits, 0x7F800000, out=other)
    np.maximum(total, 2**-14, out=total)
    np.multiply(total, 8194, out=total)
    np.add(total, magnitude, out=total)
    np.right_shift(other, 13, out=result)
    np.add(result, other, out=result)
    np.right_shift(bits, 16, out=other)
    np.bitwise_and(other, 0x8000, out=other)
    np.bitwise_or(result, other, out=result)
    if special is not None:
        odd = bits[special]
        result[special] = odd >> 16 & 0x8000 | 0x7C00 | odd >> 13 & 0x3FF | np.isnan(singles[special]) * 0x200
    np.copyto(stored.view(_U2), result, casting="unsafe")
    return -1


def decode_float16(stored: Bytes, singles: Array, scratch: Array) -> str:
    """Move the bits to their places and multiply by 2**112, the difference of the exponents' biases."""
    halves = stored.view(_U2)
    if _flushes_subnormals():
        np.copyto(singles, halves.view("<f2"))
        return ""
    bits = singles.view(_U4)
    np.copyto(singles.view(_I4), halves.view("<i2"))  # the sign fills the upper half
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, 0x8FFFFFFF, out=bits)
    np.multiply(singles, 2.0**112, out=singles)
    magnitude = scratch.view(_U2)[: len(halves)]
    np.bitwise_and(halves, 0x7FFF, out=magnitude)
    if np.maximum.reduce(magnitude) >= 0x7C00:
        bits[magnitude >= 0x7C00] |= 0x7F800000
    return ""


def _flushes_subnormals() -> bool:
    """Whether a library has told the processor to take subnormal numbers for 0; numpy's cast does no arithmetic on them."""
    return bool(np.float32(2**-149) * np.float32(2) == 0)
