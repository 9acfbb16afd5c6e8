"""What a cluster asks of the way that weights take, to the workers and back; any way will do.

A transport moves messages, and knows neither nets nor rounds. The work of a worker opens a parcel, computes, and answers; it does not
know which way the messages take. Spark's own way is :mod:`sparknet.clusters.spark.workers.transport`.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

__all__ = ["Parcel", "Transport"]


class Parcel(Protocol):
    """Messages that were sent. It is small and picklable: it goes to the workers as a part of their work.

    As a context manager it releases the messages at the end of the block.
    """

    def open(self, *places: int) -> list[bytes]:
        """Return the messages at these places, in a worker; it need not receive the others."""
        ...

    def answer(self, messages: Sequence[bytes]) -> Any:
        """Return, in a worker, what stands for its messages in the result of its work: the messages, or where they can be had."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Transport(Protocol):
    """The driver's end of the way."""

    def send(self, messages: Sequence[bytes]) -> Parcel:
        """Send messages to the workers. They can be opened until the parcel is released or the transport is closed."""
        ...

    def receive(self, answer: Any) -> Sequence[bytes]:
        """Return the messages that a worker has answered with."""
        ...

    def close(self) -> None:
        """Release what is held on driver and workers."""
        ...
