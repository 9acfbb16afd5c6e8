"""Bytes that come in pieces of any size, cut to other sizes."""

from collections.abc import Iterable, Iterator

import numpy as np

from sparknet.serialization.memory.buffers import Bytes


def recut(pieces: Iterable[Bytes], sizes: Iterable[int]) -> Iterator[Bytes]:
    """Yield the bytes of ``pieces`` in runs of these sizes: views where a run lies in one piece, else joined.

    Examples
    --------
    >>> pieces = [np.frombuffer(piece, np.uint8) for piece in (b"abcd", b"e", b"fg")]
    >>> [run.tobytes() for run in recut(pieces, [2, 3, 2])]
    [b'ab', b'cde', b'fg']
    """
    source, piece = iter(pieces), np.empty(0, np.uint8)
    for size in sizes:
        parts, missing = [], size
        while missing:
            if not len(piece):
                piece = next(source)
                continue
            parts.append(piece[:missing])
            piece = piece[missing:]
            missing -= len(parts[-1])
        yield parts[0] if len(parts) == 1 else np.concatenate(parts)
