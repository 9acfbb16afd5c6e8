"""Messages received in arrays that are there already, without a copy that can be avoided.

Only encoded or compressed messages need memory of their size.
"""

from typing import Any

import numpy as np

from sparknet.ndarray.array import NDArray, wrap
from sparknet.serialization.given import check_reader
from sparknet.serialization.memory.buffers import Array, Bytes, as_bytes, as_memory, is_ready
from sparknet.serialization.memory.checksum import CACHED, Checksum, checksum, transfer
from sparknet.serialization.memory.streams import read_into
from sparknet.serialization.message.header import Header
from sparknet.serialization.message.layout import truncated
from sparknet.serialization.message.plans import Plan
from sparknet.serialization.objects import describe
from sparknet.serialization.payload.dtypes import BOOL
from sparknet.serialization.reader.opening import (
    OpenMessage,
    check_gap,
    check_gaps,
    head_of_stream,
    open_message,
    rest_of_stream,
)
from sparknet.serialization.reader.sources import ended, is_memory
from sparknet.serialization.reader.targets import Targets
from sparknet.serialization.reader.verifying import DAMAGED, NO_BOOL, check_tensors, has_checksums, refuse_bools, wrong
from sparknet.serialization.reader.views import views

__all__ = ["load_into"]


def load_into(weights: Any, source: Any, *, verify: bool | None = None) -> dict[str, Any]:
    """Receive one message into arrays that are there already; return the message's metadata.

    Parameters
    ----------
    weights
        A WeightCollection, a mapping name -> array, or one array: NDArrays on any device, writable numpy arrays. Kind,
        names, order, shapes and dtypes must be those of the message.
    source
        A bytes-like object that is one message, or a stream: a socket, or a file object with ``readinto`` or
        ``read``. Of a stream nothing behind the message is read.
    verify
        None compares tensors with their checksums where there are any, True refuses a message without, False
        leaves it out. Bools that are neither 0 nor 1 are refused in any case.

    Returns
    -------
    dict
        What the writer said about the message, such as the number of a step; empty if nothing.

    Raises
    ------
    StreamEnd
        The stream has ended, between messages: none came.
    SchemaError
        The message does not fit, or has different elements for what is one array here under two names, as tied weights are. Nothing was
        written; of a stream the rest of the message is not read, so it is of no more use.
    FormatError
        It is no message, damaged, or ends early. Nothing was written if ``source`` is bytes-like. From a stream,
        tensors before the damage have arrived and later ones are as before; the one it is in may be half written.
    OSError
        The stream fails, by a timeout say: as after a FormatError from a stream.
    ValueError
        An array is read-only, or its library refuses to write to it, as torch does to a parameter (pass its ``.detach()``); or
        elements share memory, within one array (``np.broadcast_to``, ``as_strided``, ``expand``) or of two: nothing was read.

    Notes
    -----
    What is encoded or compressed is decoded in memory of its own first: of a stream, the whole message and its arrays.
    Contiguous tensors of torch on the CPU are written to as numpy's arrays are; autograd is told, as by torch's own writing.

    Examples
    --------
    >>> from sparknet.serialization import dumps
    >>> live = {"a": np.zeros(3), "b": np.zeros(2, "int8")}
    >>> load_into(live, dumps({"a": np.ones(3), "b": np.int8([5, 6])}, metadata={"step": 7}))
    {'step': 7}
    >>> live["b"]
    array([5, 6], dtype=int8)
    """
    header, arrays = describe(weights, checksum=True, live=True)
    return receive(header, arrays, source, verify, "load_into()")


def receive(header: Header, arrays: list[Any], source: Any, verify: bool | None, caller: str) -> dict[str, Any]:
    """Receive one message into arrays that have this header; return its metadata."""
    targets = Targets(header, arrays, caller)
    if not is_memory(source):
        return _from_stream(targets, source, verify)
    return _from_memory(targets, open_message(as_memory(source, caller).toreadonly()), verify)


def _from_memory(targets: Targets, message: OpenMessage, verify: bool | None) -> dict[str, Any]:
    targets.check_fit(message)
    check_gaps(message)
    arrays = targets.arrays
    tensors = range(len(arrays))
    if verify is False:
        refuse_bools(message, tensors)
    else:
        check_tensors(message, tensors, required=bool(verify))
    pairs = list(zip(views(message, tensors), map(_in_memory, arrays), strict=True))
    large = [(value, array) for value, array in pairs if value.nbytes > CACHED and is_ready(array)]
    transfer([value for value, _ in large], [array for _, array in large], sums=False)
    for value, array in pairs:
        if value.nbytes <= CACHED or not is_ready(array):
            _assign(array, value)
    return dict(message.plan.header.metadata)  # the plan's own is kept


