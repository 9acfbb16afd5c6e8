"""averaged_sgd: the driver of averaging SGD, an iterator over rounds.

It owns the arguments and where a run starts; the order of things in a round is in :mod:`.run`. Neither knows
how a cluster does it: that is the Session protocol, implemented in :mod:`sparknet.clusters`.
The caller's own ``if`` and ``break`` replace callbacks; whatever was opened is closed in ``finally``,
also when the caller breaks off.
"""

import os
from typing import get_args

from sparknet.averaging import Mean, PlainRule, Rule
from sparknet.averaging.contract import as_rule
from sparknet.checkpoint import Checkpoint, Position
from sparknet.data.layout import check_shards
from sparknet.data.sampling import SAMPLERS, Sampling
from sparknet.formats import Contents, Taken
from sparknet.nets.base import NetFactory, driver_net
from sparknet.training.arguments import check_choice, check_directory, check_factory, check_kinds, check_numbers
from sparknet.training.divergence import Divergence, OnNonfinite
from sparknet.training.protocols import Cluster, PackedData
from sparknet.training.rehearsal import even_of, rehearsed, used_batches
from sparknet.training.resuming import last_position
from sparknet.training.rounds import Rounds
from sparknet.training.run import Run
from sparknet.training.states import StatePolicy
from sparknet.weights import WeightCollection
from sparknet.weights.given import given_weights

__all__ = ["averaged_sgd"]


def averaged_sgd(
    factory: NetFactory,
    data: PackedData,
    *,
    cluster: Cluster,
    workers: int | None = None,
    tau: int = 50,
    rounds: int = 100,
    rule: Rule | PlainRule | None = None,
    seed: int = 0,
    max_seconds: float | None = None,
    evaluate: tuple[PackedData, int] | None = None,
    solver_state: StatePolicy = "average",
    sampling: Sampling = "epoch",
    weights: WeightCollection | Contents | Taken | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = True,
    on_nonfinite: OnNonfinite = "error",
) -> Rounds:
    """Train by averaging: send the weights, each worker takes ``tau`` steps on its shard, average, repeat.

    Parameters
    ----------
    factory
        Picklable ``factory(seed=...)`` that makes the net on the driver and on each worker.
    data
        The packed training data, of the cluster's kind. What becomes of its short minibatches it says itself (``ragged=`` of
        ``pack``), else the net's data layer; the net is tried on a whole and a short one before round 0.
    cluster
        ``LocalCluster()`` or ``SparkCluster(spark)``; the same bits from both.
    workers
        How many; default: the number of shards that ``data`` was packed into.
    tau
        Solver steps of each worker in a round. A worker whose shard is shorter than that goes on
        into its next epoch. 0 changes nothing.
    rounds
        How many rounds there are in all, those before a checkpoint included.
    rule
        How the results become the next start: a rule of :mod:`sparknet.averaging` or your own, with state or without; default
        ``Mean()``. Its state, if it has one, is part of the checkpoint.
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
        Start from these instead of the factory's: a WeightCollection, or what has one, as ``formats.take_layers`` and
        ``formats.read`` return it. A training that goes on from a checkpoint has its own, and the log says so.
    checkpoint
        A directory on the driver, for this training alone. After each round, before it is yielded, all that the next round
        starts from is written there, whole or not at all: see :class:`~sparknet.checkpoint.Checkpoint`. The last two
        rounds are kept.
    resume
        True: go on from the last round in ``checkpoint``, if there is one, with the bits of a training that was never broken
        off. Only the rounds after it are yielded. If there are ``rounds`` already, none is, the log says so, and ``Rounds.weights``
        are those of the checkpoint. Net, data, ``workers``, ``seed``, ``solver_state`` and ``sampling`` must be those of before: names,
        shapes and sizes are compared, the data itself is not. A rule with state must be the same, with the same settings.
        ``tau``, ``rounds``, ``max_seconds``, ``evaluate``, and ``rule`` from one without state to another, may change. A warning in the log says where it goes on, and whether the preprocessor is another one.
        False: a checkpoint that is there already is an error.
    on_nonfinite
        What a loss, a weight or a solver state does that is NaN or infinite after a worker's steps. ``"error"`` ends the training
        at once, because the next rounds would be lost work: the message names round, worker and first layer. ``"leave_out"``
        averages the others: such a worker takes no part in the round (``Round.workers`` says who did), starts the next
        one from the average, and its own solver state, if ``solver_state="local"``, is as before the round; if no worker is left,
        it is an error. ``"warn"`` goes on with what there is. Both log a warning in each such round. What is not finite
        is never written to the checkpoint.

    Returns
    -------
    Rounds
        An iterator over a :class:`Round` for each round, when it is finished. ``Rounds.weights`` are those to keep, also
        where no round was left. Breaking off the loop releases everything on the cluster.

    Raises
    ------
    DataError, NetError, SchemaError, FormatError, OSError
        Before any work is sent out: an argument is wrong, the data does not fit the net, there are
        more workers than minibatches, the checkpoint does not fit the training or is damaged, its directory cannot be
        written, the weights to start from are not finite. A round that cannot be written is an OSError too; those before it
        stay whole.
    TrainingError
        After work had begun: results are not finite, see ``on_nonfinite``. It has ``round`` and ``worker``.

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
    check_factory(factory)
    check_kinds(cluster, data, rule, evaluate)
    check_numbers(tau, rounds, workers, seed, max_seconds)
    check_directory(checkpoint)
    check_choice("solver_state", solver_state, get_args(StatePolicy))
    check_choice("sampling", sampling, tuple(SAMPLERS))
    check_choice("on_nonfinite", on_nonfinite, get_args(OnNonfinite))
    workers = cluster.default_workers(data) if workers is None else workers
    check_shards(data.num_batches, workers, data.batch_size)
    net = driver_net(factory, seed)
    data = rehearsed(net, data, seed, train=True)
    num_batches = used_batches(data)
    check_shards(num_batches, workers, data.batch_size)
    if evaluate is not None:
        evaluate = (rehearsed(net, evaluate[0], seed, train=False), evaluate[1])
    if weights is not None:
        net.set_weights(given_weights(weights, "averaged_sgd(): weights"))
    made_rule, first = as_rule(Mean() if rule is None else rule), net.get_weights()
    start = Position(0, first, [net.get_state()], [0] * workers, made_rule.init(first))
    run = Run(
        cluster=cluster,
        factory=factory,
        data=data,
        num_batches=num_batches,
        even=even_of(data),
        workers=workers,
        tau=tau,
        rounds=rounds,
        rule=made_rule,
        seed=seed,
        max_seconds=max_seconds,
        evaluate=evaluate,
        solver_state=solver_state,
        sampling=sampling,
        new_state=start.states[0],
        divergence=Divergence(on_nonfinite, None if checkpoint is None else str(checkpoint)),
    )
    kept = None if checkpoint is None else Checkpoint(checkpoint, run.settings(), run.notes())
    if kept is not None:
        with kept.held():
            has_weights = weights is not None
            start = last_position(kept, net, start, resume=resume, has_weights=has_weights, rounds=rounds)
    run.divergence.check_start(start)
    return Rounds(run.rounds_from(start, kept), start.weights, start.rounds, rounds)
