"""averaged_sgd: the driver of averaging SGD, a generator of rounds.

It owns the order of things (send, train, collect, average, evaluate) and the seeds, and nothing of
how a cluster does it: that is the Session protocol below, implemented in :mod:`sparknet.clusters`.
The caller's own ``if`` and ``break`` replace callbacks; whatever was opened is closed in ``finally``,
also when the caller breaks off.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np

from sparknet.averaging import Mean, Rule
from sparknet.data.fields import rows_of_batch
from sparknet.data.layout import check_shards, is_whole, shard_length
from sparknet.data.preprocess import Preprocessor
from sparknet.data.preprocess.base import preprocessed
from sparknet.data.sampling import SAMPLERS, Sampling, step_rng
from sparknet.errors import DataError, located
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net, NetFactory, SolverState
from sparknet.weights import WeightCollection
from sparknet.worker import Outcome, Task

__all__ = ["Cluster", "Collected", "PackedData", "Round", "Seconds", "Session", "averaged_sgd", "check_fit"]

StatePolicy = Literal["average", "local", "reset"]


class PackedData(Protocol):
    """What the driver itself asks of a packed data set, in memory or on a cluster."""

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


@dataclass(frozen=True)
class Seconds:
    """Where a round's time went, in seconds; ``train`` has one entry for each worker."""

    broadcast: float
    train: tuple[float, ...]
    collect: float
    average: float
    evaluate: float
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
        Mean training loss over the round's steps, of all workers.
    metrics
        Test metrics (loss, accuracy, ...) of these weights; empty in rounds without evaluation.
    seconds
        Where the time went.
    steps, examples
        Solver steps taken and examples seen in this round by all workers together. A minibatch whose examples were all
        dropped (``Decode(on_error="drop")``) counts as a step, although the net does not see it.
    bytes_down, bytes_up
        Bytes of weights and solver state sent to the workers, and brought back.
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


def averaged_sgd(
    factory: NetFactory,
    data: PackedData,
    *,
    cluster: Cluster,
    workers: int | None = None,
    tau: int = 50,
    rounds: int = 100,
    rule: Rule | None = None,
    seed: int = 0,
    max_seconds: float | None = None,
    evaluate: tuple[PackedData, int] | None = None,
    solver_state: StatePolicy = "average",
    sampling: Sampling = "epoch",
    weights: WeightCollection | None = None,
) -> Iterator[Round]:
    """Train by averaging: send the weights, each worker takes ``tau`` steps on its shard, average, repeat.

    Parameters
    ----------
    factory
        Picklable ``factory(seed=...)`` that makes the net on the driver and on each worker.
    data
        The packed training data, of the cluster's kind.
    cluster
        ``LocalCluster()`` or ``SparkCluster(spark)``; the same bits from both.
    workers
        How many; default: the number of shards that ``data`` was packed into.
    tau
        Solver steps of each worker in a round. A worker whose shard is shorter than that goes on
        into its next epoch. 0 changes nothing.
    rounds
        How many rounds to yield.
    rule
        How the results are combined; default ``Mean()``.
    seed
        Of the initial weights, the order of minibatches and the preprocessor's random choices.
    max_seconds
        Each worker ends its round after this many seconds, even before ``tau`` steps, but not before its first.
    evaluate
        ``(test_data, every)``: measure the averaged weights on ``test_data`` after every ``every``-th
        round and after the last one.
    solver_state
        What happens to momentum and the like: ``"average"`` it as the weights are, keep it
        ``"local"`` to each worker, or ``"reset"`` it each round. The iteration count, and with it
        the learning-rate schedule, always continues.
    sampling
        Which minibatches a worker takes: ``"epoch"``, each of its shard once in an epoch, in an order
        that is new in each epoch and goes on across rounds; or ``"window"``, as SparkNet did, in each
        round a contiguous run of ``tau`` minibatches from a random place. Both depend on ``seed``
        alone and wrap around where ``tau`` is more than the shard has.
    weights
        Start from these instead of the factory's.

    Yields
    ------
    Round
        After each round. Breaking off the loop releases everything on the cluster.

    Raises
    ------
    DataError, NetError, SchemaError
        Before any work is sent out: an argument is wrong, the data does not fit the net, there are
        more workers than minibatches.

    Notes
    -----
    Moritz, Nishihara, Stoica, Jordan: SparkNet, ICLR 2016, arXiv 1511.06051. With one worker this is
    the plain solver, bit for bit. With ``tau=1`` and an update that is linear in the gradient (SGD
    with momentum and weight decay) K workers at minibatch b are one at K*b, up to rounding. Averaging
    the momentum keeps both true and costs the driver one state, not K.

    Examples
    --------
    >>> import numpy as np
    >>> from sparknet import Field, LocalCluster, averaged_sgd
    >>> from sparknet.data import pack
    >>> from sparknet.nets import MLP
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> columns = {"data": x, "label": (x[:, 0] > x[:, 1]).astype(int)}
    >>> data = pack(columns, [Field("data", (2,)), Field("label", (), "int64")], batch_size=10)
    >>> for r in averaged_sgd(
    ...     MLP.factory((2,), 2), data, cluster=LocalCluster(), workers=2, tau=10, rounds=5, evaluate=(data, 5)
    ... ):
    ...     pass
    >>> r.index, r.steps, r.metrics["accuracy"] > 0.9
    (4, 20, True)
    """
    _check_kinds(cluster, data, rule, evaluate)
    _check_numbers(tau, rounds, workers, seed, max_seconds)
    _check_choice("solver_state", solver_state, get_args(StatePolicy))
    _check_choice("sampling", sampling, tuple(SAMPLERS))
    workers = cluster.default_workers(data) if workers is None else workers
    check_shards(data.num_batches, workers, data.batch_size)
    net = check_fit(factory, data, seed)
    if evaluate is not None:
        check_fit(factory, evaluate[0], seed, "evaluation: the first minibatch")
    if weights is not None:
        net.set_weights(weights)
    run = _Run(
        cluster=cluster,
        factory=factory,
        data=data,
        workers=workers,
        tau=tau,
        rounds=rounds,
        rule=rule or Mean(),
        seed=seed,
        max_seconds=max_seconds,
        evaluate=evaluate,
        solver_state=solver_state,
        sampling=sampling,
    )
    return run.rounds_from(net.get_weights(), net.get_state())


