"""Steps on the channels of images: their axis, their order, their number."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sparknet.data.preprocess.base import IMAGE, ArrayStep, Rng, Shape

__all__ = ["Grayscale", "ToBGR", "ToCHW"]

# ITU-R 601-2 luma in 16 bits, as Pillow computes it: 0.299 R + 0.587 G + 0.114 B.
_LUMA = np.array([19595, 38470, 7471], np.uint32)


@dataclass(frozen=True)
class ToCHW(ArrayStep):
    """Images (h, w, c), as numpy and Spark's ``image`` source have them, to (c, h, w), as nets have them; a copy."""

    field: str

    def _apply(self, x: Any, rng: Rng, *, train: bool) -> Any:
        del rng, train
        return np.ascontiguousarray(np.moveaxis(x, -1, 1))

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if len(shape) != IMAGE:
            raise self._misfit(shape, dtype, "images (h, w, c)")
        return (shape[2], *shape[:2]), dtype


@dataclass(frozen=True)
class ToBGR(ArrayStep):
    """Channels R, G, B to B, G, R, the order that nets of Caffe's model zoo were trained in; a copy.

    It is its own inverse: what is B, G, R already (as in Spark's ``image`` source) becomes R, G, B.
    """

    field: str

    def _apply(self, x: Any, rng: Rng, *, train: bool) -> Any:
        del rng, train
        return np.ascontiguousarray(x[:, ::-1])  # torch takes no negative strides

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if len(shape) != IMAGE or shape[0] != 3:
            raise self._misfit(shape, dtype, "images (3, h, w)")
        return shape, dtype


@dataclass(frozen=True)
class Grayscale(ArrayStep):
    """Three channels R, G, B to one, their luma; uint8 stays uint8, rounded as Pillow does."""

    field: str

    def _apply(self, x: Any, rng: Rng, *, train: bool) -> Any:
        del rng, train
        luma = np.tensordot(x.astype(np.uint32), _LUMA, (1, 0)) + np.uint32(1 << 15)
        return (luma >> np.uint32(16)).astype(np.uint8)[:, None]

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if len(shape) != IMAGE or shape[0] != 3 or dtype != "uint8":
            raise self._misfit(
                shape, dtype, "images (3, h, w), uint8 (put Grayscale before ToBGR, the mean and the scale)"
            )
        return (1, *shape[1:]), dtype
