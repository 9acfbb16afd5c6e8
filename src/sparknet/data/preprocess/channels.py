"""Steps on the channels of images: their axis, their order, their number."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sparknet.data.preprocess.base import IMAGE, Arrays, FieldStep, Rng, Shape
from sparknet.data.preprocess.pixels import PixelStep
from sparknet.ndarray import NDArray

__all__ = ["Grayscale", "ToBGR", "ToCHW"]

# ITU-R 601-2 luma in 16 bits, with Pillow's rounding: 0.299 R + 0.587 G + 0.114 B.
_LUMA = np.array([19595, 38470, 7471], np.uint32)


@dataclass(frozen=True)
class ToCHW(PixelStep):
    """Move the channels of images from (h, w, c), as in numpy and Spark's ``image`` source, to (c, h, w), as in nets; a copy."""

    field: str

    def _view(self, x: Any, *drawn: Any) -> Any:
        del drawn
        return np.moveaxis(x, -1, -3)

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if len(shape) != IMAGE:
            raise self._misfit(shape, dtype, "images (h, w, c)")
        return (shape[2], *shape[:2]), dtype


@dataclass(frozen=True)
class ToBGR(PixelStep):
    """Reverse the channels from R, G, B to B, G, R, the order of the nets in Caffe's model zoo; a copy.

    Channels B, G, R (as in Spark's ``image`` source) become R, G, B.
    """

    field: str

    def describe(self) -> str:
        """Return the new order."""
        return "B, G, R"

    def _view(self, x: Any, *drawn: Any) -> Any:
        del drawn
        return x[..., ::-1, :, :]

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if len(shape) != IMAGE or shape[0] != 3:
            raise self._misfit(shape, dtype, "images (3, h, w)")
        return shape, dtype


@dataclass(frozen=True)
class Grayscale(FieldStep):
    """Replace the channels R, G, B by their luma, one channel; uint8 stays uint8, with Pillow's rounding."""

    field: str

    def __call__(self, batch: Arrays, rng: Rng, *, train: bool) -> Arrays:
        """Return the batch with one channel in place of three."""
        del rng, train
        x = self._fitting_array(batch)
        red, green, blue = (np.multiply(x[:, c], weight, dtype=np.uint32) for c, weight in enumerate(_LUMA))
        luma = (red + green + blue + np.uint32(1 << 15)) >> np.uint32(16)
        return {**batch, self.field: NDArray(luma.astype(np.uint8)[:, None])}

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if len(shape) != IMAGE or shape[0] != 3 or dtype != "uint8":
            raise self._misfit(
                shape, dtype, "images (3, h, w), uint8 (put Grayscale before ToBGR, the mean and the scale)"
            )
        return (1, *shape[1:]), dtype
