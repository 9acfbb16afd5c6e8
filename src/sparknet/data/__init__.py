"""Data: fields, minibatches, preprocessing, sampling, images, and readers of image files."""

from sparknet.data import preprocess
from sparknet.data.dataset import Dataset
from sparknet.data.fields import Field
from sparknet.data.images import ImageDecoder
from sparknet.data.images.sets import ImageSet, load_image_set
from sparknet.data.mean import channel_means, mean_image
from sparknet.data.packing import pack
from sparknet.data.readers import read_cifar10, read_idx
from sparknet.data.sampling import EpochSampler
from sparknet.data.shards import Shard

__all__ = [
    "Dataset",
    "EpochSampler",
    "Field",
    "ImageDecoder",
    "ImageSet",
    "Shard",
    "channel_means",
    "load_image_set",
    "mean_image",
    "pack",
    "preprocess",
    "read_cifar10",
    "read_idx",
]
