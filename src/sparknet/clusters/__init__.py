"""Clusters: where the workers run. The same training gives the same bits on each of them.

``SparkCluster`` is imported when it is first used, so that nothing here imports pyspark.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparknet.clusters.local import LocalCluster

if TYPE_CHECKING:
    from sparknet.clusters.spark.training.cluster import SparkCluster

__all__ = ["LocalCluster", "SparkCluster"]


def __getattr__(name: str) -> Any:
    if name == "SparkCluster":
        return import_module("sparknet.clusters.spark.training.cluster").SparkCluster
    msg = f"module 'sparknet.clusters' has no attribute {name!r}"
    raise AttributeError(msg)
