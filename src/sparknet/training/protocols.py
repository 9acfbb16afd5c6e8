"""The protocols of packed data and of clusters, as the driver uses them. :mod:`sparknet.clusters` implements them."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sparknet.data.preprocess import Preprocessor
from sparknet.ndarray import NDArray
from sparknet.nets.base import NetFactory, SolverState
from sparknet.training.ending import Ending
from sparknet.weights import WeightCollection
from sparknet.worker import Facts, Outcome, Task

__all__ = ["Cluster", "Collected", "PackedData", "Session", "SliceSession"]

Found = TypeVar("Found", bound=Facts)


class PackedData(Protocol):
    """A packed data set as the driver uses it, in memory or on a cluster.

    With ``even`` (:class:`~sparknet.data.ragged.Even`) and ``count()`` a data set says what happens to a short last minibatch.
    Of a data set without them the net takes that minibatch as it is.
    """

    @property
    def num_batches(self) -> int:
        """Number of minibatches."""
        ...

    @property
    def batch_size(self) -> int:
        """Examples in every minibatch but the last."""
        ...

    @property
    def preprocessor(self) -> Preprocessor | None:
        """Applied when a minibatch is used."""
        ...

    def first_batch(self) -> Mapping[str, NDArray]:
        """Return the first minibatch, as stored."""
        ...


@dataclass(frozen=True)
class Collected(Generic[Found]):
    """What a cluster returns from a round: outcomes, or facts alone, in the order of the workers; seconds; bytes moved.

    Parameters
    ----------
    outcomes
        Of those that the round has waited for.
    broadcast, collect
        Seconds before the time for steps, and after it.
    bytes_down, bytes_up
        Bytes to the workers, and from them.
    in_turns
        Whether the workers work one after the other.
    training
        Seconds that were for steps; None: those of the slowest worker, or of all where they work in turns.
    lost
        Worker-seconds of attempts that were for nothing: of workers that died, or were left out as late.
    strangers, ignored
        As for :class:`Round`.
    """

    outcomes: list[Found]
    broadcast: float
    collect: float
    bytes_down: int
    bytes_up: int
    in_turns: bool = False
    training: float | None = None
    lost: float = 0.0
    strangers: int = 0
    ignored: int = 0

    @property
    def for_steps(self) -> float:
        """Seconds that were for steps."""
        if self.training is not None:
            return self.training
        seconds = [each.seconds for each in self.outcomes]
        return sum(seconds) if self.in_turns else max(seconds)


class Session(Protocol):
    """A cluster at work on one run."""

    def train(
        self, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]
    ) -> Collected[Outcome]:
        """Run one round. ``states`` has one state for all workers, or one for each."""
        ...

    def evaluate(self, weights: WeightCollection, data: Any) -> dict[str, float]:
        """Return the mean over ``data`` of every scalar output of the test-phase net."""
        ...


class SliceSession(Protocol):
    """A cluster at work on one run, which brings the results of a round slice by slice and never holds all of them.

    A session that can end a round without late workers does so where ``ending.quorum`` is not None, and has an attribute
    ``waits_for_all`` that is "". Of any other one it may say why it waits for all of them.
    """

    def train_into(
        self, ending: Ending, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]
    ) -> Collected[Facts]:
        """Run one round, and give ``ending`` what comes of it. The other arguments are those of :meth:`Session.train`."""
        ...

    def evaluate(self, weights: WeightCollection, data: Any) -> dict[str, float]:
        """Return what :meth:`Session.evaluate` does."""
        ...


class Cluster(Protocol):
    """Where the workers run.

    A cluster whose ``session`` does not take ``evaluate`` is called without it.
    """

    def session(
        self, factory: NetFactory, data: Any, workers: int, *, evaluate: Any = None
    ) -> AbstractContextManager[Session | SliceSession]:
        """Open a session. When it is left, everything that it holds on the cluster is released.

        ``evaluate`` is the data that :meth:`Session.evaluate` will be called with, if that is known: workers that stay for the
        session can have its minibatches beside those that they train on.
        """
        ...

    def default_workers(self, data: Any) -> int:
        """Return the number of workers if the user does not say one."""
        ...
