"""Work on the shards of a packed data set: one task for each shard, on the machine that has its file.

Training and ``map_shards`` both use it, so a round costs the same in both: reading the minibatches that it uses.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparknet.clusters.spark.jobs.error_values import as_value
from sparknet.clusters.spark.jobs.running import collected, pickled
from sparknet.clusters.spark.packed.shard_files import DamagedFileError, ShardFile, is_watched, opened
from sparknet.data.layout import shard_length
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Even
from sparknet.data.shards import Shard, Stored, called
from sparknet.errors import ClusterError, DataError

if TYPE_CHECKING:
    from sparknet.clusters.spark.packed.dataset import PackedDataset

__all__ = ["mapped_shards", "on_shard", "shard_replies"]


@dataclass(frozen=True)
class NoFile:
    """The reply of a task that found no file of its shard on its machine, or a damaged one. It has done nothing."""

    directory: Path


@dataclass(frozen=True)
class JustWritten(NoFile):
    """The reply of a task that has only written its shard's file: Spark could not end it if it went on."""


def shard_replies(data: "PackedDataset", work: Callable[[int, Iterable[ShardFile]], Iterator[Any]]) -> list[Any]:
    """Return the replies of the tasks in the order of the shards.

    A task that has only written its file is run again in another job, which Spark can end when it is cancelled. A task that
    found no file is run again on the minibatches themselves.

    Raises
    ------
    SparknetError
        The reply of a task is this error.
    ClusterError
        A shard cannot be read back, or the job failed.
    """
    replies = collected(data._files.mapPartitionsWithIndex(work))
    for kind in (JustWritten, NoFile):
        again = [shard for shard, reply in enumerate(replies) if isinstance(reply, kind)]
        if again:
            files = data._files if kind is JustWritten else data._files_again
            for shard, reply in zip(again, collected(files.mapPartitionsWithIndex(work), again), strict=True):
                replies[shard] = reply
    for shard, reply in enumerate(replies):
        if isinstance(reply, NoFile):
            msg = (
                f"shard {shard} cannot be read back from {reply.directory}: its disk, or the packed partition, "
                "is damaged; pack or load again"
            )
            raise ClusterError(msg)
    return replies


def mapped_shards(data: "PackedDataset", fn: Callable[[Shard], Any]) -> list[Any]:
    """Return ``fn(shard)`` for each shard of the data, in their order."""
    pickled("map_shards(): the function", fn)
    pickled("map_shards(): the preprocessor", data.preprocessor)
    used = data.even.num_used(data.num_batches, data.num_examples)
    lengths = [shard_length(used, index, data.shards) for index in range(data.shards)]
    work = partial(_mapped, fn=fn, lengths=lengths, preprocessor=data.preprocessor, even=data.even)
    return [pickle.loads(message) for message in shard_replies(data, work)]  # noqa: S301 - pickled in a task of this job


# ---- in the Python workers
def on_shard(partition: Iterable[ShardFile], work: Callable[[Stored], Any]) -> Iterator[Any]:
    """Yield ``work(stored minibatches)`` of one shard, an error of sparknet in its place, or NoFile."""
    (written,) = partition  # reads it to its end: Spark kills a Python worker that leaves input unread
    no_file = NoFile(written.path.parent)
    if not is_watched():
        yield JustWritten(written.path.parent)
        return
    with opened(written) as stored:
        reply = no_file if stored is None else as_value(partial(work, stored))
        yield no_file if isinstance(reply, DamagedFileError) else reply


def _mapped(
    index: int,
    partition: Iterable[ShardFile],
    *,
    fn: Callable[[Shard], Any],
    lengths: list[int],
    preprocessor: Preprocessor | None,
    even: Even,
) -> Iterator[Any]:
    def work(stored: Stored) -> bytes:
        shard = Shard(index, stored, lengths[index], preprocessor, even)
        return _message(called(fn, shard), f"shard {index}")

    return on_shard(partition, work)


def _message(result: Any, caller: str) -> bytes:
    from pyspark import cloudpickle

    try:
        return cloudpickle.dumps(result)  # type: ignore[no-any-return]
    except Exception as error:
        msg = (
            f"{caller}: the function returned a {type(result).__name__}, which cannot be sent to the driver: "
            f"{type(error).__name__}: {error}; expected numbers, arrays, WeightCollections, or lists and dicts of these"
        )
        raise DataError(msg) from error
