"""The store: a shard's minibatches in a file beside the worker that trains on them.

Spark pipes a cached partition from its JVM to Python from beginning to end at every job. With the
store that happens once: the first task writes the messages to a file, and later ones read the few
that a round needs, so a round's cost follows its minibatches and not the shard.

The file is a cache, never the truth. What a task is given is a ``ShardFile``, computed from the partition
by :func:`write` and persisted by Spark where the file is, so that Spark sends tasks to the file, and
writes it again when an executor was lost. A task that runs elsewhere, or finds the file gone or
damaged, says so, and is run again on the partition itself.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparknet.clusters.spark.jobs.local_files import local_directories, naming
from sparknet.errors import ClusterError, FormatError
from sparknet.files.replacing import whole_file
from sparknet.ndarray import NDArray
from sparknet.serialization import loads

__all__ = ["DamagedFileError", "OpenShardFile", "ShardFile", "is_watched", "opened", "remove", "write", "write_first"]

_WRITTEN_BY: list[int | None] = []  # the task of this Python worker that ran write_first() last


class DamagedFileError(FormatError):
    """The file of a shard is not what was written."""


@dataclass(frozen=True)
class ShardFile:
    """The file of a shard: messages one after the other, then the ``count + 1`` offsets between them, int64."""

    path: Path
    size: int
    count: int


@dataclass(frozen=True)
class OpenShardFile:
    """An open file of a shard: minibatches by shard-local index."""

    file: int
    offsets: "np.ndarray[tuple[int], np.dtype[np.int64]]"

    def __getitem__(self, index: int) -> Mapping[str, NDArray]:
        """Return a minibatch; a DamagedFileError if its checksums do not match.

        Read and not mapped: memory is that of one minibatch, and a file cut short is an error, not a signal.
        """
        begin, end = (int(offset) for offset in self.offsets[index : index + 2])
        try:
            return loads(os.pread(self.file, end - begin, begin), verify=True)  # type: ignore[no-any-return]
        except (FormatError, OSError) as error:
            raise DamagedFileError(str(error)) from error


def write(shard: int, partition: Iterable[tuple[int, bytes]], *, name: str) -> Iterator[ShardFile]:
    """Write the shard's (minibatch number, message) pairs to its file, whole or not at all; ``name`` is the data set's.

    Raises
    ------
    ClusterError
        The executor's scratch directory has no room, or cannot be written.
    """
    directories = local_directories()
    directory = directories[shard % len(directories)] / _folder(name)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield _written(directory / f"shard-{shard}", (message for _, message in partition))
    except OSError as error:
        msg = (
            f"shard {shard} cannot be kept in {directory}: {error}; it takes as many bytes there as in the data set: "
            "give spark.local.dir a larger disk, or spread the data over more executors"
        )
        raise ClusterError(msg) from error


def write_first(shard: int, partition: Iterable[tuple[int, bytes]], *, name: str) -> Iterator[ShardFile]:
    """Do what :func:`write` does, as a Python function whose result Spark stores before another one gets it."""
    yield from write(shard, partition, name=name)
    _WRITTEN_BY[:] = [_this_task()]


def is_watched() -> bool:
    """Say whether Spark can end this task.

    It cannot where the same Python worker has just run :func:`write_first` for it: Spark watches a worker for the first of
    the functions that a task runs in it, and that one has returned (SPARK-35009, SPARK-54217). A job that is cancelled
    then keeps its core until the second function returns too.
    """
    return [_this_task()] != _WRITTEN_BY


def _this_task() -> int | None:
    from pyspark import TaskContext

    task = TaskContext.get()
    return None if task is None else task.taskAttemptId()


def _written(path: Path, messages: Iterable[bytes]) -> ShardFile:
    offsets = [0]
    with whole_file(path, synced=False) as file:
        for message in messages:
            with naming(path.parent):
                file.write(message)
            offsets.append(file.tell())
        with naming(path.parent):
            file.write(np.array(offsets, np.int64).tobytes())
            file.flush()
        return ShardFile(path, file.tell(), len(offsets) - 1)


@contextmanager
def opened(written: ShardFile) -> Iterator[OpenShardFile | None]:
    """Open the file for the length of the block; None if it is not on this machine, or not what was written."""
    table = 8 * (written.count + 1)
    try:
        file = os.open(written.path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO is not waited for; its size is 0
    except OSError:
        yield None
        return
    try:
        whole = os.fstat(file).st_size == written.size
        yield (
            OpenShardFile(file, np.frombuffer(os.pread(file, table, written.size - table), np.int64)) if whole else None
        )
    finally:
        os.close(file)


def remove(name: str) -> None:
    """Remove the files of data set ``name`` from this executor."""
    for directory in local_directories():
        shutil.rmtree(directory / _folder(name), ignore_errors=True)


def _folder(name: str) -> str:
    return f"sparknet-{name}"
