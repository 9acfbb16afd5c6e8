"""SparkTransport: messages go to the workers as a broadcast of Spark, and come back in the results of the job.

It needs no connection but those of Spark, so it works behind any firewall.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from sparknet.clusters.spark.jobs.running import run_job

__all__ = ["SparkParcel", "SparkTransport"]

_UNTIL_CANCELLED = 5.0  # seconds after which the tasks of a job that failed or was interrupted have ended


@dataclass(frozen=True)
class SparkParcel:
    """Messages in a broadcast of Spark."""

    sent: Any

    def open(self, *places: int) -> list[bytes]:
        """Return the messages at these places."""
        return [self.sent.value[place] for place in places]

    def answer(self, messages: Sequence[bytes]) -> Sequence[bytes]:
        """Return the messages themselves, which travel in the result of the task."""
        return messages

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Destroy the broadcast on driver and executors; after an error or an interrupt some seconds later.

        Spark is then still ending the other tasks. A task that starts without the broadcast fills a page of its log.
        """
        if kind is None:
            self.sent.destroy()
            return
        later = threading.Timer(_UNTIL_CANCELLED, _destroy, [self.sent])
        later.daemon = True
        later.start()


def _destroy(sent: Any) -> None:
    with suppress(Exception):  # Spark may be gone, and the broadcast with it
        sent.destroy()


@dataclass(frozen=True)
class SparkTransport:
    """The driver's side, for the workers of a SparkContext."""

    context: Any

    def send(self, messages: Sequence[bytes]) -> SparkParcel:
        """Broadcast the messages. Each executor fetches all of them when its first task opens the parcel."""
        return SparkParcel(run_job(partial(self.context.broadcast, list(messages))))

    def receive(self, answer: Sequence[bytes]) -> Sequence[bytes]:
        """Return the messages of an answer, which came in the result of the job."""
        return answer

    def close(self) -> None:
        """Do nothing: each parcel is released by itself, and there is no connection to close."""
