"""Lossy encodings of float32 and float64 values: float16, bfloat16, and int8 with a scale for each block.

Functions from values to bytes and back, a few chunks of 131,072 values at a time, in scratch memory of twice that size. They know
nothing of messages and tensors: what cannot be encoded or decoded is returned, and the caller, who knows its name, raises.
The bytes of each encoding are fixed in ``docs/reference/format_v1.md``.

Everything is rounded once. float64 goes through a float32 that is rounded to odd: such a value lies halfway between two narrower
ones only if the original does, and else on the same side, if they have two bits less or fewer yet (Boldo and Melquiond,
"Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008).
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sparknet.serialization.memory.buffers import Array, Bytes
from sparknet.serialization.payload.codes import BFLOAT16, CHUNK, FLOAT16, INT8, encoded_size
from sparknet.serialization.payload.narrowing import decode_bfloat16, decode_float16, encode_bfloat16, encode_float16
from sparknet.serialization.payload.quantization import decode_int8, encode_int8

_GROUP = 4  # chunks that are computed at a time: threads that call numpy for less wait for one another
_U4, _I4, _F4 = (np.dtype(name) for name in ("<u4", "<i4", "<f4"))


def scratch_for(count: int) -> Array:
    """Return memory that :func:`encode_into` and :func:`decode_into` work in for up to ``count`` values at a time."""
    return np.empty((2, min(count, _GROUP * CHUNK)), _U4)


def encode_into(encoding: int, values: Array, stored: Bytes, scratch: Array) -> int:
    """Encode values; return the index of the first that the encoding cannot hold, or -1.

    Parameters
    ----------
    encoding
        One of the lossy codes of ``codes.NAMES``.
    values
        One axis, contiguous, little-endian float32 or float64. They are the start of a tensor, or follow on a whole
        number of chunks.
    stored
        ``encoded_size(encoding, len(values))`` bytes to write to; half written if a value cannot be held.
    scratch
        Of :func:`scratch_for`.

    Examples
    --------
    >>> values = np.float32([1, -2.5, 1 / 3])
    >>> stored, scratch = np.empty(encoded_size(INT8, 3), np.uint8), scratch_for(3)
    >>> encode_into(INT8, values, stored, scratch)
    -1
    >>> stored[4:].view(np.int8)
    array([  51, -127,   17], dtype=int8)
    >>> encode_into(INT8, np.float32([0, np.nan]), stored[:6], scratch)
    1
    """
    encode = _CODECS[encoding].encode
    with np.errstate(all="ignore"):  # signalling NaN, and float64 beyond float32, are what they are
        for here, there in _groups(encoding, len(values)):
            singles = _float32(values[here])
            bad = encode(singles, stored[there], scratch[:, : len(singles)], values[here])
            if bad >= 0:
                return int(here.start) + bad
    return -1


def decode_into(encoding: int, stored: Bytes, values: Array, scratch: Array) -> str:
    """Decode values; say what is wrong with the bytes, or nothing.

    Parameters
    ----------
    encoding, stored, scratch
        As for :func:`encode_into`.
    values
        One axis, contiguous, little-endian float32 or float64: what to write to.

    Examples
    --------
    >>> values = np.empty(3)
    >>> decode_into(BFLOAT16, np.frombuffer(bytes.fromhex("803f20c0ab3e"), np.uint8), values, scratch_for(3))
    ''
    >>> values
    array([ 1.        , -2.5       ,  0.33398438])
    """
    decode = _CODECS[encoding].decode
    for here, there in _groups(encoding, len(values)):
        target = values[here]
        singles = target if target.dtype == _F4 else scratch[0, : len(target)].view(_F4)
        problem = decode(stored[there], singles, scratch[1])
        if problem:
            return problem
        if singles is not target:
            with np.errstate(invalid="ignore"):  # signalling NaN, which a damaged message may hold
                np.copyto(target, singles)
    return ""


def _groups(encoding: int, count: int) -> Iterator[tuple[slice, slice]]:
    """Yield where groups of whole chunks lie among the values, and among the bytes; then the last chunk, if it is shorter."""
    whole = count // CHUNK * CHUNK
    ends = [*range(_GROUP * CHUNK, whole, _GROUP * CHUNK), *({whole} - {0}), *({count} - {whole})]
    for start, end in pairwise([0, *ends]):
        yield slice(start, end), slice(encoded_size(encoding, start), encoded_size(encoding, end))


def _float32(values: Array) -> Array:
    """Return values as float32: themselves, or rounded to odd; those beyond float32 become infinite."""
    if values.dtype == _F4:
        return values
    singles = values.astype(_F4)
    exact, back = np.abs(values), np.abs(singles).astype(values.dtype)
    bits = singles.view(_I4)
    even = ~bits & 1 & np.isfinite(singles)
    bits += even & (exact > back)
    bits -= even & (exact < back)
    return singles


class _Codec(NamedTuple):
    encode: Callable[[Array, Bytes, Array, Array], int]
    decode: Callable[[Bytes, Array, Array], str]


_CODECS = {
    FLOAT16: _Codec(encode_float16, decode_float16),
    BFLOAT16: _Codec(encode_bfloat16, decode_bfloat16),
    INT8: _Codec(encode_int8, decode_int8),
}
