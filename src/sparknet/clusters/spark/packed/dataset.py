"""PackedDataset: minibatches on Spark, and what can be done with them without the rows that they were packed from."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sparknet.clusters.spark.jobs.running import collected, release, run_job
from sparknet.clusters.spark.jobs.sessions import check_packed, is_stopped
from sparknet.clusters.spark.packed import saving
from sparknet.clusters.spark.packed.exchange import as_records, exchanged
from sparknet.clusters.spark.packed.files_of_shards import FilesOfShards
from sparknet.clusters.spark.packed.manifest import Manifest
from sparknet.clusters.spark.packed.positions import Positions, in_order, split_part
from sparknet.clusters.spark.packed.shard_tasks import mapped_shards
from sparknet.clusters.spark.packed.sums import tree_sum
from sparknet.data.dataset import Dataset
from sparknet.data.fields import Field
from sparknet.data.layout import Layout, is_whole, share_and_seed, split_positions
from sparknet.data.packed_set import PackedSet
from sparknet.data.preprocess import Preprocessor
from sparknet.data.ragged import Ragged, check_padding
from sparknet.data.records import Records
from sparknet.data.shards import Shard, check_function
from sparknet.errors import DataError
from sparknet.ndarray import NDArray
from sparknet.serialization import loads

if TYPE_CHECKING:
    from pyspark import RDD

    from sparknet.clusters.spark.packed.shard_files import ShardFile

__all__ = ["PackedDataset", "ShardSize", "packed_from", "storage_level"]


class ShardSize(NamedTuple):
    """The size of a shard. ``nbytes`` counts the examples, without the messages around them."""

    batches: int
    examples: int
    nbytes: int


@dataclass(frozen=True, eq=False)
class PackedDataset(PackedSet):
    """Minibatches on Spark: partition ``k`` holds the minibatches ``k, k + shards, ...`` as messages.

    Parameters
    ----------
    rdd
        Persisted RDD of (minibatch number, message of :func:`sparknet.dumps`): the minibatches as stored, before the
        preprocessor. :meth:`map_shards` gives them as they are used.
    fields
        The fields of a minibatch, as stored (before the preprocessor).
    batch_size
        Examples in every minibatch but the last.
    num_batches, num_examples
        Of the whole set.
    shards
        Number of partitions.
    preprocessor
        Applied when a minibatch is used. ``dataclasses.replace(data, preprocessor=...)`` is another view of the same
        minibatches: releasing one of them releases both.
    ragged, padding
        What happens to a short minibatch when it is used, as for :func:`~sparknet.spark.pack`. They may be replaced too.
    """

    rdd: "RDD[tuple[int, bytes]]"
    fields: tuple[Field, ...]
    batch_size: int
    num_batches: int
    num_examples: int
    shards: int
    preprocessor: Preprocessor | None = None
    ragged: Ragged | None = None
    padding: Mapping[str, float] | None = None
    # Shared by the data sets that `replace` makes from this one.
    _files_of_shards: FilesOfShards = field(default_factory=FilesOfShards, repr=False)

    _iteration_hint = (
        "map_shards(fn) goes through its minibatches where they are, to_local() brings them into this process"
    )

    def __repr__(self) -> str:
        return (
            f"<PackedDataset: {self.num_examples:,} examples in {self.num_batches:,} minibatches of {self.batch_size}, "
            f"{self.nbytes:,} bytes, {self.shards} shards of {self._least_most('examples')} examples>"
        )

    def _least_most(self, name: str) -> str:
        values = [getattr(size, name) for size in self.shard_sizes]
        return f"{min(values):,} to {max(values):,}" if min(values) < max(values) else f"{min(values):,}"

    def count(self) -> int:
        """Return the number of examples."""
        return self.num_examples

    @property
    def nbytes(self) -> int:
        """Bytes of all examples, without the messages around them (some 200 bytes for each minibatch)."""
        return self.num_examples * self._records.size

    @property
    def shard_sizes(self) -> list[ShardSize]:
        """The size of each shard; they differ by one minibatch at most."""
        layout = self._layout(self.shards)
        examples = [layout.examples(k) for k in range(self.shards)]
        return [ShardSize(len(layout.batches(k)), n, n * self._records.size) for k, n in enumerate(examples)]

    @property
    def _records(self) -> Records:
        return Records(self.fields)

    def _layout(self, shards: int) -> Layout:
        return Layout(self.num_examples, self.batch_size, shards)

    def first_batch(self) -> Mapping[str, NDArray]:
        """Return the first minibatch, as stored; runs a small job."""
        check_packed(self.rdd, "first_batch()")
        return loads(run_job(self.rdd.first)[1])  # type: ignore[no-any-return]

    def map_shards(self, fn: Callable[[Shard], Any], workers: int | None = None) -> list[Any]:
        """Return ``fn(shard)`` for each shard, computed in a task where its minibatches are; runs one job.

        It is for training loops of your own: ``fn`` gets the minibatches as a worker of :func:`~sparknet.averaged_sgd` does. The
        first call writes each shard to a file beside its worker. Later tasks read only the minibatches that they use.

        Parameters
        ----------
        fn
            Called with a :class:`~sparknet.data.Shard`. It is sent to the tasks with all objects that it refers to; send
            large weights by ``context.broadcast``. Spark may call it twice for a shard, so it should change nothing outside.
            It computes with one BLAS thread if threadpoolctl is installed.
        workers
            None, or the number of shards: so the same call works on both kinds of data set.

        Returns
        -------
        list
            What ``fn`` returned, in the order of the shards. It travels pickled, so it may be numbers, arrays,
            WeightCollections, and lists and dicts of these.

        Raises
        ------
        DataError
            ``workers`` is another number than the data set has shards, ``fn`` is no function or cannot be sent, what it returned cannot be sent
            back (a generator), or ``ragged="pad"`` does not say what with.
        SparknetError
            ``fn`` raised it. The message begins with the shard, and the task was not tried again.
        ClusterError
            ``fn`` raised anything else in every attempt of Spark. The message names the shard, and the line in your file.

        Examples
        --------
        >>> def rows(shard):  # data.map_shards(rows)
        ...     return sum(len(batch["label"]) for batch in shard)
        """
        check_function("map_shards()", fn)
        check_packed(self.rdd, "map_shards()")
        if workers not in (None, self.shards):
            msg = f"map_shards(): got workers={workers!r}, and there are {self.shards} shards; leave it out, or reshard({workers!r})"
            raise DataError(msg)
        check_padding("map_shards()", self.ragged, self.padding)
        return mapped_shards(self, fn)

    def _summed(self, part: Callable[[Iterable[Mapping[str, NDArray]]], Any]) -> Any:
        """Return the sum of ``part(minibatches)`` over the shards, each computed where it is; runs one job.

        Parameters
        ----------
        part
            Called with the minibatches of a shard in their order, as stored: without the preprocessor, which
            :meth:`map_shards` applies. It returns a number, an array, a WeightCollection or anything else with a sum; or a
            dict of these, which is added up by key.

        Raises
        ------
        DataError
            ``part`` cannot be sent, or returned what cannot be added up (None, a tuple, a list, a text, booleans of numpy), or
            arrays of different shapes.
        SparknetError, ClusterError
            ``part`` raised it, or anything else, as for :meth:`map_shards`.
        """
        check_packed(self.rdd, "summed()")
        return tree_sum(self.rdd, part)

    def summed(self, part: Callable[[Iterable[Mapping[str, NDArray]]], Any]) -> Any:
        """Return the sum of ``part(minibatches)`` over the shards. Kept for programs that have it: take :meth:`map_shards`.

        :meta private:
        """
        return self._summed(part)

    def reshard(self, shards: int) -> "PackedDataset":
        """Return a persisted copy of the data set, with the same minibatches dealt out to another number of shards."""
        if not is_whole(shards, 1):
            msg = f"reshard(): shards: got {shards!r}, expected a whole number of at least 1"
            raise DataError(msg)
        check_packed(self.rdd, "reshard()")
        return self._dealt(shards)._persisted(self.rdd.getStorageLevel())

    def _dealt(self, shards: int) -> "PackedDataset":
        return self._repacked(in_order(self.num_examples, self.num_examples), self._layout(shards))

    def train_test_split(
        self,
        test_size: float | None = None,
        seed: int | None = None,
        *,
        random_state: int | None = None,
        fraction: float | None = None,
    ) -> "tuple[PackedDataset, PackedDataset]":
        """Split the examples into a training set and a test set, as :meth:`sparknet.data.Dataset.train_test_split` does.

        Both are packed again and persisted as this one is. They are copies, so this one may be unpersisted. The short last
        minibatch of each is left out if ``ragged`` is ``"drop"``.
        """
        check_packed(self.rdd, "train_test_split()")
        share, chosen = share_and_seed(test_size, seed, random_state, fraction)
        parts_of_all = split_positions(self.num_examples, share, chosen)
        totals = [self.even.num_packed(int((part >= 0).sum()), "train_test_split()") for part in parts_of_all]
        parts = []
        for which, total in enumerate(totals):
            positions = split_part(which, self.num_examples, share, chosen, total)
            shards = min(self.shards, -(-total // self.batch_size))
            part = self._repacked(positions, Layout(total, self.batch_size, shards))
            parts.append(part._persisted(self.rdd.getStorageLevel()))
        train, test = parts
        return train, test

    def _repacked(self, positions: Positions, layout: Layout) -> "PackedDataset":
        rows = as_records(self.rdd, self._records, self.batch_size)
        packed = packed_from(rows, positions, self.fields, layout, self.preprocessor)
        return replace(packed, ragged=self.ragged, padding=self.padding)

    def _persisted(self, storage: Any) -> "PackedDataset":
        """Return this data set after its minibatches were computed and persisted."""
        self.rdd.persist(storage)
        try:
            run_job(self.rdd._jrdd.count)  # in the JVM: a count in Python would pipe all minibatches to Python
        except BaseException:
            release(self.rdd)
            raise
        return self

    def to_local(self) -> Dataset:
        """Return the whole set in the driver's memory, for ``LocalCluster``."""
        check_packed(self.rdd, "to_local()")
        messages = dict(collected(self.rdd))
        batches = [loads(messages[i]) for i in range(self.num_batches)]
        return Dataset(batches, self.fields, self.batch_size, self.preprocessor, self.ragged, self.padding)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the data set to files, which :func:`sparknet.spark.load_packed` loads, so that it is packed only once.

        Parameters
        ----------
        path
            A directory that does not exist yet, on any file system that Spark knows (``hdfs://...``,
            ``s3a://...``) and all executors reach. The preprocessor is not saved, ``ragged`` and ``padding`` are.

        Raises
        ------
        DataError
            ``path`` exists, or is the root of a file system. A data set that was not saved completely is refused by
            ``load_packed``.
        """
        check_packed(self.rdd, "save()")
        choice = {"ragged": self.ragged, "padding": None if self.padding is None else dict(self.padding)}
        manifest = Manifest(self.fields, self._layout(self.shards), choice)
        saving.write(self.rdd, os.fspath(path).rstrip("/"), manifest)

    @property
    def _files(self) -> "RDD[ShardFile]":
        return self._files_of_shards.of(self.rdd)

    @property
    def _files_again(self) -> "RDD[ShardFile]":
        return self._files_of_shards.written_again(self.rdd)

    def unpersist(self) -> None:
        """Release the memory and files of the cluster. The data set must not be used after that."""
        if is_stopped(self.rdd.context):  # and everything went with it
            self._files_of_shards.forget(self.rdd)
            return
        self._files_of_shards.remove(self.rdd)
        self.rdd.unpersist()


def packed_from(
    rows: "RDD[tuple[int, bytes]]",
    positions: Positions,
    fields: tuple[Field, ...],
    layout: Layout,
    preprocessor: Preprocessor | None,
) -> PackedDataset:
    """Return the data set that :func:`~sparknet.clusters.spark.packed.exchange.exchanged` makes. It is not computed yet."""
    rdd = exchanged(rows, positions, Records(fields), layout)
    return PackedDataset(rdd, fields, layout.batch_size, layout.num_batches, layout.total, layout.shards, preprocessor)


def storage_level(storage: Any) -> Any:
    """Return a ``pyspark.StorageLevel`` that stores, by default ``MEMORY_AND_DISK``; a DataError for anything else."""
    from pyspark import StorageLevel

    if storage is None:
        return StorageLevel.MEMORY_AND_DISK
    if not isinstance(storage, StorageLevel) or not (storage.useMemory or storage.useDisk):
        msg = f"storage: got {storage!s}, expected a pyspark.StorageLevel that stores, such as StorageLevel.DISK_ONLY"
        raise DataError(msg)
    return storage