@dataclass(frozen=True)
class _Run:
    """The checked arguments of a run."""

    cluster: Cluster
    factory: NetFactory
    data: PackedData
    workers: int
    tau: int
    rounds: int
    rule: Rule
    seed: int
    max_seconds: float | None
    evaluate: tuple[PackedData, int] | None
    solver_state: StatePolicy
    sampling: Sampling

    def rounds_from(self, weights: WeightCollection, new_state: SolverState) -> Iterator[Round]:
        """Yield the rounds, starting with ``weights`` and a new solver."""
        states = [new_state]
        first_steps = [0] * self.workers
        with self.cluster.session(self.factory, self.data, self.workers) as session:
            for index in range(self.rounds):
                start = time.perf_counter()
                collected = session.train(self._tasks(first_steps), weights, states)
                outcomes = collected.outcomes
                averaging = time.perf_counter()
                weights = self.rule(weights, [o.weights for o in outcomes], [o.examples for o in outcomes])
                states = self._next_states(outcomes, new_state)
                evaluating = time.perf_counter()
                first_steps = [s + o.steps for s, o in zip(first_steps, outcomes, strict=True)]
                metrics = self._metrics(session, weights, index)
                end = time.perf_counter()
                seconds = Seconds(
                    broadcast=collected.broadcast,
                    train=tuple(o.seconds for o in outcomes),
                    collect=collected.collect,
                    average=evaluating - averaging,
                    evaluate=end - evaluating,
                    total=end - start,
                )
                yield Round(
                    index=index,
                    weights=weights,
                    loss=_mean_loss(outcomes),
                    metrics=metrics,
                    seconds=seconds,
                    steps=sum(o.steps for o in outcomes),
                    examples=sum(o.examples for o in outcomes),
                    bytes_down=collected.bytes_down,
                    bytes_up=collected.bytes_up,
                )

    def _tasks(self, first_steps: Sequence[int]) -> list[Task]:
        return [
            Task(
                worker=k,
                num_batches=shard_length(self.data.num_batches, k, self.workers),
                first_step=first,
                tau=self.tau,
                seed=self.seed,
                max_seconds=self.max_seconds,
                sampling=self.sampling,
            )
            for k, first in enumerate(first_steps)
        ]

    def _next_states(self, outcomes: Sequence[Outcome], new_state: SolverState) -> list[SolverState]:
        states: list[SolverState] = [o.state for o in outcomes]
        if self.solver_state == "local":
            return states
        shares = self.rule.shares([o.examples for o in outcomes])
        # the names of a state that has been used: some solvers make their history at the first step
        names = ["iteration"] if self.solver_state == "reset" else list(states[0])
        mean = {name: _mean_arrays([s[name] for s in states], shares) for name in names}
        return [{**new_state, **mean}]

    def _metrics(self, session: Session, weights: WeightCollection, index: int) -> dict[str, float]:
        if self.evaluate is None:
            return {}
        data, every = self.evaluate
        due = (index + 1) % every == 0 or index == self.rounds - 1
        return session.evaluate(weights, data) if due else {}


