"""Preprocessors: what is done to a whole batch between storage and the net.

A preprocessor is a picklable value, called with the batch, a random generator (seeded for the step)
and whether this is training. It returns a new mapping and leaves its input's arrays as they are.
Images are (n, c, h, w), their channels R, G, B until :class:`ToBGR`. In training crops and mirrors
are random, in test they are fixed.

Crops and mirrors give the same result before the mean and the scale as after them, and in a
:class:`Compose` at the same cost; but a mean image has to be subtracted while the images are whole.

Examples
--------
What Caffe's ``transform_param { crop_size: 24 mirror: true mean_value: 104 mean_value: 117
mean_value: 123 scale: 0.017 }`` does, to the last bit:

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
