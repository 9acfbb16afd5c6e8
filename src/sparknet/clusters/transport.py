"""The protocol of a transport: how messages, such as those of weights, travel to the workers and back.

A transport knows neither nets nor rounds. The work of a worker opens a parcel, computes, and answers. It does not know how the
messages travel. :mod:`sparknet.clusters.spark.workers.transport` implements the protocol with Spark's broadcast and results.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

__all__ = ["Parcel", "Transport"]


class Parcel(Protocol):
    """Messages that were sent. A parcel is small and picklable: it comes to the workers as a part of their work.

    As a context manager it releases the messages at the end of the block.
    """

    def open(self, *places: int) -> list[bytes]:
        """Return the messages at these places, in a worker. It need not receive the others."""
        ...

    def answer(self, messages: Sequence[bytes]) -> Any:
        """Return, in a worker, what stands for its messages in the result of its work: the messages themselves, or where to get them."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Transport(Protocol):
    """The driver's side."""

    def send(self, messages: Sequence[bytes]) -> Parcel:
        """Send messages to the workers. They can be opened until the parcel is released or the transport is closed."""
        ...

    def receive(self, answer: Any) -> Sequence[bytes]:
        """Return the messages that a worker has answered with."""
        ...

    def close(self) -> None:
        """Release all that the transport holds on driver and workers."""
        ...
