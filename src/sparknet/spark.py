"""The public names of sparknet on Spark. The code is in the rooms of :mod:`sparknet.clusters.spark`."""

from sparknet.clusters.spark.images.decoding import BadImages, decode_images
from sparknet.clusters.spark.images.reading import image_classes, read_image_tars, read_images
from sparknet.clusters.spark.inference.bad_rows import BadRows
from sparknet.clusters.spark.inference.evaluate import evaluate
from sparknet.clusters.spark.inference.predict import featurize, predict
from sparknet.clusters.spark.jobs.startup import start_spark
from sparknet.clusters.spark.packed.dataset import PackedDataset, ShardSize
from sparknet.clusters.spark.packed.load import load_packed
from sparknet.clusters.spark.packing.pack import pack
from sparknet.clusters.spark.training.cluster import SparkCluster
from sparknet.data.mean import channel_means, mean_image

__all__ = [
    "BadImages",
    "BadRows",
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
