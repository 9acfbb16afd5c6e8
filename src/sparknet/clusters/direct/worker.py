"""The workers' end: the work of a round that comes from a hub."""

import json
from collections.abc import Callable
from typing import Any

from sparknet.clusters.direct.bodies import packed_up, sliced, unpacked
from sparknet.clusters.direct.told import told
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even
from sparknet.data.shards import Stored
from sparknet.nets.base import Net
from sparknet.serialization import dump_parts, loads
from sparknet.transport import Hello, Limits, Result, serve
from sparknet.worker import Task, train_round

__all__ = ["serve_shard"]

_FACTS = ("loss", "steps", "updates", "examples", "nonfinite")


def serve_shard(
    address: tuple[str, int],
    shard: int,
    *,
    secret: bytes,
    limits: Limits,
    make_net: Callable[[], Net],
    stored: Stored,
    preprocessor: Preprocessor | None,
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

    Raises
    ------
    ClusterError
        As :func:`sparknet.transport.serve` does.
    """
    nets: list[Net] = []

    def do(body: memoryview, exactly: int | None, is_wanted: Callable[[], bool]) -> Result:
        del is_wanted  # rounds wait for all
        if not nets:
            nets.append(make_net())
        facts, (weights, state) = unpacked(body)
        start, solver = loads(weights), loads(state)
        outcome = train_round(nets[0], stored, _task(facts["task"]), start, solver, preprocessor, exactly=exactly)
        told_alike = {name: getattr(outcome, name) for name in _FACTS}
        slices = sliced(packed_up(told_alike, [dump_parts(outcome.weights), dump_parts(outcome.state)]))
        size = sum(part.nbytes for each in slices for part in each)
        result = json.dumps({"bytes": size, **told_alike}).encode()
        return Result(outcome.steps, slices, result, json.dumps({"seconds": outcome.seconds}).encode())

    serve(address, Hello(shard), secret=secret, do=do, limits=limits, tell=told)


def _task(facts: dict[str, Any]) -> Task:
    even = facts.pop("even")
    return Task(**facts, even=None if even is None else Even(**even))
