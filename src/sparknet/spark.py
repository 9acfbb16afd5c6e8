"""The public face of sparknet on Spark (its rooms: :mod:`sparknet.clusters.spark`)."""

from sparknet.clusters.spark import PackedDataset, SparkCluster, pack, start_spark

__all__ = ["PackedDataset", "SparkCluster", "pack", "start_spark"]
