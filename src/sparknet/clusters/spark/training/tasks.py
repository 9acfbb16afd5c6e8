"""The work of SparkCluster's tasks, in the Python workers. The parcel hides how weights come to them and go back."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sparknet.clusters.direct.alike import check_alike, made
from sparknet.clusters.spark.jobs.error_values import as_values
from sparknet.clusters.spark.jobs.stacks import observed
from sparknet.clusters.spark.packed.shard_files import ShardFile
from sparknet.clusters.spark.packed.shard_tasks import on_shard
from sparknet.clusters.spark.workers.net_cache import cached_net, device_of
from sparknet.clusters.transport import Parcel
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even
from sparknet.data.shards import Stored
from sparknet.errors import located
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net, NetFactory
from sparknet.serialization import dumps, loads
from sparknet.weights import WeightCollection
from sparknet.worker import Task, evaluate_shard, train_round

__all__ = ["Trained", "evaluate_partition", "train_partition"]

_FACTS = ("worker", "loss", "steps", "updates", "examples", "seconds", "nonfinite")


class Trained(NamedTuple):
    """The reply of a worker after a round.

    ``answer`` stands for the messages of its weights and solver state. ``facts`` are the other fields of its
    :class:`~sparknet.worker.Outcome`. ``opening`` is the time in seconds that opening the parcel took. ``made`` is a hash of the weights
    that the factory has made here.
    """

    answer: Any
    facts: dict[str, Any]
    opening: float
    made: str


def train_partition(
    index: int,
    partition: Iterable[ShardFile],
    *,
    run: str,
    factory: NetFactory,
    parcel: Parcel,
    states: int,
    tasks: Sequence[Task],
    preprocessor: Preprocessor | None,
    about: Mapping[str, str],
) -> Iterator[Any]:
    """Yield the reply of worker ``index``: Trained, an error, or NoFile.

    The parcel holds the message of the weights, and then those of the ``states``: one state for all workers, or one for each. ``about`` is
    what workers and driver have in common.
    """

    def work(stored: Stored) -> Trained:
        check_alike(index, about)
        return _trained(stored, run, factory, parcel, states, tasks[index], preprocessor)

    return on_shard(partition, work)


def _trained(
    stored: Stored,
    run: str,
    factory: NetFactory,
    parcel: Parcel,
    states: int,
    task: Task,
    preprocessor: Preprocessor | None,
) -> Trained:
    start = time.perf_counter()
    messages = parcel.open(0, 1 + task.worker % states)  # the states of other workers are not read
    weights, state = (loads(message, verify=True) for message in messages)
    opening = time.perf_counter() - start
    net, told = _net_of(run, factory, task.worker, weights, f"worker {task.worker}")
    outcome = train_round(net, stored, task, weights, state, preprocessor)
    facts = {name: getattr(outcome, name) for name in _FACTS}
    return Trained(parcel.answer([dumps(outcome.weights), dumps(outcome.state)]), facts, opening, told)


def evaluate_partition(
    shard: int,
    partition: Iterable[tuple[int, bytes]],
    *,
    run: str,
    factory: NetFactory,
    parcel: Parcel,
    preprocessor: Preprocessor | None,
    even: Even,
    about: Mapping[str, str],
) -> Iterator[Any]:
    """Yield metric -> (sum, divisor) of each minibatch, or an error. ``about`` is what workers and driver have in common."""
    batches = (loads(message) for _, message in observed(partition, "evaluate()", shard))
    yield from as_values(_evaluated(shard, batches, run, factory, parcel, preprocessor, even, about))


def _evaluated(
    shard: int,
    batches: Iterable[Mapping[str, NDArray]],
    run: str,
    factory: NetFactory,
    parcel: Parcel,
    preprocessor: Preprocessor | None,
    even: Even,
    about: Mapping[str, str],
) -> Iterator[Any]:
    check_alike(shard, about)
    (message,) = parcel.open(0)
    weights = loads(message, verify=True)
    net, _ = _net_of(run, factory, shard, weights, f"shard {shard}")
    with located(f"shard {shard}"):
        yield from evaluate_shard(net, batches, weights, preprocessor, even)


def _net_of(run: str, factory: NetFactory, shard: int, start: WeightCollection, place: str) -> tuple[Net, str]:
    """Return this worker's net of a run, and a hash of the weights that it was made with. The net of an earlier run is dropped, to free its memory."""

    def make() -> tuple[Net, str]:
        with located(place):
            net = factory(seed=0)
        return net, made(shard, net.get_weights(), start)

    return cached_net(run, make, most=1, device=device_of(factory))
