"""The public face of sparknet on Spark (its rooms: :mod:`sparknet.clusters.spark`)."""

from sparknet.clusters.spark import (
    BadImages,
    PackedDataset,
    ShardSize,
    SparkCluster,
    channel_means,
    decode_images,
    evaluate,
    featurize,
    image_classes,
    load_packed,
    mean_image,
    pack,
    predict,
    read_image_tars,
    read_images,
    start_spark,
)

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
