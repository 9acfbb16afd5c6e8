"""What the tasks of SparkCluster do, in the Python workers."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sparknet.clusters.spark.jobs.stacks import observed
from sparknet.clusters.spark.packed.shard_files import Kept
from sparknet.clusters.spark.packed.shard_tasks import on_shard
from sparknet.clusters.spark.training.net_cache import device_of, kept_net
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even
from sparknet.data.shards import Stored
from sparknet.errors import SparknetError, located
from sparknet.nets.base import Net, NetFactory
from sparknet.serialization import dumps, loads
from sparknet.worker import Task, evaluate_shard, train_round

__all__ = ["evaluate_partition", "train_partition"]

_FACTS = ("worker", "loss", "steps", "updates", "examples", "seconds", "nonfinite")


def train_partition(
    index: int,
    partition: Iterable[Kept],
    *,
    run: str,
    factory: NetFactory,
    sent: Any,
    tasks: Sequence[Task],
    preprocessor: Preprocessor | None,
) -> Iterator[Any]:
    """Yield the reply of worker ``index``: (weights, state, facts, seconds of fetching), an error, or Away."""
    return on_shard(partition, lambda stored: _trained(stored, run, factory, sent.value, tasks[index], preprocessor))


def _trained(
    stored: Stored,
    run: str,
    factory: NetFactory,
    payload: Sequence[Any],
    task: Task,
    preprocessor: Preprocessor | None,
) -> tuple[bytes, bytes, dict[str, Any], float]:
    start = time.perf_counter()
    parts = payload[0], payload[1 + task.worker % (len(payload) - 1)]  # the states of others are not even read
    weights, state = (loads(part, verify=True) for part in parts)
    fetched = time.perf_counter() - start
    outcome = train_round(_net_of(run, factory), stored, task, weights, state, preprocessor)
    facts = {name: getattr(outcome, name) for name in _FACTS}
    return dumps(outcome.weights), dumps(outcome.state), facts, fetched


def evaluate_partition(
    shard: int,
    partition: Iterable[tuple[int, bytes]],
    *,
    run: str,
    factory: NetFactory,
    sent: Any,
    preprocessor: Preprocessor | None,
    even: Even,
) -> Iterator[Any]:
    """Yield for each minibatch the sums of its metrics and its examples, or an error."""
    batches = (loads(message) for _, message in observed(partition, "evaluate()", shard))
    try:
        weights = loads(sent.value[0], verify=True)
        with located(f"shard {shard}"):
            yield from evaluate_shard(_net_of(run, factory), batches, weights, preprocessor, even)
    except SparknetError as error:
        yield error


def _net_of(run: str, factory: NetFactory) -> Net:
    return kept_net(
        run, lambda: factory(seed=0), most=1, device=device_of(factory)
    )  # an earlier run's net is only memory
