"""The workers' end: the work of a round that comes from a hub."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sparknet.clusters.direct.alike import about, made
from sparknet.clusters.direct.exchange import Exchange
from sparknet.clusters.direct.payload import (
    ResultLayout,
    Schema,
    Slices,
    as_lists,
    asked_of,
    same,
    schema_of,
    schema_of_state,
)
from sparknet.clusters.direct.told import told
from sparknet.clusters.direct.zeros import with_zeros
from sparknet.clusters.totals import condensed
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even
from sparknet.data.shards import Stored
from sparknet.errors import ClusterError, located
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net, SolverState
from sparknet.serialization import loads
from sparknet.transport import Credentials, Hello, Limits, Result, serve
from sparknet.weights import WeightCollection
from sparknet.worker import Outcome, Task, begin_round, evaluate_shard, take_steps

__all__ = ["Evaluated", "result_of", "serve_shard"]

_FACTS = ("loss", "steps", "updates", "examples", "nonfinite")


@dataclass(frozen=True)
class Evaluated:
    """The evaluation set as a worker sees it: in parts, of which it may have some alone.

    Parameters
    ----------
    opened
        Called with the number of a part; returns its minibatches as stored, which can be gone through once while they are open, or
        None if this worker does not have them.
    parts
        How many there are.
    preprocessor, even
        Of the evaluation set.
    """

    opened: Callable[[int], AbstractContextManager[Iterable[Mapping[str, NDArray]] | None]]
    parts: int
    preprocessor: Preprocessor | None
    even: Even | None

    def seen(self) -> list[int]:
        """Return the parts that this worker has."""
        return [part for part in range(self.parts) if self._is_seen(part)]

    def _is_seen(self, part: int) -> bool:
        with self.opened(part) as batches:
            return batches is not None

    def metrics(self, net: Net, weights: WeightCollection, parts: Sequence[int]) -> list[Any] | None:
        """Return the exact sums of the metrics over these parts; None if this worker does not have all of them."""
        found: list[Any] = []
        for part in parts:
            with self.opened(part) as batches, located(f"shard {part}"):
                if batches is None:
                    return None
                found += condensed(evaluate_shard(net, batches, weights, self.preprocessor, self.even))
        return found


def serve_shard(
    address: tuple[str, int],
    shard: int,
    *,
    secret: bytes | Credentials,
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
    # Told with each result: of a round that does not wait for this worker the driver does not take what it says.
    notes: dict[str, Any] = {}
    own: list[
        SolverState
    ] = []  # the state that the net was left with, where something else was done with the net since
    keeps = False  # whether the driver may want the worker to go on from that

    exchange = Exchange(shard, address, secret if isinstance(secret, Credentials) else Credentials(secret), limits)

    def work(
        facts: dict[str, Any], messages: list[memoryview], exactly: int | None, is_wanted: Callable[[], bool]
    ) -> Result | None:
        nonlocal keeps
        if "seen" in facts and evaluated is not None:
            return _said(seen=evaluated.seen())
        start, *states = (loads(message, verify=True) for message in messages)
        if not nets:
            with located(f"worker {shard}"):
                net = make_net()
            notes["made"] = made(shard, net.get_weights(), start)
            nets.append(net)
        if "parts" in facts and evaluated is not None:
            if keeps and not own:
                own.append(nets[0].get_state())
            return _said(metrics=evaluated.metrics(nets[0], start, facts["parts"]), **notes)
        if not states and not keeps:
            msg = f"shard {shard}: the driver takes this worker for another one, which has a solver state already"
            raise ClusterError(msg, shard=shard)
        solver = with_zeros(states[0], facts["zeros"]) if states else own[0] if own else nets[0].get_state()
        own.clear()
        keeps = facts["keeps"]
        task = _task(facts["task"])
        names = facts["names_of_state"]
        given = schema_of(start), schema_of_state(asked_of(solver, names))
        begin_round(nets[0], task, start, solver)
        # The net has copies: during the steps nothing holds the message, whose memory is that of the weights and the state once more.
        messages.clear()
        del start, states, solver
        # The slices are asked for before the next work comes, and only that uses the net again.
        outcome = take_steps(nets[0], stored, task, preprocessor, exactly=exactly, lend=True, is_wanted=is_wanted)
        if not is_wanted():
            return None
        return result_of(outcome, *given, names, notes, facts["slice"])

    try:
        serve(
            address,
            Hello(shard, {**about(), **(more or {})}),
            secret=secret,
            do=exchange.doing(work),
            limits=limits,
            tell=told,
        )
    finally:
        exchange.close()


def _said(**notes: Any) -> Result:
    """Return what is no training; another attempt, perhaps on another machine, may say something else."""
    return Result(0, [], notes=json.dumps(notes).encode())


def result_of(
    outcome: Outcome,
    given: Schema,
    given_state: Schema,
    names: Sequence[str],
    notes: Mapping[str, Any],
    size: int,
) -> Result:
    """Return what the driver gets of an outcome, in slices of ``size`` bytes.

    ``given`` and ``given_state`` are the schemas of what the worker was given: those of the outcome are told where they have changed.
    ``names`` are those of the arrays of the state that the driver wants; none: all. ``notes`` is what it is told beside.
    """
    state = asked_of(outcome.state, names)
    weights = schema_of(outcome.weights)
    of_state = schema_of_state(state)
    told_alike = {
        "facts": {name: getattr(outcome, name) for name in _FACTS},
        "weights": None if same(weights, given) else as_lists(weights),
        "state": None if same(of_state, given_state) else as_lists(of_state),
    }
    layout = ResultLayout(weights)
    slices = Slices([layout, ResultLayout(of_state, layout.end)], [*outcome.weights.arrays(), *state.values()], size)
    whole = outcome.weights.nbytes + sum(array.nbytes for array in outcome.state.values())
    notes = {"seconds": outcome.seconds, "bytes": whole, **notes}
    return Result(outcome.steps, slices, json.dumps(told_alike).encode(), json.dumps(notes).encode())


def _task(facts: dict[str, Any]) -> Task:
    even = facts.pop("even")
    return Task(**facts, even=None if even is None else Even(**even))
