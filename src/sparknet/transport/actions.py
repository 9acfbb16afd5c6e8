"""What a side of the protocol asks its carrier to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparknet.errors import SparknetError
from sparknet.transport.messages import Done, FromDriver, FromWorker, Work

__all__ = [
    "Abandon",
    "Answer",
    "Begin",
    "Combine",
    "Drop",
    "End",
    "GiveUp",
    "RunAgain",
    "Say",
    "Send",
    "Stop",
    "Train",
]


@dataclass(frozen=True)
class Send:
    """Of the driver: send a message to a peer."""

    peer: int
    message: FromDriver


@dataclass(frozen=True)
class Drop:
    """Of the driver: close the connection to a peer."""

    peer: int
    reason: str


@dataclass(frozen=True)
class Combine:
    """Of the driver: a slice of each result is there, in the order of the shards that take part; the next numbers come later.

    A result with fewer slices than others has empty ones in the place of those that are missing.
    """

    round: int
    number: int
    slices: tuple[Any, ...]


@dataclass(frozen=True)
class Begin:
    """Of the driver: it is fixed who takes part, and slices come from the first one on.

    Another one in the same round says that others take part: what was combined is to be forgotten.
    """

    round: int
    done: Mapping[int, Done]


@dataclass(frozen=True)
class End:
    """Of the driver: the round has ended; all slices of those that took part were combined."""

    round: int


@dataclass(frozen=True)
class RunAgain:
    """Of the driver: submit the job that runs the workers once more."""


@dataclass(frozen=True)
class GiveUp:
    """Of the driver: the session cannot go on."""

    error: SparknetError


@dataclass(frozen=True)
class Say:
    """Of a worker: send a message to the driver."""

    message: FromWorker


@dataclass(frozen=True)
class Train:
    """Of a worker: begin this work; :meth:`WorkerSide.ended` or :meth:`WorkerSide.failed` tell what came of it."""

    work: Work


@dataclass(frozen=True)
class Answer:
    """Of a worker: send a slice of the result to the driver."""

    round: int
    number: int


@dataclass(frozen=True)
class Abandon:
    """Of a worker: the work of this round is no longer wanted; its result may be forgotten."""

    round: int


@dataclass(frozen=True)
class Stop:
    """Of a worker: end.

    Parameters
    ----------
    reason
        Why.
    is_lost
        The driver is lost, or has given this worker up: a task that ends so must fail, so that Spark starts it again.
    """

    reason: str
    is_lost: bool
