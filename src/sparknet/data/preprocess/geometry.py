"""Steps that move pixels: crop, mirror, resize."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sparknet.data.images import FIT_WARP, check_fit, resize_images
from sparknet.data.preprocess.base import IMAGE, ArrayStep, Rng, Shape
from sparknet.errors import DataError

__all__ = ["Crop", "Mirror", "Resize"]


@dataclass(frozen=True)
class Crop(ArrayStep):
    """Cut ``height`` x ``width`` out of the last two axes: at random in training, the centre in test.

    Each image of a batch is cut at its own place. Where the border is odd, the centre is the one
    nearer to the top left corner, as in Caffe.
    """

    field: str
    height: int
    width: int

    def _apply(self, x: Any, rng: Rng, *, train: bool) -> Any:
        free = self._free(x.shape[1:])
        if not train:
            top, left = free[0] // 2, free[1] // 2
            return x[..., top : top + self.height, left : left + self.width]
        windows = np.lib.stride_tricks.sliding_window_view(x, (self.height, self.width), axis=(-2, -1))
        tops = rng.integers(0, free[0], len(x), endpoint=True)
        lefts = rng.integers(0, free[1], len(x), endpoint=True)
        index: tuple[Any, ...] = (np.arange(len(x)), *([slice(None)] * (x.ndim - 3)), tops, lefts)
        return np.ascontiguousarray(windows[index])

    def _free(self, shape: Shape) -> tuple[int, int]:
        if len(shape) < IMAGE - 1 or shape[-2] < self.height or shape[-1] < self.width:
            msg = f"Crop: {self.height}x{self.width} does not fit into {self.field!r} of shape {shape}"
            raise DataError(msg)
        return shape[-2] - self.height, shape[-1] - self.width

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        self._free(shape)
        return (*shape[:-2], self.height, self.width), dtype


@dataclass(frozen=True)
class Mirror(ArrayStep):
    """Flip each image left to right with probability one half in training; nothing in test."""

    field: str

    def _apply(self, x: Any, rng: Rng, *, train: bool) -> Any:
        if not train:
            return x
        flip = rng.integers(0, 2, len(x)).astype(bool)
        out = x.copy()
        out[flip] = x[flip][..., ::-1]
        return out

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if len(shape) < IMAGE - 1:
            raise self._misfit(shape, dtype, "images (c, h, w) or (h, w)")
        return shape, dtype


@dataclass(frozen=True)
class Resize(ArrayStep):
    """Resize images (c, h, w), uint8 or float32, to ``height`` x ``width``; the same in training and test.

    ``fit="warp"`` changes the proportions, as Caffe's ``resize_height`` and ``new_height`` do;
    ``"crop"`` keeps them, brings the shorter side to size and cuts the centre out of the longer one.
    Bilinear, over all pixels that a new one covers (Pillow's, which has to be installed).
    """

    field: str
    height: int
    width: int
    fit: str = FIT_WARP

    def __post_init__(self) -> None:
        """Refuse a size or fit that is none."""
        check_fit(self.height, self.width, self.fit)

    def _apply(self, x: Any, rng: Rng, *, train: bool) -> Any:
        del rng, train
        return resize_images(x, self.height, self.width, self.fit)

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if len(shape) != IMAGE or not all(shape) or dtype not in ("uint8", "float32"):
            raise self._misfit(shape, dtype, "images (c, h, w), uint8 or float32")
        return (shape[0], self.height, self.width), dtype
