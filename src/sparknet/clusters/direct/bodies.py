"""The bytes of a worker's work: some facts as JSON, then messages, each at a multiple of 64 bytes."""

import json
import numbers
from collections.abc import Sequence
from typing import Any

__all__ = ["SLICE", "packed_up", "unpacked"]

SLICE = 1 << 22  # bytes that a slice of a result may have
_ALIGNED = 64  # bytes


def packed_up(facts: dict[str, Any], messages: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the parts of facts and messages, each message at a multiple of 64 bytes; :func:`unpacked` takes them apart."""
    sizes = [sum(memoryview(part).nbytes for part in message) for message in messages]
    head = json.dumps({"sizes": sizes, **facts}, default=_plain).encode()
    parts: list[Any] = [len(head).to_bytes(8, "big"), head, bytes(-(8 + len(head)) % _ALIGNED)]
    for message, size in zip(messages, sizes, strict=True):
        parts += [*message, bytes(-size % _ALIGNED)]
    return parts


def unpacked(body: memoryview) -> tuple[dict[str, Any], list[memoryview]]:
    """Return the facts, and views of the messages."""
    at = 8 + int.from_bytes(body[:8], "big")
    facts = json.loads(bytes(body[8:at]))
    messages = []
    for size in facts.pop("sizes"):
        at += -at % _ALIGNED
        messages.append(body[at : at + size])
        at += size
    return facts, messages


def _plain(value: Any) -> int | float:
    """Return a number that a caller gave, such as numpy's, as JSON has it."""
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    msg = f"got {value!r} of type {type(value).__name__} as a fact about a worker's work, expected a number or text"
    raise TypeError(msg)
