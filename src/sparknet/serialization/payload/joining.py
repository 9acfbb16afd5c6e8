"""Many small tensors encoded and decoded together: a call of numpy takes as long as the arithmetic on thousands of elements.

The encodings work value by value, except int8, which has a scale for each block of 256 values. For int8 each tensor is filled up with
zeros to whole blocks. Zeros change no scale, and their codes are left out. So the bytes are those of each tensor encoded alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from sparknet.serialization.memory.buffers import Array, Bytes
from sparknet.serialization.payload.codes import BLOCK, CHUNK, INT8, RAW, SCALE, encoded_size
from sparknet.serialization.payload.dtypes import dtype_of
from sparknet.serialization.payload.encodings import decode_into, encode_into, scratch_for
from sparknet.serialization.payload.form import Form, not_encodable

_SMALL = 1 << 14  # elements of a tensor; for a larger one, a call of its own takes at most a twentieth of the time
_ZEROS = np.zeros(BLOCK)
_NO_CODES = np.zeros(BLOCK, np.uint8)


def is_small(form: Form) -> bool:
    """Say whether a tensor is encoded, and small enough to be worth joining."""
    return form.encoding != RAW and 0 < form.count <= _SMALL


def encode_small(forms: Sequence[Form], arrays: Sequence[Array]) -> list[Bytes]:
    """Return the payloads of small tensors on the host, in any memory and byte order; they are views of few arrays.

    Raises
    ------
    ValueError
        An encoding cannot hold an element; the message names the tensor.
    """
    payloads: list[Bytes] = []
    for group in _groups(forms):
        payloads += _encode([forms[n] for n in group], [arrays[n] for n in group])
    return payloads


def decode_small(forms: Sequence[Form], payloads: Sequence[Bytes], one: Callable[[int], Array]) -> list[Array]:
    """Return small tensors as arrays that own their memory.

    Parameters
    ----------
    forms, payloads
        Of each tensor, the payload not compressed.
    one
        Decodes one tensor, by its index. It is called for each tensor of a group that cannot be decoded, so that the error
        names the damaged one.
    """
    arrays: list[Array] = []
    for group in _groups(forms):
        found = _decode([forms[n] for n in group], [payloads[n] for n in group])
        arrays += list(map(one, group)) if found is None else found
    return arrays


def _groups(forms: Sequence[Form]) -> Iterator[range]:
    """Yield runs of neighbours of one encoding and element type that take a chunk together, at most."""
    start, total, last = 0, 0, None
    for n, form in enumerate(forms):
        length, kind = _padded(form), (form.encoding, form.code)
        if n > start and (kind != last or total + length > CHUNK):
            yield range(start, n)
            start, total = n, 0
        total, last = total + length, kind
    if forms:
        yield range(start, len(forms))


def _padded(form: Form) -> int:
    """Return how many elements a tensor takes in a group."""
    return -(-form.count // BLOCK) * BLOCK if form.encoding == INT8 else form.count


def _with_pads(padded: Iterable[int], parts: Iterable[Array], pad: Array) -> list[Array]:
    """Return each part, followed by what fills it up to its padded length."""
    return [piece for length, part in zip(padded, parts, strict=True) for piece in (part, pad[: length - len(part)])]


def _encode(forms: list[Form], arrays: list[Array]) -> list[Bytes]:
    encoding, dtype = forms[0].encoding, dtype_of(forms[0].code)
    flat: list[Any] = [array.reshape(-1) for array in arrays]
    counts, padded = list(map(len, flat)), list(map(_padded, forms))
    parts = _with_pads(padded, flat, _ZEROS) if encoding == INT8 else flat
    values = np.concatenate(parts, dtype=dtype, casting="same_kind")
    stored = np.empty(encoded_size(encoding, len(values)), np.uint8)
    bad = encode_into(encoding, values, stored, scratch_for(len(values)))
    if bad >= 0:
        ends = np.cumsum(padded)
        n = int(np.searchsorted(ends, bad, side="right"))
        raise not_encodable(forms[n], bad - int(ends[n]) + padded[n], values[bad])
    if encoding == INT8:
        stored = _by_tensor(stored, counts, padded)
        sizes = [count + SCALE * (length // BLOCK) for count, length in zip(counts, padded, strict=True)]
    else:
        sizes = [encoded_size(encoding, count) for count in counts]
    ends = np.cumsum(sizes).tolist()
    return [stored[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _by_tensor(stored: Bytes, counts: list[int], padded: list[int]) -> Bytes:
    """Return scales and codes tensor by tensor, from the scales of all tensors and then the codes of all."""
    scale, code = 0, SCALE * (sum(padded) // BLOCK)
    pieces: list[Bytes] = []
    for count, length in zip(counts, padded, strict=True):
        scales = SCALE * (length // BLOCK)
        pieces += [stored[scale : scale + scales], stored[code : code + count]]
        scale, code = scale + scales, code + length
    return np.concatenate(pieces)


def _decode(forms: list[Form], payloads: list[Bytes]) -> list[Array] | None:
    """Return the tensors of a group, or None where something is wrong with one of them."""
    encoding, padded, counts = forms[0].encoding, list(map(_padded, forms)), [form.count for form in forms]
    if encoding == INT8:
        begins = [len(payload) - count for payload, count in zip(payloads, counts, strict=True)]
        scales = [payload[:begin] for payload, begin in zip(payloads, begins, strict=True)]
        codes = [payload[begin:] for payload, begin in zip(payloads, begins, strict=True)]
        stored = np.concatenate([*scales, *_with_pads(padded, codes, _NO_CODES)])
    else:
        stored = np.concatenate(payloads)
    values = np.empty(sum(padded), dtype_of(forms[0].code))
    if decode_into(encoding, stored, values, scratch_for(len(values))):
        return None
    starts = [0, *np.cumsum(padded).tolist()]
    each = zip(starts, counts, forms, strict=False)
    return [values[start : start + count].reshape(form.shape).copy() for start, count, form in each]
