"""averaged_sgd: the driver of averaging SGD, an iterator over rounds.

This module checks the arguments and finds where a run starts. The steps of a round are in :mod:`.run`. Neither knows
how a cluster does its part: that is the Session protocol, which :mod:`sparknet.clusters` implements.
An ``if`` and a ``break`` in the user's loop replace callbacks. What was opened is closed in ``finally``, also after a ``break``.
"""

import os
from pathlib import Path
from typing import Literal, get_args

from sparknet.averaging import Mean, PlainRule, Rule, WeightedMean
from sparknet.averaging.contract import as_rule
from sparknet.checkpoint import Checkpoint, Position
from sparknet.data.layout import check_shards
from sparknet.data.sampling import SAMPLERS, Sampling
from sparknet.formats import Contents, Taken
from sparknet.nets.base import NetFactory, driver_net
from sparknet.training.arguments import (
    check_choice,
    check_directory,
    check_events,
    check_factory,
    check_kinds,
    check_numbers,
    check_pace,
    check_quorum,
    check_steps,
)
from sparknet.training.divergence import Divergence, OnNonfinite
from sparknet.training.pace import Decided, Limit, Pace
from sparknet.training.protocols import Cluster, PackedData
from sparknet.training.rehearsal import even_of, rehearsed, used_batches
from sparknet.training.replay import Replay, by_work, check_former, former_rounds
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
    max_seconds: Limit = None,
    min_workers: int | None = None,
    evaluate: tuple[PackedData, int] | None = None,
    solver_state: StatePolicy = "average",
    sampling: Sampling = "epoch",
    weights: WeightCollection | Contents | Taken | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool | Literal["other data"] = True,
    keep: int = 2,
    on_nonfinite: OnNonfinite = "error",
    replay: Replay | None = None,
    events: str | os.PathLike[str] | None = None,
) -> Rounds:
    """Train by averaging: send the weights, each worker takes ``tau`` steps on its shard, average, repeat.

    Parameters
    ----------
    factory
        Picklable ``factory(seed=...)`` that makes the net on the driver and on each worker.
    data
        The packed training data, of the kind that the cluster takes. ``ragged=`` of ``pack`` says what happens to short
        minibatches, or else the net's data layer. The net is tried on a whole and a short one before round 0.
    cluster
        ``LocalCluster()`` or ``SparkCluster(spark)``. Both give the same bits.
    workers
        Number of workers. Default: the number of shards that ``data`` was packed into.
    tau
        Solver steps of each worker in a round. A worker with a shorter shard goes on into its next epoch. With 0 time
        alone ends a round, so ``max_seconds`` has to be given.
    rounds
        Number of rounds in all, including those before a checkpoint.
    rule
        Makes the next start from the results: a rule of :mod:`sparknet.averaging` or your own, with or without state. Default:
        ``Mean()``, and with ``max_seconds`` or ``min_workers``, where workers do unequal work, ``WeightedMean()``. Any rule may be given
        there; all but ``WeightedMean()``, and outer rules that combine by it, count workers alike whatever they did. The state, if
        there is one, is part of the checkpoint.
    seed
        Seed of the initial weights, of the order of minibatches, and of the preprocessor's random choices.
    max_seconds
        Each worker ends its round after so many seconds, even before ``tau`` steps, but never before its first step. ``"auto"``:
        after the time that ``tau`` steps take a worker of typical speed, and a tenth more, by moving averages of the steps that were
        measured; the first round has no limit. The limit of a round is in ``Round.decided``, with the steps of each worker. Where
        workers take turns, as of ``LocalCluster()``, each has that time for itself.
    min_workers
        So many results are enough: a round then waits for late workers for a while, and ends without them. How long follows from
        moving averages, a quarter of what is left of the time of ``tau`` steps (``Round.decided.grace``). A late worker joins the next
        round, from the average, with the same minibatches, as it has learned nothing from them; it is absent in ``Round.workers``. A
        result that ``on_nonfinite="leave_out"`` leaves out is none of those. None: all are waited for. It takes workers that stay: ``LocalCluster(processes=N)``, ``SparkCluster(transport="direct")``; others
        wait for all, and the log says so once.
    evaluate
        ``(test_data, every)``: measure the averaged weights on ``test_data`` after every ``every``-th
        round and after the last one.
    solver_state
        What happens to momentum and the like: ``"average"`` averages it as the weights, ``"local"`` keeps that of each
        worker, ``"reset"`` starts each round without it. The iteration count, and with it the learning-rate schedule,
        always goes on.
    sampling
        Which minibatches a worker takes. ``"epoch"``: each one of its shard once in an epoch, in an order that is new in
        each epoch and goes on across rounds. ``"window"``, as SparkNet did: in each round ``tau`` minibatches one after the
        other, from a random place. Both depend on ``seed`` alone, and start again at the end of the shard.
    weights
        Initial weights, instead of those of the factory: a WeightCollection, or what ``formats.take_layers`` or
        ``formats.read`` returned. A training that goes on from a checkpoint takes its weights from there; the log says so.
    checkpoint
        A directory on the driver, for this training alone, or a URL such as ``s3://bucket/run`` or ``hdfs://host/run`` (extra
        ``fsspec``, and fsspec's driver for it). All that the next round starts from is written there, whole or not at all, while the
        next round trains: see :class:`~sparknet.checkpoint.Checkpoint`. When a round is yielded, the one before it is there; when the
        training ends or is closed, all are. An error of writing is raised at the next round, or at the end.
        The arrays are not copied: ``Round.weights`` must not be changed in place.
    resume
        True: go on from the last round in ``checkpoint``, if there is one, with the bits of a training without a break. Only
        later rounds are yielded. If ``rounds`` rounds are there already, none is yielded, the log says so, and
        ``Rounds.weights`` are those of the checkpoint. Net, data, ``seed``, ``solver_state`` and ``sampling`` must be
        the same as before. Of the data a fingerprint of all stored minibatches is compared, for which it is read once at the
        start, on a cluster where it lies. A rule with state must be the same, with the same settings. ``tau``, ``rounds``, ``max_seconds`` and ``evaluate`` may change, and so may a rule
        without state to another one without. A warning in the log says where the training goes on, and whether the
        preprocessor has changed. So may ``workers``, where the bits are not those of any training without a break: each worker
        gets another shard, and begins it as far on as all were in the data. The schedule and the solver state go on; with
        ``solver_state="local"`` each worker goes on with the mean of all. The log says so.
        ``"other data"``: go on, too, where the fingerprint of the data is another one, and log a warning that says so.
        False: a checkpoint that is there already is an error.
    keep
        How many of the last rounds stay in ``checkpoint``. While one is written, there is one more.
    on_nonfinite
        What happens if a loss, a weight or a solver state of a worker is NaN or infinite after its steps. ``"error"`` ends the
        training at once, because the next rounds would be lost work; the message names the round, the worker and the first
        layer. ``"leave_out"`` averages the other workers (``Round.workers`` says which). The worker that is left out starts the
        next round from the average; with ``solver_state="local"`` its solver state stays as before the round. If no worker is
        left, that is an error. ``"warn"`` goes on with the values as they are. Both log a warning in each such round. Values
        that are not finite are never written to the checkpoint.

    replay
        Rounds of a former training, or the path of its ``events``: this one takes the steps that clocks decided on then, in
        the place of ``tau``, and leaves out whom they left out, on any cluster and with the same bits. Everything else has to be as
        it was; a round whose loss is another one ends it with an error.
    events
        A file for one JSON object a line: the arguments at the start, the figures of each round, what clocks decided among them, and the
        goodput at the end. It is opened before round 0, and has a round before that is yielded. The file of an earlier training is
        replaced; where a training goes on from its ``checkpoint``, its events go on too.

    Returns
    -------
    Rounds
        An iterator, which yields a :class:`Round` when it is finished. ``Rounds.weights`` are the weights to keep, also if no
        round was left. A ``break`` in the loop releases everything on the cluster.

    Raises
    ------
    DataError, NetError, SchemaError, FormatError, MissingDependency, OSError
        Before any work is sent out: an argument is wrong, the data does not fit the net, there are
        more workers than minibatches, the checkpoint does not fit the training or is damaged, its directory cannot be
        written, or the initial weights are not finite. OSError also if a round cannot be written; earlier ones stay whole.
    TrainingError
        After work has begun: results are not finite, see ``on_nonfinite``. It has the fields ``round`` and ``worker``.

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
    check_numbers(tau, rounds, workers, seed)
    check_pace(tau, max_seconds, replay)
    check_steps(tau, max_seconds, replay)
    check_directory(checkpoint, keep)
    check_events(events)
    check_choice("resume", resume, (True, False, "other data"))
    check_choice("solver_state", solver_state, get_args(StatePolicy))
    check_choice("sampling", sampling, tuple(SAMPLERS))
    check_choice("on_nonfinite", on_nonfinite, get_args(OnNonfinite))
    workers = cluster.default_workers(data) if workers is None else workers
    check_quorum(min_workers, workers, replay)
    check_shards(data.num_batches, workers, data.batch_size)
    net = driver_net(factory, seed)
    data = rehearsed(net, data, seed, train=True)
    num_batches = used_batches(data)
    check_shards(num_batches, workers, data.batch_size)
    if evaluate is not None:
        evaluate = (rehearsed(net, evaluate[0], seed, train=False), evaluate[1])
    if weights is not None:
        net.set_weights(given_weights(weights, "averaged_sgd(): weights"))
    former = former_rounds(replay)
    is_by_clock = (max_seconds, min_workers) != (None, None) or by_work(former)
    by_default = WeightedMean() if is_by_clock else Mean()
    made_rule, first = as_rule(by_default if rule is None else rule), net.get_weights()
    start = Position(0, first, [net.get_state()], [0] * workers, made_rule.init(first))
    run = Run(
        cluster=cluster,
        factory=factory,
        data=data,
        num_batches=num_batches,
        even=even_of(data),
        workers=workers,
        pace=Pace.of(tau, max_seconds, min_workers),
        rounds=rounds,
        rule=made_rule,
        seed=seed,
        evaluate=evaluate,
        solver_state=solver_state,
        sampling=sampling,
        new_state=start.states[0],
        divergence=Divergence(on_nonfinite, None if checkpoint is None else str(checkpoint)),
        former=former,
        events=None if events is None else Path(events),
    )
    kept = None if checkpoint is None else _checkpoint_of(run, checkpoint, resume, keep)
    if kept is not None:
        with kept.held():
            has_weights = weights is not None
            start = last_position(kept, net, start, resume=bool(resume), has_weights=has_weights, rounds=rounds)
    run.divergence.check_start(start)
    if former is not None:
        check_former(former, workers, run.rule_in_words, range(start.rounds, rounds))
    decided = Decided.of_position(start.pace)
    return Rounds(run.rounds_from(start, kept), start.weights, start.rounds, rounds, run.name, decided)


def _checkpoint_of(run: Run, directory: str | os.PathLike[str], resume: bool | str, keep: int) -> Checkpoint:
    may_differ = ["data"] if resume == "other data" else []
    return Checkpoint(directory, run.settings(), run.notes(), may_differ=may_differ, keep=keep)
