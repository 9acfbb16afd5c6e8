"""Steps that move pixels: crop, mirror, resize."""

from dataclasses import dataclass
from typing import Any

from sparknet.data.images.decoder import FIT_WARP, check_size, resize_images
from sparknet.data.preprocess.base import IMAGE, Arrays, FieldStep, Rng, Shape
from sparknet.data.preprocess.bilinear import resize_bilinear
from sparknet.data.preprocess.pixels import PixelStep
from sparknet.errors import DataError
from sparknet.ndarray import NDArray

__all__ = ["Crop", "Mirror", "Resize"]

_PILLOW, _OPENCV = "pillow", "opencv"


@dataclass(frozen=True)
class Crop(PixelStep):
    """Cut ``height`` x ``width`` out of the last two axes: at a random place in training, the centre in test.

    Each image of a batch has its own place. If no cut is exactly central, the one nearer to the top left corner is taken, as in
    Caffe.
    """

    field: str
    height: int
    width: int

    def __post_init__(self) -> None:
        """Check the size."""
        check_size(self.height, self.width)

    def describe(self) -> str:
        """Return the size, as in ``"crop 28"`` or ``"crop 28x24"``."""
        return f"crop {self.height}" if self.height == self.width else f"crop {self.height}x{self.width}"

    def _draw(self, n: int, shape: Shape, rng: Rng) -> tuple[Any, ...]:
        return tuple(rng.integers(0, free, n, endpoint=True) for free in self._free(shape))

    def _view(self, x: Any, *drawn: Any) -> Any:
        top, left = drawn or (free // 2 for free in self._free(x.shape))
        return x[..., top : top + self.height, left : left + self.width]

    def _free(self, shape: Shape) -> tuple[int, int]:
        if len(shape) < IMAGE - 1 or shape[-2] < self.height or shape[-1] < self.width:
            msg = f"Crop: {self.height}x{self.width} does not fit into {self.field!r} of shape {shape}"
            raise DataError(msg)
        return shape[-2] - self.height, shape[-1] - self.width

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        self._free(shape)
        return (*shape[:-2], self.height, self.width), dtype


@dataclass(frozen=True)
class Mirror(PixelStep):
    """Flip each image left to right with probability one half in training; do nothing in test."""

    field: str

    def describe(self) -> str:
        """Return ``"mirror"``."""
        return "mirror"

    def _draw(self, n: int, shape: Shape, rng: Rng) -> tuple[Any, ...]:
        del shape
        return (rng.integers(0, 2, n),)

    def _view(self, x: Any, *drawn: Any) -> Any:
        return x[..., ::-1] if any(drawn) else x

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if len(shape) < IMAGE - 1:
            raise self._misfit(shape, dtype, "images (c, h, w) or (h, w)")
        return shape, dtype


@dataclass(frozen=True)
class Resize(FieldStep):
    """Resize images (c, h, w), uint8 or float32, to ``height`` x ``width``; the same in training and test.

    ``fit="warp"`` changes the proportions, as Caffe's ``resize_height`` and ``new_height`` do. ``"crop"`` keeps them: it brings
    the shorter side to size and cuts the centre out of the longer one. Both are bilinear, over all pixels that a new one covers,
    and need Pillow. ``method="opencv"`` takes the four nearest pixels, as Caffe's ``ImageData`` does, with the bits of OpenCV
    for uint8; it always warps.
    """

    field: str
    height: int
    width: int
    fit: str = FIT_WARP
    method: str = _PILLOW

    def __post_init__(self) -> None:
        """Check size, fit and method."""
        check_size(self.height, self.width, self.fit)
        if self.method not in (_PILLOW, _OPENCV) or (self.method == _OPENCV and self.fit != FIT_WARP):
            msg = f"Resize: got method {self.method!r}, fit {self.fit!r}; expected {_PILLOW!r}, or {_OPENCV!r} with 'warp'"
            raise DataError(msg)

    def describe(self) -> str:
        """Return the size, as in ``"resize 32x32"``."""
        return f"resize {self.height}x{self.width}"

    def __call__(self, batch: Arrays, rng: Rng, *, train: bool) -> Arrays:
        """Return the batch with the images resized."""
        del rng, train
        images = self._fitting_array(batch)
        if self.method == _OPENCV:
            resized = resize_bilinear(images, self.height, self.width)
        else:
            resized = resize_images(images, self.height, self.width, self.fit)
        return {**batch, self.field: NDArray(resized)}

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if len(shape) != IMAGE or not all(shape) or dtype not in ("uint8", "float32"):
            raise self._misfit(shape, dtype, "images (c, h, w), uint8 or float32")
        return (shape[0], self.height, self.width), dtype
