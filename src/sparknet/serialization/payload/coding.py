"""How the elements of a tensor lie in its payload: as they are, encoded, compressed, or both.

Both ends work on chunks of 131,072 elements, on several cores where the elements lie in one piece of memory. Bytes come from
anywhere, in pieces of any size: blocks of an array that is not contiguous, or the payloads of a split tensor.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from sparknet.errors import FormatError
from sparknet.serialization.memory.buffers import Array, Bytes
from sparknet.serialization.memory.cores import each
from sparknet.serialization.memory.cutting import recut
from sparknet.serialization.payload.codes import CHUNK, RAW, chunk_lengths
from sparknet.serialization.payload.compression import Method, compress_chunk, inflate_chunk, method_of
from sparknet.serialization.payload.dtypes import BOOL, dtype_of, itemsize
from sparknet.serialization.payload.encodings import decode_into, encode_into, scratch_for
from sparknet.serialization.payload.form import Form, not_encodable

_LENGTH = 4  # bytes of an entry in the table of a compressed payload
_RUN = 8  # chunks that one core takes at a time


def encoded_chunks(form: Form, pieces: Iterable[Bytes]) -> Iterator[Bytes]:
    """Yield the payload of a tensor chunk by chunk; each is there until the next is asked for.

    Parameters
    ----------
    pieces
        The elements' bytes, little-endian and in C order, cut anywhere.

    Raises
    ------
    ValueError
        The encoding cannot hold an element.
    """
    width, count = itemsize(form.code), form.count
    chunks = recut(pieces, (length * width for length in chunk_lengths(count)))
    if form.encoding == RAW:
        yield from chunks
        return
    scratch, stored = scratch_for(min(count, CHUNK)), np.empty(form.size(min(count, CHUNK)), np.uint8)
    for index, chunk in enumerate(chunks):
        values = chunk.view(dtype_of(form.code))
        here = stored[: form.size(len(values))]
        bad = encode_into(form.encoding, values, here, scratch)
        if bad >= 0:
            raise not_encodable(form, index * CHUNK + bad, values[bad])
        yield here


def encode_elements(form: Form, elements: Bytes, stored: Bytes) -> None:
    """Encode a tensor on several cores.

    Parameters
    ----------
    elements
        Their bytes, little-endian and in C order.
    stored
        What to write to, ``form.size(form.count)`` bytes.

    Raises
    ------
    ValueError
        The encoding cannot hold an element.
    """
    values = elements.view(dtype_of(form.code))

    def work(start: int) -> int:
        stop = min(start + _RUN * CHUNK, len(values))
        here = stored[form.size(start) : form.size(stop)]
        return encode_into(form.encoding, values[start:stop], here, scratch_for(stop - start))

    starts = range(0, len(values), _RUN * CHUNK)
    for start, bad in zip(starts, each(work, starts), strict=True):
        if bad >= 0:
            raise not_encodable(form, start + bad, values[start + bad])


def compress(form: Form, pieces: Iterable[Bytes], compression: str) -> list[Bytes]:
    """Return the compressed payload of a tensor in parts, or nothing if it would not be smaller.

    Parameters
    ----------
    pieces
        As for :func:`encoded_chunks`.
    compression
        ``"zstd"`` or ``"lz4"``.
    """
    method, scratch = method_of(compression), np.empty(form.size(min(form.count, CHUNK)), np.uint8)
    chunks = [compress_chunk(method, chunk, form.width, scratch) for chunk in encoded_chunks(form, pieces)]
    table = np.array([len(chunk) for chunk in chunks], f"<u{_LENGTH}")
    if table.nbytes + int(table.sum()) >= form.size(form.count):
        return []
    return [table.view(np.uint8), *(np.frombuffer(chunk, np.uint8) for chunk in chunks)]


def decode_payload(
    form: Form, parts: list[Bytes], compression: str | None, elements: Array | None, offset: int
) -> None:
    """Decode a payload; without ``elements`` only check that it can be.

    Parameters
    ----------
    parts
        The tensor's payloads, of the length that its form and the header's column of lengths make them.
    compression
        How they are compressed; None: not at all.
    elements
        What to write to, C-contiguous and little-endian, of the form's dtype and shape.
    offset
        Of the first payload in bytes from the start of the message, for errors.

    Raises
    ------
    FormatError
        The bytes were not written by this format.
    MissingDependency
        The library of the compression is not installed.
    """
    length, together = (_RUN * CHUNK, 1) if compression is None else (CHUNK, _RUN)
    pieces = list(_pieces(form, parts, length, compression, offset))
    flat = None if elements is None else elements.reshape(-1).view(np.uint8)

    def work(run: range) -> None:
        opened = _opened(form, pieces[run.start : run.stop], run.start, compression, offset)
        scratch, width = scratch_for(min(length, form.count)), itemsize(form.code)
        spare = np.empty(0 if flat is not None else min(length, form.count) * width, np.uint8)
        for index, stored in zip(run, opened, strict=True):
            start, stop = index * length * width, min((index + 1) * length, form.count) * width
            target = spare[: stop - start] if flat is None else flat[start:stop]
            problem = _decode(form, stored, target, scratch)
            if problem:
                raise _damaged(form, problem, offset)

    each(work, (range(start, min(start + together, len(pieces))) for start in range(0, len(pieces), together)))


def _decode(form: Form, stored: Bytes, target: Bytes, scratch: Array) -> str:
    """Write the elements of some chunks; say what is wrong with them, or nothing."""
    if form.encoding != RAW:
        return decode_into(form.encoding, stored, target.view(dtype_of(form.code)), scratch)
    np.copyto(target, stored)
    return "a bool is neither 0 nor 1" if form.code == BOOL and target.max() > 1 else ""


def _pieces(form: Form, parts: list[Bytes], length: int, compression: str | None, offset: int) -> Iterator[Bytes]:
    """Yield a payload as it is stored, ``length`` elements at a time; those are a chunk if it is compressed."""
    if compression is None:
        yield from recut(parts, (form.size(min(length, form.count - at)) for at in range(0, form.count, length)))
        return
    table = _table(form, parts, offset)
    stored = recut(parts, chain([table.nbytes], map(int, table)))
    next(stored)
    yield from stored


def _opened(form: Form, chunks: list[Bytes], first: int, compression: str | None, offset: int) -> Iterator[Bytes]:
    """Yield pieces, if compressed inflated, each until the next is asked for."""
    if compression is None:
        yield from chunks
        return
    method, scratch = method_of(compression), np.empty(form.size(min(form.count, CHUNK)), np.uint8)
    for index, chunk in enumerate(chunks, first):
        size = form.size(min(CHUNK, form.count - index * CHUNK))
        yield chunk if len(chunk) == size else _inflated(form, method, chunk, scratch[:size], offset)


def _table(form: Form, parts: list[Bytes], offset: int) -> Array:
    """Return how many bytes each compressed chunk takes, from the start of the payload; costs no more memory than that."""
    total, chunks = sum(map(len, parts)), -(-form.count // CHUNK)
    if total > _LENGTH * chunks:
        table = next(recut(parts, [_LENGTH * chunks])).view(f"<u{_LENGTH}")
        most = np.full(chunks, form.size(CHUNK))
        most[-1] = form.size(form.count - CHUNK * (chunks - 1))
        if table.sum(dtype=np.uint64) == total - table.nbytes and ((table > 0) & (table <= most)).all():
            return table
    raise _damaged(form, "the lengths of its compressed chunks do not fit", offset)


def _inflated(form: Form, method: Method, stored: Bytes, chunk: Bytes, offset: int) -> Bytes:
    problem = inflate_chunk(method, stored, form.width, chunk)
    if problem:
        raise _damaged(form, problem, offset)
    return chunk


def _damaged(form: Form, problem: str, offset: int) -> FormatError:
    return FormatError(f"tensor {form.name!r} (from byte {offset}): {problem}", tensor=form.name, offset=offset)
