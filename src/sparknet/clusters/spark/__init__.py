"""Spark: packing RDDs and DataFrames, training on them, and starting a session with clear errors.

The only place that imports pyspark. Weights travel by Spark's own broadcast and collect.
"""

from sparknet.clusters.spark.cluster import SparkCluster
from sparknet.clusters.spark.packing import PackedDataset, pack
from sparknet.clusters.spark.startup import start_spark

__all__ = ["PackedDataset", "SparkCluster", "pack", "start_spark"]
