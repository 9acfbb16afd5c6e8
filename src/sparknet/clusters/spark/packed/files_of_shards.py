"""The files of all shards of a data set: the RDD that says where they are, and how they are removed.

The file of one shard is written and read in :mod:`.shard_files`.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from sparknet.clusters.spark.jobs.running import is_stored
from sparknet.clusters.spark.packed import shard_files

if TYPE_CHECKING:
    from pyspark import RDD

    from sparknet.clusters.spark.packed.shard_files import ShardFile

__all__ = ["FilesOfShards", "name_of"]


class FilesOfShards:
    """The files of the data sets that share their minibatches, because ``dataclasses.replace`` made them from one another."""

    def __init__(self) -> None:
        self._by_rdd: dict[int, RDD[ShardFile]] = {}  # id of the RDD of minibatches -> where its shards' files are

    def of(self, batches: "RDD[tuple[int, bytes]]") -> "RDD[ShardFile]":
        """Return an RDD that says where the file of each shard is. Its first use writes the files."""
        from pyspark import StorageLevel

        key = batches.id()
        if key not in self._by_rdd:
            written = self.written_again(batches, shard_files.write_first)
            self._by_rdd[key] = written.persist(StorageLevel.MEMORY_AND_DISK)
        return self._by_rdd[key]

    def written_again(
        self, batches: "RDD[tuple[int, bytes]]", write: Callable[..., Any] = shard_files.write
    ) -> "RDD[ShardFile]":
        """Return an RDD like that of :meth:`of` that writes the files again, on whichever machine its task runs."""
        return batches.mapPartitionsWithIndex(partial(write, name=name_of(batches)))

    def remove(self, batches: "RDD[tuple[int, bytes]]") -> None:
        """Remove the files of all workers that can be reached."""
        files = self.forget(batches)
        if files is None:
            return
        remove, context = partial(_remove, name_of(batches)), batches.context
        with suppress(Exception):  # Spark removes the others when their executor ends
            if is_stored(files):  # else the job would write them first
                files.foreach(remove)  # Spark sends a task to where the file is
        files.unpersist()
        # Shards that Spark has moved have files on other executors too: one task for each core usually reaches them all.
        with suppress(Exception):
            context.parallelize(range(context.defaultParallelism)).foreach(remove)

    def forget(self, batches: "RDD[tuple[int, bytes]]") -> "RDD[ShardFile] | None":
        """Forget the files, and return the RDD that says where they are, if there is one."""
        return self._by_rdd.pop(batches.id(), None)


def name_of(batches: "RDD[tuple[int, bytes]]") -> str:
    """Return the name of a data set, by its RDD of minibatches."""
    return f"{batches.context.applicationId}-{batches.id()}"


# ---- in the Python workers
def _remove(name: str, _element: Any) -> None:
    shard_files.remove(name)
