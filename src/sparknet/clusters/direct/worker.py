"""The workers' end: the work of a round that comes from a hub."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparknet.clusters.direct.alike import about, made
from sparknet.clusters.direct.bodies import unpacked
from sparknet.clusters.direct.payload import (
    DATA,
    Layout,
    Slices,
    as_lists,
    asked_of,
    same,
    schema_of,
    schema_of_state,
)
from sparknet.clusters.direct.told import told
from sparknet.clusters.totals import condensed
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even
from sparknet.data.shards import Stored
from sparknet.errors import located
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net, SolverState
from sparknet.serialization import loads
from sparknet.transport import Hello, Limits, Result, serve
from sparknet.weights import WeightCollection
from sparknet.worker import Outcome, Task, evaluate_shard, train_round

__all__ = ["Evaluated", "result_of", "serve_shard"]

_FACTS = ("loss", "steps", "updates", "examples", "nonfinite")


@dataclass(frozen=True)
class Evaluated:
    """The part of an evaluation set that the worker of a shard evaluates.

    Parameters
    ----------
    batches
        Its minibatches as stored; they are gone through once in each evaluation.
    preprocessor, even
        Of the evaluation set.
    """

    batches: Iterable[Mapping[str, NDArray]]
    preprocessor: Preprocessor | None
    even: Even | None


def serve_shard(
    address: tuple[str, int],
    shard: int,
    *,
    secret: bytes,
    limits: Limits,
    make_net: Callable[[], Net],
    stored: Stored,
    preprocessor: Preprocessor | None,
    evaluated: Evaluated | None = None,
    more: Mapping[str, str] | None = None,
) -> None:
    """Be the worker of a shard until the driver closes the session.

    Parameters
    ----------
    address, secret, limits
        Of the hub.
    shard
        Which, 0-based.
    make_net
        Called once, with the first work, so that its error is told like any other.
    stored
        The minibatches of the shard.
    preprocessor
        Of the data.
    evaluated
        What is evaluated when the driver asks for it; None: nothing.
    more
        What else the hub is told about this worker.

    Raises
    ------
    ClusterError
        As :func:`sparknet.transport.serve` does.
    """
    nets: list[Net] = []

    def do(body: memoryview, exactly: int | None, is_wanted: Callable[[], bool]) -> Result:
        del is_wanted  # rounds wait for all
        facts, messages = unpacked(body)
        start, *states = (loads(message, verify=True) for message in messages)
        notes: dict[str, Any] = {}
        if not nets:
            net = make_net()
            notes["made"] = made(shard, net.get_weights(), start)
            nets.append(net)
        if "task" not in facts:
            metrics = _evaluated(nets[0], shard, start, evaluated)
            return Result(0, [], json.dumps({"metrics": metrics}).encode(), json.dumps(notes).encode())
        (solver,) = states
        outcome = train_round(nets[0], stored, _task(facts["task"]), start, solver, preprocessor, exactly=exactly)
        return result_of(outcome, start, solver, facts["names_of_state"], notes)

    serve(address, Hello(shard, {**about(), **(more or {})}), secret=secret, do=do, limits=limits, tell=told)


def _evaluated(net: Net, shard: int, weights: WeightCollection, evaluated: Evaluated | None) -> list[Any]:
    """Return the sums of the metrics over this worker's part of the evaluation set, exactly."""
    assert evaluated is not None, "the driver asks for an evaluation that it did not announce"
    with located(f"shard {shard}"):
        return condensed(evaluate_shard(net, evaluated.batches, weights, evaluated.preprocessor, evaluated.even))


def result_of(
    outcome: Outcome,
    start: WeightCollection,
    solver: SolverState,
    names: Sequence[str],
    notes: Mapping[str, Any],
    size: int = DATA,
) -> Result:
    """Return what the driver gets of an outcome, in slices of ``size`` bytes.

    ``start`` and ``solver`` are what the worker was given: schemas are told where they have changed. ``names`` are those of the arrays of
    the state that the driver wants; none: all. ``notes`` is what it is told beside.
    """
    state = asked_of(outcome.state, names)
    weights = schema_of(outcome.weights)
    of_state = schema_of_state(state)
    told_alike = {
        "facts": {name: getattr(outcome, name) for name in _FACTS},
        "weights": None if same(weights, schema_of(start)) else as_lists(weights),
        "state": None if same(of_state, schema_of_state(asked_of(solver, names))) else as_lists(of_state),
    }
    layout = Layout(weights)
    slices = Slices([layout, Layout(of_state, layout.end)], [*outcome.weights.arrays(), *state.values()], size)
    notes = {"seconds": outcome.seconds, **notes}
    return Result(outcome.steps, slices, json.dumps(told_alike).encode(), json.dumps(notes).encode())


def _task(facts: dict[str, Any]) -> Task:
    even = facts.pop("even")
    return Task(**facts, even=None if even is None else Even(**even))
