"""What the driver asks of packed data and of clusters; :mod:`sparknet.clusters` implements it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sparknet.data.preprocess import Preprocessor
from sparknet.ndarray import NDArray
from sparknet.nets.base import NetFactory, SolverState
from sparknet.weights import WeightCollection
from sparknet.worker import Outcome, Task

__all__ = ["Cluster", "Collected", "PackedData", "Session"]


class PackedData(Protocol):
    """What the driver itself asks of a packed data set, in memory or on a cluster.

    A set that has ``even`` (:class:`~sparknet.data.ragged.Even`) and ``count()`` says with them what becomes of a short last
    minibatch; the net takes that of any other set as it is.
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
class Collected:
    """What a cluster brings back from a round: outcomes in worker order, seconds and bytes moved."""

    outcomes: list[Outcome]
    broadcast: float
    collect: float
    bytes_down: int
    bytes_up: int


class Session(Protocol):
    """A cluster at work on one run."""

    def train(self, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]) -> Collected:
        """Run one round; ``states`` holds one state for all workers, or one for each."""
        ...

    def evaluate(self, weights: WeightCollection, data: Any) -> dict[str, float]:
        """Return the mean over ``data`` of every scalar output of the test-phase net."""
        ...


class Cluster(Protocol):
    """Where the workers are."""

    def session(self, factory: NetFactory, data: Any, workers: int) -> AbstractContextManager[Session]:
        """Open a session; leaving it releases everything that it holds on the cluster."""
        ...

    def default_workers(self, data: Any) -> int:
        """Return how many workers to use when the caller does not say."""
        ...
