"""The lossy encodings by their codes in a header, and the sizes that the format fixes: of chunks, of blocks, of encoded values."""

from collections.abc import Iterator

RAW, FLOAT16, BFLOAT16, INT8 = range(4)  # codes of the header's column ``encodings``
NAMES = {RAW: "raw", FLOAT16: "float16", BFLOAT16: "bfloat16", INT8: "int8"}

CHUNK = 1 << 17  # elements that are encoded and compressed at a time
BLOCK = 256  # values of int8 that share a scale; divides a chunk
SCALE = 4  # bytes of a scale


def encoded_size(encoding: int, count: int) -> int:
    """Return the size in bytes of ``count`` values in a lossy encoding.

    Examples
    --------
    >>> encoded_size(BFLOAT16, 300), encoded_size(INT8, 300)
    (600, 308)
    """
    return count + SCALE * -(-count // BLOCK) if encoding == INT8 else 2 * count


def chunk_lengths(count: int) -> Iterator[int]:
    """Yield the number of elements in each chunk of a tensor with ``count`` of them."""
    return (min(CHUNK, count - start) for start in range(0, count, CHUNK))
