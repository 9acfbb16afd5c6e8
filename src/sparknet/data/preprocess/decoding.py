"""Decode: images are stored as JPEG or PNG bytes, and decoded when a batch is used."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparknet.data.images import ImageDecoder
from sparknet.data.on_error import ERROR_OR_DROP, checked_on_error
from sparknet.data.preprocess.base import Arrays, FieldStep, Rng, Shape
from sparknet.errors import DataError
from sparknet.ndarray import NDArray

__all__ = ["Decode"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decode(FieldStep):
    """Decode images: the bytes (n, longest) uint8, each padded with zeros at its end, become pixels (n, c, h, w) uint8.

    Decoders stop at the end of the image, so the padding does not matter.

    Parameters
    ----------
    field
        The field with the bytes.
    decoder
        Size and channels of the pixels.
    on_error
        ``"error"``: a bad image is a DataError. ``"drop"``: its example is taken out of all fields
        of the batch, and logged with its place in it.
    """

    field: str
    decoder: ImageDecoder
    on_error: str = "error"

    def __post_init__(self) -> None:
        """Check ``decoder`` and ``on_error``."""
        if not isinstance(self.decoder, ImageDecoder):
            msg = f"Decode: decoder: got {self.decoder!r:.60}, expected an ImageDecoder, such as ImageDecoder(224, 224)"
            raise DataError(msg)
        object.__setattr__(self, "on_error", checked_on_error(self.on_error, "Decode", ERROR_OR_DROP))

    def __call__(self, batch: Arrays, rng: Rng, *, train: bool) -> Arrays:
        """Return the batch with pixels in place of bytes, and without dropped examples."""
        del rng, train
        rows = self._fitting_array(batch)
        pixels = np.empty((len(rows), *self.decoder.shape), np.uint8)
        good = [i for i, row in enumerate(rows) if self._decode(i, row.tobytes(), pixels)]
        out = {**batch, self.field: NDArray(pixels)}
        return out if len(good) == len(rows) else {name: NDArray(array.to_host()[good]) for name, array in out.items()}

    def _decode(self, place: int, data: bytes, pixels: Any) -> bool:
        """Decode one example into its place; say whether it could be decoded."""
        try:
            pixels[place] = self.decoder(data)
        except DataError as error:
            msg = f"Decode: example {place} of the batch, {self.field!r}: {error}"
            if self.on_error == "error":
                raise DataError(msg) from error
            _LOG.warning("%s (dropped)", msg)
            return False
        return True

    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        if len(shape) != 1 or dtype != "uint8":
            raise self._misfit(shape, dtype, "the bytes of an image: (length,), uint8")
        return self.decoder.shape, "uint8"
