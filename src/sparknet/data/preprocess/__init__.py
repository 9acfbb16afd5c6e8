"""Preprocessors: steps on a whole batch between storage and the net.

A preprocessor is a picklable value. It is called with the batch, a random generator (seeded for the step), and whether this is
training. It returns a new mapping and does not change the arrays of its input. Images are (n, c, h, w), and their channels are
R, G, B until :class:`ToBGR`. Crops and mirrors are random in training and fixed in test.

Crops and mirrors give the same result before the mean and the scale as after them, and in a :class:`Compose` at the same cost.
But subtract a mean image before the crop, while the images are whole.

Examples
--------
The same as Caffe's ``transform_param { crop_size: 24 mirror: true mean_value: 104 mean_value: 117 mean_value: 123
scale: 0.017 }``, to the last bit:

>>> import numpy as np
>>> from sparknet import Field, NDArray
>>> steps = Compose(
...     ToBGR("data"),
...     Crop("data", 24, 24),
...     Mirror("data"),
...     SubtractMean("data", [104, 117, 123]),
...     Scale("data", 0.017),
... )
>>> steps.fields([Field("data", (3, 28, 28), "uint8")])
[Field(name='data', shape=(3, 24, 24), dtype='float32')]
>>> batch = {"data": NDArray(np.zeros((8, 3, 28, 28), np.uint8))}
>>> steps(batch, np.random.default_rng(7), train=True)["data"].shape
(8, 3, 24, 24)
"""

from sparknet.data.preprocess.base import Preprocessor
from sparknet.data.preprocess.channels import Grayscale, ToBGR, ToCHW
from sparknet.data.preprocess.decoding import Decode
from sparknet.data.preprocess.geometry import Crop, Mirror, Resize
from sparknet.data.preprocess.pixels import Compose
from sparknet.data.preprocess.values import LabelMap, Scale, SubtractMean

__all__ = [
    "Compose",
    "Crop",
    "Decode",
    "Grayscale",
    "LabelMap",
    "Mirror",
    "Preprocessor",
    "Resize",
    "Scale",
    "SubtractMean",
    "ToBGR",
    "ToCHW",
]