def check_fit(factory: NetFactory, data: PackedData, seed: int, what: str = "the first minibatch") -> Net:
    """Return the factory's net after running it forward on the first minibatch, here on the driver.

    Whatever does not fit (names, shapes, labels) shows before any job, as the exception of the preprocessor or net that
    finds it; the message begins with ``what`` it was found in.
    """
    net = factory(seed=seed)
    with located(what):
        batch = preprocessed(data.first_batch(), data.preprocessor, step_rng(seed, 0, 0), train=True)
        if rows_of_batch(batch):
            net.forward(batch)
    return net


def _mean_arrays(arrays: Sequence[NDArray], shares: Sequence[float]) -> NDArray:
    return WeightCollection.mean([WeightCollection({"": [a]}) for a in arrays], weights=shares)[""][0]


def _mean_loss(outcomes: Sequence[Outcome]) -> float:
    """Return the mean over all steps of all workers; NaN where there was none."""
    worked = [o for o in outcomes if o.examples]
    return float(np.average([o.loss for o in worked], weights=[o.steps for o in worked])) if worked else float("nan")


def _check_kinds(cluster: Any, data: Any, rule: Any, evaluate: Any) -> None:
    if not hasattr(cluster, "session"):
        msg = f"averaged_sgd(): cluster={type(cluster).__name__}; expected LocalCluster() or SparkCluster(spark)"
        raise TypeError(msg)
    if rule is not None and (isinstance(rule, type) or not (callable(rule) and hasattr(rule, "shares"))):
        msg = f"averaged_sgd(): rule={rule!r}; expected a rule such as Mean(), which has __call__ and shares()"
        raise TypeError(msg)
    if evaluate is not None and not (isinstance(evaluate, tuple | list) and len(evaluate) == 2):
        msg = f"averaged_sgd(): evaluate={type(evaluate).__name__}; expected a pair (test_data, every)"
        raise TypeError(msg)
    if evaluate is not None and not is_whole(evaluate[1], 1):
        msg = f"averaged_sgd(): evaluate=(..., {evaluate[1]!r}); expected (test_data, every) with every >= 1"
        raise ValueError(msg)
    for packed in (data, *(evaluate or ())[:1]):
        if not hasattr(packed, "first_batch"):
            msg = (
                f"averaged_sgd(): got data of type {type(packed).__name__}; "
                "expected what sparknet.data.pack(...) or sparknet.spark.pack(...) returns"
            )
            raise DataError(msg)


def _check_numbers(tau: Any, rounds: Any, workers: Any, seed: Any, max_seconds: Any) -> None:
    for name, value, least in (("tau", tau, 0), ("rounds", rounds, 0), ("workers", workers, 1), ("seed", seed, 0)):
        if not (value is None and name == "workers") and not is_whole(value, least):
            msg = f"averaged_sgd(): {name}={value!r}; expected a whole number of at least {least}"
            raise ValueError(msg)
    if max_seconds is not None and not max_seconds > 0:
        msg = f"averaged_sgd(): max_seconds={max_seconds!r}; expected a positive number of seconds"
        raise ValueError(msg)


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        *most, last = map(repr, choices)
        msg = f"averaged_sgd(): {name}={value!r}; expected {', '.join(most)} or {last}"
        raise ValueError(msg)
