"""iter_load: all messages of a stream, one after another."""

from collections.abc import Iterator
from typing import Any

from sparknet.serialization.given import check_reader
from sparknet.serialization.reader.decode import ReadOptions, decode
from sparknet.serialization.reader.opening import head_of_stream, rest_of_stream

__all__ = ["iter_load"]


def iter_load(
    fileobj: Any,
    *,
    device: str | None = None,
    verify: bool | None = None,
    max_bytes: int | None = None,
    metadata: bool = False,
) -> Iterator[Any]:
    """Iterate over the objects in a stream of messages, as :func:`dump` writes it.

    Parameters
    ----------
    fileobj
        A socket, or a file object with ``readinto`` or ``read``: a binary file, a pipe. Nothing behind a message
        is read before the next object is asked for.
    device, verify, max_bytes
        As for :func:`loads`; None verifies.
    metadata
        True: pairs of an object and its message's metadata, such as the number of a step.

    Yields
    ------
    NDArray, WeightCollection or dict of str to NDArray
        The arrays of a message are writable and share one buffer that is theirs alone.

    Raises
    ------
    TypeError
        ``fileobj`` is no stream: a path, bytes, an asynchronous reader. The message says what to write instead.
    FormatError
        The stream ends within a message, or holds something else. Memory grows with the bytes
        that have come, whatever the header promises.

    Examples
    --------
    >>> import io
    >>> from sparknet import NDArray
    >>> from sparknet.serialization import dumps
    >>> stream = io.BytesIO(dumps(NDArray([1]), metadata={"step": 7}) + dumps(NDArray([2]), metadata={"step": 8}))
    >>> [(int(array[0]), facts["step"]) for array, facts in iter_load(stream, metadata=True)]
    [(1, 7), (2, 8)]
    """
    check_reader(fileobj, "iter_load()")
    return _objects(
        fileobj, ReadOptions(owned=True, device=device, verify=verify, max_bytes=max_bytes), metadata=metadata
    )


def _objects(stream: Any, options: ReadOptions, *, metadata: bool) -> Iterator[Any]:
    while head := head_of_stream(stream):
        # not bound to names here: the caller alone decides how long they live
        if metadata:
            yield decode(rest_of_stream(stream, head), options), dict(head.plan.header.metadata)
        else:
            yield decode(rest_of_stream(stream, head), options)
