"""What a session of workers that stay is opened with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sparknet.clusters.direct.sliced import Aggregation
from sparknet.clusters.spark.packed.dataset import PackedDataset
from sparknet.clusters.spark.packed.shard_files import ShardFile
from sparknet.clusters.spark.training.addresses import is_local
from sparknet.nets.base import NetFactory
from sparknet.transport import Limits

__all__ = ["SessionPlan"]


@dataclass(frozen=True)
class SessionPlan:
    """What a session of workers that stay is opened with.

    Parameters
    ----------
    context
        The SparkContext.
    factory, workers
        Of the training.
    dealt
        The training data, with a shard for each worker.
    evaluated, files
        The evaluation data, if it is known, and the files of its shards.
    address, encrypt, aggregation
        As for :class:`SparkCluster`.
    """

    context: Any
    factory: NetFactory
    workers: int
    dealt: PackedDataset
    evaluated: PackedDataset | None
    files: Sequence[ShardFile]
    address: str | None
    encrypt: bool
    aggregation: Aggregation

    @cached_property
    def limits(self) -> Limits:
        """How long the two sides wait. A step may keep all threads of a worker waiting, so silence is long; the hub learns how long it is.

        On a local master Spark tries no task again, so the job is submitted again instead. The JVM is asked once: Ctrl-C while it is asked
        may end in an error of py4j.
        """
        tries_tasks = int(self.context._conf.get("spark.task.maxFailures", "4")) > 1 and not is_local(self.context)
        return Limits(silence=60.0, tries=2 if tries_tasks else 4)
