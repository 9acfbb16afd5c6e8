"""What the driver returns: an iterator over finished rounds, each with its weights and times."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sparknet.training.goodput import Goodput
from sparknet.training.pace import Decided
from sparknet.weights import WeightCollection

__all__ = ["Round", "Rounds", "Seconds"]


@dataclass(frozen=True)
class Seconds:
    """The time of each part of a round, in seconds. ``train`` has one entry for each worker; of one that came late, when it was left out.

    Where results come slice by slice, as of ``LocalCluster(processes=N)``, they are averaged while they are collected: that is a part of
    ``collect``, and ``average`` is what is left to do then.

    A checkpoint is written while the next round trains. ``checkpoint`` is how long the round waited until that of the round before
    was written: 0, unless writing takes longer than a round.
    """

    broadcast: float
    train: tuple[float, ...]
    collect: float
    average: float
    evaluate: float
    checkpoint: float
    total: float

    def __getitem__(self, name: str) -> Any:
        """Return the time of a part by its name, as in ``seconds["train"]``."""
        return getattr(self, name)


@dataclass(frozen=True)
class Round:
    """One finished round.

    Parameters
    ----------
    index
        0-based.
    weights
        The averaged weights. The next round starts from this same object: copy it before you change it.
    loss
        Mean training loss over the steps of the round, of the workers whose results were averaged.
    metrics
        Test metrics (loss, accuracy, ...) of these weights; empty in rounds without evaluation.
    seconds
        The time of each part.
    steps, examples
        Solver steps and examples of all workers in this round, without padded rows. A minibatch counts as a step even if the
        net does not see it: because its examples were all dropped (``Decode(on_error="drop")``), or because it became short
        by that and is left out (``ragged="drop"``).
    bytes_down, bytes_up
        Bytes of weights and solver states sent to the workers, and sent back by them.
    workers
        The workers whose results were averaged: all but those that ``on_nonfinite="leave_out"`` left out, and those
        that came late (``min_workers``).
    decided
        What clocks decided: the limit of time, and the steps of each worker. Events and checkpoint have it too.
    goodput
        Where the time of all workers went; of workers that take turns, as of ``LocalCluster()``, the time of the one that works.
    strangers, ignored
        Since the round before: connections to the driver that did not prove themselves, and messages that came late, twice, for nobody,
        or were none. They changed nothing.
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
    decided: Decided = field(default=Decided(), repr=False)
    goodput: Goodput = field(default=Goodput(), repr=False)
    strangers: int = field(default=0, repr=False)
    ignored: int = field(default=0, repr=False)


class Rounds(Iterator[Round]):
    """An iterator over the rounds of a training: each round is computed when it is asked for.

    What it holds on the cluster is released after the last round, after an error, by :meth:`close`, at the end of a
    ``with`` block, and when nothing refers to the iterator any more. So a ``break`` is enough if only the loop has it.

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
        self,
        rounds: Generator[Round, None, None],
        weights: WeightCollection,
        finished: int,
        total: int,
        run: str = "",
        decided: Decided | None = None,
    ) -> None:
        self._run, self._decided = run, decided
        self._rounds, self._weights, self._finished, self._total = rounds, weights, finished, total
        self._goodput = Goodput()

    @property
    def weights(self) -> WeightCollection:
        """The weights after the last yielded round; before the first one the initial weights.

        If a training goes on from a checkpoint, the initial weights are those of the checkpoint, also if no round is left. They
        are not a copy: the next round starts from this same object.
        """
        return self._weights

    @property
    def run(self) -> str:
        """The name of this run: new at each call, in ``run.json`` of a checkpoint, and on Spark in the descriptions and tags of its jobs."""
        return self._run

    @property
    def finished(self) -> int:
        """Number of finished rounds, including those before the checkpoint."""
        return self._finished

    @property
    def decided(self) -> Decided | None:
        """What clocks decided about the last finished round, that before the checkpoint too; None if there is none."""
        return self._decided

    @property
    def goodput(self) -> Goodput:
        """Where the time of all workers went, in the rounds that were yielded.

        What the caller's loop does between them is not in it, nor the time in which workers start, before the first one.
        """
        return self._goodput

    def close(self) -> None:
        """Release what the training holds on the cluster. No more rounds are yielded."""
        self._rounds.close()

    def __next__(self) -> Round:
        found = next(self._rounds)
        self._weights, self._finished, self._decided = found.weights, found.index + 1, found.decided
        self._goodput += found.goodput
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Rounds: {self._finished} of {self._total} finished>"
