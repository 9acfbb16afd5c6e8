"""The steps of ``sparknet train`` on pixels before the net gets them: the options --bgr and --scale."""

import argparse

from sparknet.data.images.sets import ImageSet
from sparknet.data.preprocess import Compose, Scale, ToBGR
from sparknet.data.preprocess.pixels import PixelStep
from sparknet.errors import DataError

__all__ = ["pixel_steps", "preprocessor_of"]

_MLP_SCALE = 1 / 256  # pixels 0..255 become 0..1, as in the LeNet of Caffe's examples


def pixel_steps(args: argparse.Namespace, images: ImageSet) -> dict[str, PixelStep]:
    """Return the steps by what asks for them, in words. A Caffe net has none by default, because its prototxt has its own.

    Raises
    ------
    DataError
        ``--bgr`` is given for gray images.
    """
    steps: dict[str, PixelStep] = {}
    if args.bgr:
        if not images.order:
            msg = f"--bgr: the images of --data {args.data} are gray; expected channels R, G, B. Leave --bgr out"
            raise DataError(msg)
        steps["--bgr"] = ToBGR("data")
    factor = args.scale or (_MLP_SCALE if args.solver is None else 1)
    if factor != 1:
        steps["--scale" if args.scale else f"as --net {args.net.partition(':')[0]} has it"] = Scale("data", factor)
    return steps


def preprocessor_of(steps: dict[str, PixelStep]) -> Compose | None:
    """Return the steps as the preprocessor of packed images; None if there are none."""
    return Compose(*steps.values()) if steps else None
