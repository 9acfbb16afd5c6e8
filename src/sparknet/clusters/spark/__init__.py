"""Spark: packing RDDs and DataFrames, training on them, and starting a session with clear errors.

The only place that imports pyspark. Weights travel by Spark's own broadcast and collect.
"""

from sparknet.clusters.spark.cluster import SparkCluster
from sparknet.clusters.spark.decoding import BadImages, decode_images
from sparknet.clusters.spark.images import image_classes, read_image_tars, read_images
from sparknet.clusters.spark.inference import evaluate, featurize, predict
from sparknet.clusters.spark.mean import channel_means, mean_image
from sparknet.clusters.spark.packed import PackedDataset, ShardSize
from sparknet.clusters.spark.packing import load_packed, pack
from sparknet.clusters.spark.startup import start_spark

__all__ = [
    "BadImages",
    "PackedDataset",
    "ShardSize",
    "SparkCluster",
    "channel_means",
    "decode_images",
    "evaluate",
    "featurize",
    "image_classes",
    "load_packed",
    "mean_image",
    "pack",
    "predict",
    "read_image_tars",
    "read_images",
    "start_spark",
]
