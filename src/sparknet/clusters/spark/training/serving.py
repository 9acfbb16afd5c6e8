"""The tasks of a session's one long job: each is the worker of its shard, from the beginning of the session to its end.

A task gets the minibatches of its shard from Spark once, and keeps them in a file. So it can run on any machine, and again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sparknet.backends import release_memory
from sparknet.clusters.direct.worker import Evaluated, serve_shard
from sparknet.clusters.spark.packed.shard_files import OpenShardFile, ShardFile, opened, unnamed
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net, NetFactory
from sparknet.transport import Credentials, Limits

__all__ = ["ATTEMPT", "Server"]

ATTEMPT = "task attempt"  # under which a worker tells Spark's number of its task


@dataclass(frozen=True)
class Server:
    """What a task needs to be a worker, beside its shard; picklable.

    Parameters
    ----------
    address, credentials, limits
        Of the hub.
    factory, preprocessor
        Of the training.
    files
        Those of the evaluation set, of which this machine may have some.
    evaluated
        Preprocessor of the evaluation set, and what happens to its short minibatches; None: nothing is evaluated.
    """

    address: tuple[str, int]
    credentials: Credentials
    limits: Limits
    factory: NetFactory
    preprocessor: Preprocessor | None
    files: Sequence[ShardFile]
    evaluated: tuple[Preprocessor | None, Even | None] | None

    def __call__(self, shard: int, partition: Iterable[tuple[int, bytes]]) -> Iterator[Any]:
        """Serve a shard, given its (minibatch number, message) pairs."""
        stored = _Later()
        with ExitStack() as kept:

            def make_net() -> Net:
                # All that Spark sends is read to its end, or Spark would end this process with the task.
                stored.file = kept.enter_context(unnamed(shard, (message for _, message in partition)))
                return self.factory(seed=0)

            serve_shard(
                self.address,
                shard,
                secret=self.credentials,
                limits=self.limits,
                make_net=make_net,
                stored=stored,
                preprocessor=self.preprocessor,
                evaluated=self._evaluated(),
                more={ATTEMPT: str(_attempt())},
            )
        release_memory()
        return iter(())

    def _evaluated(self) -> Evaluated | None:
        if self.evaluated is None:
            return None
        return Evaluated(lambda part: opened(self.files[part]), len(self.files), *self.evaluated)


class _Later:
    """A shard whose file is there once the net is made: by then the worker is connected, however long its data takes to come."""

    file: OpenShardFile

    def __getitem__(self, index: int) -> Mapping[str, NDArray]:
        return self.file[index]


def _attempt() -> int:
    from pyspark import TaskContext

    task = TaskContext.get()
    return -1 if task is None else int(task.taskAttemptId())