def _from_stream(targets: Targets, stream: Any, verify: bool | None) -> dict[str, Any]:
    check_reader(stream, targets.caller)
    message = head_of_stream(stream)
    if message is None:
        raise ended()
    targets.check_fit(message)
    if not message.plan.header.is_raw:
        return _from_memory(targets, rest_of_stream(stream, message), verify)
    summed = has_checksums(message, required=bool(verify)) and verify is not False
    arrays = list(map(_in_memory, targets.arrays))
    incoming = _Incoming(stream, message.plan, message.checksums if summed else None)
    for run in message.plan.runs:
        if message.plan.is_small(run):
            incoming.receive_run(run, arrays)
        else:
            incoming.receive_large(run.start, arrays[run.start])
    return dict(message.plan.header.metadata)  # the plan's own is kept


class _Incoming:
    """A message that is read from a stream, whose head has been read. ``sums``: the checksums to compare tensors with, or None."""

    def __init__(self, stream: Any, plan: Plan, sums: list[int] | None) -> None:
        self._stream, self._plan, self._sums = stream, plan, sums
        self._position = plan.layout.head_size

    def receive_run(self, run: range, arrays: list[Any]) -> None:
        """Receive small tensors by one reading, and copy them."""
        layout, header, base = self._plan.layout, self._plan.header, self._position
        end = layout.starts[layout.first[run.stop] - 1] + header.sizes[run.stop - 1]
        block = np.empty(end - base, np.uint8)
        self._read(block, run.start)
        for tensor in run:
            start = layout.starts[layout.first[tensor]] - base
            gap = block[start - len(layout.gaps[layout.first[tensor]]) : start].tobytes()
            check_gap(self._plan, tensor, layout.first[tensor], gap)
            value: Array = np.ndarray(header.shapes[tensor], self._plan.dtypes[tensor], block, start)
            self._check(tensor, value, checksum(value) if self._sums is not None else 0)
            _assign(arrays[tensor], value)

    def receive_large(self, tensor: int, array: Any) -> None:
        """Receive a tensor where it belongs, if its memory is laid out as in the message."""
        layout, header = self._plan.layout, self._plan.header
        direct = is_ready(array) and header.codes[tensor] != BOOL
        value: Array = array if direct else _memory_for(array, header.shapes[tensor], self._plan.dtypes[tensor])
        flat, state = as_bytes(value), Checksum()
        for payload in self._plan.payloads(tensor):
            gap = np.empty(len(layout.gaps[payload]), np.uint8)
            self._read(gap, tensor)
            check_gap(self._plan, tensor, payload, gap.tobytes())
            for begin in range(0, layout.lengths[payload], CACHED):
                block = flat[begin : min(begin + CACHED, layout.lengths[payload])]
                self._read(block, tensor)
                if self._sums is not None:  # while it is in the cache
                    state.update(block)
            flat = flat[layout.lengths[payload] :]
        self._check(tensor, value, state.value())
        if not direct:
            _assign(array, value, given=True)

    def _read(self, target: Bytes, tensor: int) -> None:
        view = target.data
        while len(view):
            count = read_into(self._stream, view)
            if not count:
                name = self._plan.header.tensor_names()[tensor]
                raise truncated(self._position, f"its {self._plan.layout.total} bytes", name)
            view = view[count:]
            self._position += count

    def _check(self, tensor: int, value: Array, checksum_of_value: int) -> None:
        if self._sums is not None and checksum_of_value != self._sums[tensor]:
            raise wrong(self._plan, tensor, DAMAGED)
        if self._plan.header.codes[tensor] == BOOL and value.size and value.view(np.uint8).max() > 1:
            raise wrong(self._plan, tensor, NO_BOOL)


def _in_memory(array: Any) -> Any:
    """Return an array of another library as numpy's over its memory, where that may be written to; others as they are."""
    if type(array) is not NDArray or array._backend.host_view is None:
        return array
    view = array._backend.host_view(array._array)
    return array if view is None else view


def _memory_for(array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return memory to receive an array in: that of its library, if it has some that goes to the device without another copy."""
    if type(array) is NDArray and array._backend.room is not None and array.dtype == dtype:
        memory: Array = array._backend.room(array._array)
        return memory
    return np.empty(shape, dtype)


def _assign(array: Any, value: Array, *, given: bool = False) -> None:
    """Copy the elements to an array of any memory order, byte order and device.

    ``given``: the caller does not use the memory of ``value`` again.
    """
    if type(array) is NDArray:
        write = array._backend.write
        if write is not None and write(array._array, value, given):
            return
        array[...] = wrap(array._backend.asarray(value), array._backend)
    else:
        array[...] = value
