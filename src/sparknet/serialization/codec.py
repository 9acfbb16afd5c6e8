"""Codec: what follows from a schema, worked out once for all messages of a training."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sparknet.errors import shown
from sparknet.serialization.given import check_writer
from sparknet.serialization.memory.buffers import as_memory
from sparknet.serialization.memory.streams import write_all
from sparknet.serialization.message.fitting import check_fits
from sparknet.serialization.message.header import Header
from sparknet.serialization.message.metadata import check_metadata
from sparknet.serialization.objects import describe
from sparknet.serialization.payload.dtypes import NAMES
from sparknet.serialization.payload.form import choose
from sparknet.serialization.reader.decode import ReadOptions, decode
from sparknet.serialization.reader.opening import open_message
from sparknet.serialization.receiving import receive
from sparknet.serialization.writer.elements import elements_of
from sparknet.serialization.writer.encode import Message, to_buffer, to_bytes, to_parts
from sparknet.serialization.writer.planning import plan_to_write
from sparknet.weights import WeightCollection

__all__ = ["Codec"]


class Codec:
    """Write and read objects of one schema, such as the weights of every round of a training.

    Its messages are those of :func:`dumps`: everybody reads them. What is of another schema is refused, in both
    directions, with a ``SchemaError`` that names the first difference.

    Parameters
    ----------
    example
        An object as for :func:`dumps`: its kind, names, shapes and dtypes are kept, its arrays are not. Or what
        ``WeightCollection.schema()`` returns.
    encoding, checksum, metadata
        For every message, as for :func:`dumps`. Each method that writes takes more ``metadata`` for its one message, such as
        the number of a step; a name that is here too takes the new value.

    Examples
    --------
    >>> import numpy as np
    >>> codec = Codec({"a": np.zeros(3)})
    >>> buffer = np.empty(codec.nbytes, "uint8")
    >>> size = codec.dumps_into({"a": np.full(3, 2.0)}, buffer)
    >>> codec.loads(buffer)["a"]
    NDArray([2., 2., 2.], shape=(3,), dtype=float64, device='cpu')
    >>> codec.dumps_into({"a": np.zeros(4)}, buffer)
    Traceback (most recent call last):
    sparknet.errors.SchemaError: Codec.dumps_into(): tensor 'a' is float64 of shape (4,), expected float64 of shape (3,)
    """

    __slots__ = ("_encoding", "_plan")

    def __init__(
        self,
        example: Any,
        *,
        encoding: str = "raw",
        checksum: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        make = _header_of_schema if _is_schema(example) else _header_of_example
        header = make(example, checksum, metadata)
        self._encoding = encoding
        self._plan = plan_to_write(replace(header, encodings=choose(encoding, header.codes, header.shapes)))

    @property
    def nbytes(self) -> int:
        """Size in bytes of every message without metadata of its own: that of a buffer for :meth:`dumps_into`."""
        return self._plan.layout.total

    def dumps(self, obj: Any, *, metadata: dict[str, Any] | None = None) -> bytes:
        """Return the message of ``obj``, as :func:`dumps` does."""
        return to_bytes(self._message(obj, "Codec.dumps()", metadata))

    def dump_parts(self, obj: Any, *, metadata: dict[str, Any] | None = None) -> list[memoryview]:
        """Return the message of ``obj`` as buffers that share its memory, as :func:`dump_parts` does."""
        return to_parts(self._message(obj, "Codec.dump_parts()", metadata))

    def dumps_into(self, obj: Any, buffer: Any, *, metadata: dict[str, Any] | None = None) -> int:
        """Write the message of ``obj`` to the start of a buffer, as :func:`dumps_into` does; return its size in bytes."""
        return to_buffer(self._message(obj, "Codec.dumps_into()", metadata), buffer, "Codec.dumps_into()")

    def dump(self, obj: Any, fileobj: Any, *, metadata: dict[str, Any] | None = None) -> int:
        """Write the message of ``obj`` to a socket or file object, as :func:`dump` does; return its size in bytes."""
        check_writer(fileobj, "Codec.dump()")
        message = self._message(obj, "Codec.dump()", metadata)
        write_all(fileobj, to_parts(message))
        return message.size

    def loads(
        self,
        buffer: Any,
        *,
        copy: bool = False,
        device: str | None = None,
        verify: bool | None = None,
        metadata: bool = False,
    ) -> Any:
        """Return the object in a message, as :func:`loads` does; the schema says how much it may inflate to."""
        message = open_message(as_memory(buffer, "Codec.loads()").toreadonly())
        check_fits(message.plan.header, self._plan.header, "Codec.loads()")
        options = ReadOptions(copy=copy, device=device, verify=verify, max_bytes=sum(self._plan.header.sizes))
        obj = decode(message, options)
        return (obj, dict(message.plan.header.metadata)) if metadata else obj

    def load_into(self, weights: Any, source: Any, *, verify: bool | None = None) -> dict[str, Any]:
        """Receive one message into arrays that are there already, as :func:`load_into` does; return its metadata."""
        header, arrays = describe(weights, checksum=self._plan.summed, live=True)
        check_fits(header, self._plan.header, "Codec.load_into()")
        return receive(header, arrays, source, verify, "Codec.load_into()")

    def _message(self, obj: Any, caller: str, metadata: dict[str, Any] | None) -> Message:
        header, arrays = describe(obj, checksum=self._plan.summed, encoding=self._encoding)
        check_fits(header, self._plan.header, caller)
        elements = elements_of(self._plan.header, arrays)
        if not metadata:
            return Message(self._plan, elements)
        check_metadata(metadata)
        own = self._plan.header
        return Message(plan_to_write(replace(own, metadata={**own.metadata, **metadata})), elements)


def _header_of_example(example: Any, checksum: bool, metadata: dict[str, Any] | None) -> Header:
    return describe(example, checksum=checksum, metadata=metadata)[0]


def _is_schema(example: Any) -> bool:
    """Say whether this is a mapping layer -> tuple of (shape, dtype name); arrays are no tuples."""
    if isinstance(example, WeightCollection) or not isinstance(example, Mapping):
        return False
    return any(type(layer) is tuple for layer in example.values())


def _is_layer(name: Any, layer: Any) -> bool:
    return isinstance(name, str) and isinstance(layer, tuple | list)


def _is_described(tensor: Any) -> bool:
    """Say whether this is a pair of a shape and a str."""
    if type(tensor) is not tuple or len(tensor) != 2 or type(tensor[1]) is not str:
        return False
    lengths = tensor[0]
    return isinstance(lengths, tuple | list) and all(type(n) is int and 0 <= n < 1 << 64 for n in lengths)


def _header_of_schema(schema: Any, checksum: bool, metadata: dict[str, Any] | None) -> Header:
    codes = {name: code for code, name in NAMES.items()}
    for name, layer in schema.items():
        if not _is_layer(name, layer):
            msg = f"Codec(): got {shown(layer)} for layer {shown(name)}, expected names and tuples, as WeightCollection.schema() has them"
            raise ValueError(msg)
        for tensor in layer:
            if not _is_described(tensor):
                msg = f"Codec(): got {shown(tensor)} in layer {name!r}, expected a pair of a tuple of lengths and the name of a dtype"
                raise ValueError(msg)
            if tensor[1] not in codes:
                msg = f"Codec(): got dtype {shown(tensor[1])} of layer {name!r}, expected one of: {', '.join(codes)}"
                raise ValueError(msg)
    tensors = [tensor for layer in schema.values() for tensor in layer]
    counts = [len(layer) for layer in schema.values()]
    return Header(
        "weights",
        list(schema),
        counts,
        bytes(codes[dtype] for _, dtype in tensors),
        [tuple(shape) for shape, _ in tensors],
        [] if checksum else None,
        {} if metadata is None else metadata,
    )
