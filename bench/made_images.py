"""Image files for benchmarks: smooth shapes with noise, so that they compress about as photographs do."""

import io

import numpy as np
from PIL import Image


def jpeg(rng, side=256):
    """Bytes of a JPEG file, some 17 KB at 256x256."""
    small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    noisy = np.asarray(small, np.int16) + rng.integers(-12, 13, (side, side, 3))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()
