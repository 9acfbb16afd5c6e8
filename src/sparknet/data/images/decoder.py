"""Decoding and resizing images; the only module that imports Pillow.

Pixels are uint8 (c, h, w), channels R, G, B. A bad image is a DataError that says what is wrong with it; the caller adds its
name. The list of formats is closed: none of them starts another program, and none makes more pixels than it declares.
"""

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from sparknet.data.images.limits import check_depth, check_jpeg, check_png, check_ppm, check_scans, webp_size
from sparknet.data.layout import is_whole
from sparknet.errors import DataError, MissingDependency

__all__ = ["ImageDecoder", "resize_images"]

# Format -> suffixes of its files.
FORMATS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm"),
    "WEBP": (".webp",),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MAX_PIXELS = 1 << 26
FIT_WARP, FIT_CROP = "warp", "crop"
_MODES = {1: "L", 3: "RGB"}
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ImageDecoder:
    """Decodes images of any size to one size.

    Parameters
    ----------
    height, width
        Size of the result, in pixels.
    channels
        3: R, G, B; 1: gray.
    fit
        ``"warp"`` resizes to height x width whatever the proportions, as Caffe's ``resize_height`` and ``resize_width`` do.
        ``"crop"`` brings the shorter side to size and cuts the centre out of the longer one. Both are bilinear, over all
        pixels that a new one covers.
    strict
        True: refuse an image with another number of channels. False: convert it (gray to color, color to gray, CMYK, palettes)
        and leave out transparency, as Caffe (OpenCV) does.
    max_pixels
        An image with more pixels is refused before memory is taken for it.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (8, 6), (1, 128, 255)).save(file, "PNG")
    >>> pixels = ImageDecoder(3, 4)(file.getvalue())
    >>> pixels.shape, pixels[:, 0, 0].tolist()
    ((3, 3, 4), [1, 128, 255])
    """

    height: int
    width: int
    channels: int = 3
    fit: str = FIT_WARP
    strict: bool = False
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_size(self.height, self.width, self.fit)
        if self.channels not in _MODES:
            msg = f"channels: got {self.channels!r}, expected 3 (R, G, B) or 1 (gray)"
            raise DataError(msg)
        if not is_whole(self.max_pixels, 1):  # with such a limit every image would be refused
            msg = f"max_pixels: got {self.max_pixels!r:.40}, expected a whole number of at least 1"
            raise DataError(msg)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the result: (c, h, w)."""
        return self.channels, self.height, self.width

    def __call__(self, data: bytes) -> Array:
        """Return the pixels of one encoded image, a new array.

        Parameters
        ----------
        data
            The bytes of a JPEG, PNG, BMP, GIF (its first frame), PPM or WebP; bytes behind its end are ignored. The
            orientation that a camera noted (EXIF) is not applied.

        Raises
        ------
        DataError
            The data is no image of these formats, or the image is damaged or truncated, has no or too many pixels, or has more
            than 8 bits a channel. A JPEG has more than 100 scans, scans over more pixels than 20 images of ``max_pixels`` have,
            or more than 16 MiB of metadata. A PNG has a text or profile of more than 1 MB, or more than 131,072 chunks.
        MissingDependency
            Pillow is not installed.
        """
        if not isinstance(data, bytes | bytearray | memoryview) or not len(data):
            got = "no bytes" if isinstance(data, bytes | bytearray | memoryview) else f"a {type(data).__name__}"
            size = len(data) if isinstance(data, list | tuple) else getattr(data, "size", None)
            msg = f"got {got}, expected the bytes of an image file{self._hint(size)}"
            raise DataError(msg)
        pil = _pil()
        data = bytes(data)
        with _refused(data, self._hint(len(data))):
            check_png(data)
            check_ppm(data)
            if size := webp_size(data):
                self._check_size(*size)
            scans = check_jpeg(data)
            image = pil.open(io.BytesIO(data), formats=list(FORMATS))
            self._check_size(*image.size)
            check_scans(scans, image.width * image.height, self.max_pixels)
            check_depth(image)
            image.load()
            return self._pixels(image)  # inside the block: Pillow notices a bad palette only here

    def of_pixels(self, pixels: Array) -> Array:
        """Return pixels (h, w, c) uint8 (R, G, B and perhaps transparency, or gray) resized and converted; a new array."""
        self._check_size(pixels.shape[1], pixels.shape[0])
        image = _pil().fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
        return self._pixels(image)

    def _hint(self, size: Any) -> str:
        """Return, for the end of a message, that a value of this size may be decoded pixels; "" if the size says nothing."""
        if size != prod(self.shape):
            return ""
        return f". It has as many as pixels {self.shape}: if it is decoded already, leave the decoder out"

    def _check_size(self, width: int, height: int) -> None:
        if not 0 < width * height <= self.max_pixels:
            msg = f"it has {width}x{height} pixels, expected 1 to {self.max_pixels} (max_pixels)"
            raise DataError(msg)

    def _pixels(self, image: Any) -> Array:
        image = self._converted(image)
        resized = _resized(image, self.height, self.width, self.fit)
        pixels = np.asarray(resized).reshape(self.height, self.width, self.channels)
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))

    def _converted(self, image: Any) -> Any:
        mode = _MODES[self.channels]
        if self.strict and image.mode != mode:
            has = f"{len(image.getbands())} channels (mode {image.mode})"
            msg = f"it has {has}, expected {self.channels} (mode {mode}), or strict=False to convert it"
            raise DataError(msg)
        if "transparency" in image.info:  # a color, or an alpha for each color of a palette
            image = image.convert("RGBA")
        return image if image.mode == mode else image.convert(mode)


def resize_images(images: Array, height: int, width: int, fit: str = FIT_WARP) -> Array:
    """Return images (n, c, h, w), uint8 or float32, in another size; a new array of the same dtype.

    Each channel is resized alone, with the arithmetic of :class:`ImageDecoder`.

    Examples
    --------
    >>> resize_images(np.full((2, 3, 8, 6), 7, np.uint8), 4, 3).shape
    (2, 3, 4, 3)
    """
    out = np.empty((*images.shape[:2], height, width), images.dtype)
    pil = _pil()
    for place in np.ndindex(images.shape[:2]):
        plane = pil.fromarray(np.ascontiguousarray(images[place]))
        out[place] = np.asarray(_resized(plane, height, width, fit))
    return out


def _resized(image: Any, height: int, width: int, fit: str) -> Any:
    """Return a Pillow image in another size."""
    left = top = 0.0
    if fit == FIT_CROP:
        scale = min(image.width / width, image.height / height)
        left, top = max(0.0, (image.width - scale * width) / 2), max(0.0, (image.height - scale * height) / 2)
    box = (left, top, image.width - left, image.height - top)
    return image.resize((width, height), _pil().Resampling.BILINEAR, box)


def check_size(height: int, width: int, fit: str = FIT_WARP) -> None:
    """Raise a DataError unless height and width are positive whole numbers of at most 2**26 pixels, and ``fit`` is a known one."""
    if fit not in (FIT_WARP, FIT_CROP):
        msg = f"fit: got {fit!r}, expected 'warp' or 'crop'"
        raise DataError(msg)
    if not (is_whole(height, 1) and is_whole(width, 1)):
        msg = f"got a size of {height!r:.40}x{width!r:.40}, expected whole numbers, at least 1x1"
        raise DataError(msg)
    if height * width > MAX_PIXELS:  # the memory of one image could end the process
        msg = f"got a size of {height!r:.40}x{width!r:.40}, expected at most {MAX_PIXELS} pixels"
        raise DataError(msg)


@functools.cache
def _pil() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        msg = "images are decoded and resized by Pillow: pip install 'sparknet[images]'"
        raise MissingDependency(msg, name="PIL") from error
    return Image


@contextmanager
def _refused(data: bytes, hint: str) -> Iterator[None]:
    """Turn Pillow's exceptions into DataErrors; ``hint`` ends the message if the bytes are no image at all.

    Its decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError and more.
    """
    try:
        yield
    except DataError:
        raise
    except _pil().UnidentifiedImageError as error:
        begin = bytes(data[:8]).hex(" ")
        msg = f"no image of the formats {', '.join(FORMATS)}, or a damaged one: its {len(data)} bytes begin with {begin}{hint}"
        raise DataError(msg) from error
    except Exception as error:
        msg = f"cannot be decoded: {' '.join(str(error).split())[:200] or type(error).__name__}"
        raise DataError(msg) from error
