"""The file of a shard: its minibatches, beside the worker that trains on them.

In every job Spark pipes a cached partition from its JVM to Python, from beginning to end. With the file that happens
once: the first task writes the messages to it, and later tasks read the few that a round needs. So the cost of a round
follows its minibatches and not the size of the shard.

The file is only a cache. A task gets a ``ShardFile``, which :func:`write` computes from the partition. Spark persists it on the
executor that has the file. So Spark sends tasks to the file, and computes it again when an executor is lost. A task that runs
on another machine, or finds the file missing or damaged, reports that, and its work is run again on the partition itself.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparknet.clusters.spark.jobs.local_files import local_directories, naming
from sparknet.errors import ClusterError, FormatError
from sparknet.files.replacing import whole_file
from sparknet.ndarray import NDArray
from sparknet.serialization import loads

__all__ = [
    "DamagedFileError",
    "OpenShardFile",
    "ShardFile",
    "is_watched",
    "opened",
    "remove",
    "unnamed",
    "write",
    "write_first",
]

_WRITTEN_BY: list[int | None] = []  # the last task of this Python worker that ran write_first()


class DamagedFileError(FormatError):
    """The file of a shard has other contents than were written."""


@dataclass(frozen=True)
class ShardFile:
    """Where a shard's file is. It holds ``count`` messages, and then ``count + 1`` offsets, int64: 0 and the end of each message."""

    path: Path
    size: int
    count: int


@dataclass(frozen=True)
class OpenShardFile:
    """An open file of a shard: the minibatches by their index in the shard."""

    file: int
    offsets: "np.ndarray[tuple[int], np.dtype[np.int64]]"

    def __iter__(self) -> Iterator[Mapping[str, NDArray]]:
        """Read one minibatch after the other."""
        return map(self.__getitem__, range(len(self.offsets) - 1))

    def __getitem__(self, index: int) -> Mapping[str, NDArray]:
        """Return a minibatch; a DamagedFileError if its checksums do not match.

        The file is read, not mapped: only one minibatch is in memory, and a truncated file is an error, not a signal.
        """
        begin, end = (int(offset) for offset in self.offsets[index : index + 2])
        try:
            return loads(os.pread(self.file, end - begin, begin), verify=True)  # type: ignore[no-any-return]
        except (FormatError, OSError) as error:
            raise DamagedFileError(str(error)) from error


def write(shard: int, partition: Iterable[tuple[int, bytes]], *, name: str) -> Iterator[ShardFile]:
    """Write the (minibatch number, message) pairs of a shard to its file, whole or not at all. ``name`` is that of the data set.

    Raises
    ------
    ClusterError
        The scratch directory of the executor is full, or cannot be written.
    """
    directories = local_directories()
    directory = directories[shard % len(directories)] / _folder(name)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield _written(directory / f"shard-{shard}", (message for _, message in partition))
    except OSError as error:
        raise _no_room(shard, directory, error) from error


def _no_room(shard: int, directory: Path, error: OSError) -> ClusterError:
    msg = (
        f"shard {shard} cannot be kept in {directory}: {error}; it takes as many bytes there as in the data set: "
        "give spark.local.dir a larger disk, or spread the data over more executors"
    )
    return ClusterError(msg)


def write_first(shard: int, partition: Iterable[tuple[int, bytes]], *, name: str) -> Iterator[ShardFile]:
    """Do what :func:`write` does, where Spark stores the result before another function of the same task gets it."""
    yield from write(shard, partition, name=name)
    _WRITTEN_BY[:] = [_this_task()]


def is_watched() -> bool:
    """Say whether Spark can end this task when its job is cancelled.

    It cannot if the same Python worker has just run :func:`write_first` for the task. Spark watches a worker only during the
    first function that a task runs in it (SPARK-35009, SPARK-54217), and that one has returned. A cancelled job would keep
    its core until the second function returns too.
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
    """Open the file for the length of the block; None if it is not on this machine, or has another size than was written."""
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


@contextmanager
def unnamed(shard: int, messages: Iterable[bytes]) -> Iterator[OpenShardFile]:
    """Keep messages in a file for the length of the block. It has no name, so nothing is left of it whatever ends this process.

    Raises
    ------
    ClusterError
        The scratch directory of the executor is full, or cannot be written.
    """
    directories = local_directories()
    directory = directories[shard % len(directories)]
    with ExitStack() as kept:
        offsets = [0]
        try:
            file = kept.enter_context(tempfile.TemporaryFile(dir=directory))
            for message in messages:
                offsets.append(offsets[-1] + file.write(message))
            file.flush()
        except OSError as error:
            raise _no_room(shard, directory, error) from error
        yield OpenShardFile(file.fileno(), np.array(offsets, np.int64))


def remove(name: str) -> None:
    """Remove the files of data set ``name`` from this executor."""
    for directory in local_directories():
        shutil.rmtree(directory / _folder(name), ignore_errors=True)


def _folder(name: str) -> str:
    return f"sparknet-{name}"
