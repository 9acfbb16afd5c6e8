"""What the driver returns: the rounds as they are finished, each with its weights and where its time went."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sparknet.weights import WeightCollection

__all__ = ["Round", "Rounds", "Seconds"]


@dataclass(frozen=True)
class Seconds:
    """Where a round's time went, in seconds; ``train`` has one entry for each worker."""

    broadcast: float
    train: tuple[float, ...]
    collect: float
    average: float
    evaluate: float
    checkpoint: float
    total: float

    def __getitem__(self, name: str) -> Any:
        """Return a part by its name, as in ``seconds["train"]``."""
        return getattr(self, name)


@dataclass(frozen=True)
class Round:
    """One finished round.

    Parameters
    ----------
    index
        0-based.
    weights
        The averaged weights. The next round starts from this very object: copy it to change it.
    loss
        Mean training loss over the round's steps, of the workers that took part.
    metrics
        Test metrics (loss, accuracy, ...) of these weights; empty in rounds without evaluation.
    seconds
        Where the time went.
    steps, examples
        Solver steps taken and examples seen in this round by all workers together, without padded rows. A minibatch whose
        examples were all dropped (``Decode(on_error="drop")``), or that became short by it and is left out
        (``ragged="drop"``), counts as a step, although the net does not see it.
    bytes_down, bytes_up
        Bytes of weights and solver state sent to the workers, and brought back.
    workers
        Which workers' results were averaged: all, but for those that ``on_nonfinite="leave_out"`` left out.
    """

    index: int
    weights: WeightCollection = field(repr=False)
    loss: float
    metrics: Mapping[str, float]
    seconds: Seconds
    steps: int
    examples: int
    bytes_down: int
    bytes_up: int
    workers: tuple[int, ...] = ()


class Rounds(Iterator[Round]):
    """The rounds of a training, an iterator: a round is computed when it is asked for.

    What it holds on the cluster is released after the last round, after an error, by :meth:`close`, at the end of a
    ``with`` block, and when the iterator itself is forgotten: a ``break`` is enough where the loop alone knows it.

    Examples
    --------
    >>> from sparknet import Field, LocalCluster, averaged_sgd
    >>> from sparknet.data import pack
    >>> from sparknet.nets import MLP
    >>> data = pack({"data": [[0.0], [1.0]], "label": [0, 1]}, [Field("data", (1,)), Field("label", (), "int64")], 1)
    >>> with averaged_sgd(MLP.factory((1,), 2), data, cluster=LocalCluster(), workers=2, rounds=3) as rounds:
    ...     before, first = rounds.weights, next(rounds)
    >>> rounds, rounds.weights is first.weights, before == first.weights
    (<Rounds: 1 of 3 finished>, True, False)
    """

    def __init__(
        self, rounds: Generator[Round, None, None], weights: WeightCollection, finished: int, total: int
    ) -> None:
        self._rounds, self._weights, self._finished, self._total = rounds, weights, finished, total

    @property
    def weights(self) -> WeightCollection:
        """The weights after the last round that was yielded; before the first one those that the training starts from.

        Where a training goes on from a checkpoint, these are the checkpoint's, also if no round is left. They are not a copy:
        the next round starts from this very object.
        """
        return self._weights

    @property
    def finished(self) -> int:
        """Number of finished rounds, with those of the checkpoint that the training goes on from."""
        return self._finished

    def close(self) -> None:
        """Release what the training holds on the cluster; there are no rounds after that."""
        self._rounds.close()

    def __next__(self) -> Round:
        found = next(self._rounds)
        self._weights, self._finished = found.weights, found.index + 1
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Rounds: {self._finished} of {self._total} finished>"
