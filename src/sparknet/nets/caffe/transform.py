"""The changes of data layers to their images (``transform_param``), as steps of :mod:`sparknet.data.preprocess`.

A pixel becomes ``(pixel - mean) * scale``, with a random crop and mirror in training and the centre crop in test. The random
generator is not Caffe's, so random places differ; all else is equal to the last bit. Unlike in Caffe, a ``mirror`` does nothing in
the test phase, so an evaluation gives the same result each time.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.data.fields import Field
from sparknet.data.preprocess import Compose, Crop, Mirror, Preprocessor, Resize, Scale, SubtractMean
from sparknet.errors import DataError, FormatError, NetError, located
from sparknet.formats import binaryproto
from sparknet.nets.caffe.data_params import check_data_param
from sparknet.nets.caffe.inputs import DATA_LAYERS
from sparknet.nets.caffe.notes import note
from sparknet.nets.caffe.runtime import MissingFileError

__all__ = ["changed_fields", "transform_of"]

_DONE = {"scale", "mirror", "crop_size", "crop_h", "crop_w", "mean_file", "mean_value", "force_color", "force_gray"}

Find = Callable[[str, str], Path]


def transform_of(layers: Sequence[Any], find: Find, *, train: bool) -> Preprocessor | None:
    """Return the steps of the data layers among ``layers`` on their images, which are their first tops; None if there are none.

    Parameters
    ----------
    layers
        LayerParameters of one phase.
    find
        Returns the path of a file, called with its name and with what it is, ``"mean_file"``.
    train
        True: the training phase. False: the test phase, which has no mirror.

    Raises
    ------
    NetError
        A layer asks for something that Caffe refuses, or for which there is no step. Or a mean file is missing or damaged.
    """
    steps = []
    for layer in layers:
        if layer.type in DATA_LAYERS:
            with located(f"layer {layer.name!r} ({layer.type})"):
                steps += _steps(layer, find, train=train)
        elif layer.HasField("transform_param"):
            note(
                f"layer {layer.name!r} ({layer.type}) has a transform_param, which Caffe uses in data layers alone: its "
                "values stay as they come",
                logging.WARNING,
            )
    return Compose(*steps) if steps else None


def changed_fields(fields: Sequence[Field], layers: Sequence[Any], transform: Preprocessor | None) -> list[Field]:
    """Return the fields as they reach the net, for the stored ``fields``; a NetError if they do not fit."""
    given = {field.name: field for field in fields}
    for layer in layers:
        if layer.type in DATA_LAYERS and layer.top and layer.top[0] in given:
            _check_channels(layer, given[layer.top[0]])
    if transform is None:
        return list(fields)
    wanted = {step.field for step in transform.steps}  # type: ignore[attr-defined]
    if not wanted <= given.keys():
        return list(fields)  # a shape that is missing, or that the layer itself says, is found later
    try:
        return transform.fields(fields)
    except DataError as error:
        msg = f"transform_param does not fit the fields given: {error}"
        raise NetError(msg) from error


def _steps(layer: Any, find: Find, *, train: bool) -> list[Preprocessor]:
    check_data_param(layer)
    params, field = _params(layer), layer.top[0] if layer.top else ""
    unknown = [name for name in params if name not in _DONE]
    if unknown:
        msg = (
            f"sparknet has no step for {', '.join(unknown)}; change the images yourself, with a preprocessor of your own, "
            "and pass ignore_transform=True"
        )
        raise NetError(msg)
    _check(layer, params)
    height, width = (params.get("crop_size") or params.get(side, 0) for side in ("crop_h", "crop_w"))
    sized = _resize(layer.image_data_param, field) if layer.type == "ImageData" else []
    moves: list[Preprocessor] = [Crop(field, height, width)] if height and width else []
    if params.get("mirror") and train:
        moves.append(Mirror(field))
    elif params.get("mirror"):
        note(
            f"layer {layer.name!r} ({layer.type}): mirror without effect in the TEST phase, where Caffe mirrors at random: an "
            "evaluation gives the same result each time"
        )
    scale: list[Preprocessor] = [Scale(field, params["scale"])] if params.get("scale", 1) != 1 else []
    if "mean_file" in params:
        mean = _mean_image(params["mean_file"], find)
        if layer.type == "WindowData" and height and width:  # its images are cut already, but the mean image is not
            mean = _centre(mean, height, width)
        return [
            *sized,
            SubtractMean(field, mean),
            *moves,
            *scale,
        ]  # before the crop, because the mean of a pixel belongs to its place
    values = list(params.get("mean_value", ()))
    means: list[Preprocessor] = [SubtractMean(field, values if len(values) > 1 else values[0])] if values else []
    return [*sized, *moves, *means, *scale]  # moving uint8 is cheaper than moving float32


def _resize(param: Any, field: str) -> list[Preprocessor]:
    """Return the step for ``new_height`` and ``new_width``, which comes before all others, as in Caffe."""
    height, width = param.new_height, param.new_width
    if (height > 0) != (width > 0):
        msg = f"got new_height {height} and new_width {width}, expected both or neither, as Caffe does"
        raise NetError(msg)
    return [Resize(field, height, width, method="opencv")] if height else []


def _params(layer: Any) -> dict[str, Any]:
    """Return the fields of ``transform_param`` that differ from their defaults; WindowData has its scale elsewhere."""
    said = list(layer.transform_param.ListFields())
    if layer.type == "WindowData":
        said = [(field, value) for field, value in said if field.name != "scale"]
        said += [(field, value) for field, value in layer.window_data_param.ListFields() if field.name == "scale"]
    found = {}
    for field, value in said:
        plain = isinstance(value, str | bool | int | float)
        if not plain or value != field.default_value:
            found[field.name] = value
    return found


def _check(layer: Any, params: dict[str, Any]) -> None:
    """Raise a NetError for parameters that Caffe itself refuses."""
    if layer.type == "HDF5Data" and params:
        msg = f"got transform_param ({', '.join(params)}), but this type of layer takes none"
        raise NetError(msg)
    sides = [side for side in ("crop_h", "crop_w") if side in params]
    if len(sides) == 1 or (sides and "crop_size" in params):
        msg = f"got {', '.join(sorted({'crop_size', *sides} & params.keys()))}; expected crop_size alone, or crop_h and crop_w"
        raise NetError(msg)
    for pair in (("mean_file", "mean_value"), ("force_color", "force_gray")):
        if set(pair) <= params.keys():
            msg = f"got both {pair[0]} and {pair[1]}, expected one of them"
            raise NetError(msg)


def _check_channels(layer: Any, field: Field) -> None:
    """Raise a NetError if the field has another number of channels than the images that the layer would decode."""
    if len(field.shape) != 3:
        return
    for name, channels in _channels(layer):
        if field.shape[0] != channels:
            msg = (
                f"layer {layer.name!r} ({layer.type}) has {name}, so its images have {channels} channels; the field given "
                f"is {field}. Decode them so: sparknet.data.preprocess has Decode and Grayscale"
            )
            raise NetError(msg, input=field.name, got=field.shape)
    if layer.type == "ImageData" and not layer.image_data_param.HasField("is_color") and field.shape[0] == 1:
        note(
            f"layer {layer.name!r} (ImageData) does not say is_color: false, so Caffe would decode 3 channels; the field "
            f"given is {field}, and stays so",
            logging.WARNING,
        )


def _channels(layer: Any) -> Iterator[tuple[str, int]]:
    """Yield the layer's fields about colors, with the number of channels that each means."""
    for name, channels in (("force_color", 3), ("force_gray", 1)):
        if getattr(layer.transform_param, name):
            yield name, channels
    if layer.type == "Data" and layer.data_param.force_encoded_color:
        yield "force_encoded_color", 3
    if layer.type == "ImageData" and layer.image_data_param.HasField("is_color"):
        color = layer.image_data_param.is_color
        yield f"is_color: {str(color).lower()}", 3 if color else 1


def _mean_image(name: str, find: Find) -> "np.ndarray[Any, Any]":
    """Return the mean image (c, h, w), float32."""
    try:
        path = find(name, "mean_file")
    except MissingFileError as error:
        msg = (
            f"{error}. Make it of packed images by sparknet.formats.write('mean.binaryproto', "
            "sparknet.data.mean_image(data).to_host().astype('float32')), or of a file of numpy by "
            "'sparknet convert mean.npy mean.binaryproto --dtype float32'"
        )
        raise MissingFileError(msg, **vars(error)) from error
    try:
        mean = binaryproto.read(path, max_bytes=None).obj.to_host()
    except (OSError, FormatError) as error:
        msg = f"the mean_file {str(path)!r} cannot be read: {error}"
        raise NetError(msg, path=str(path)) from error
    shape = mean.shape[1:] if mean.ndim == 4 and mean.shape[0] == 1 else mean.shape
    if len(shape) != 3 or not mean.size:
        msg = f"the mean_file {str(path)!r} has the shape {mean.shape}, expected one image: (c, h, w) or (1, c, h, w)"
        raise NetError(msg, path=str(path))
    return np.asarray(mean.reshape(shape), np.float32)


def _centre(mean: "np.ndarray[Any, Any]", height: int, width: int) -> "np.ndarray[Any, Any]":
    top, left = ((size - crop) // 2 for size, crop in zip(mean.shape[1:], (height, width), strict=True))
    if top < 0 or left < 0:
        msg = f"the mean image is {mean.shape[1]}x{mean.shape[2]}, smaller than crop_size {height}"
        raise NetError(msg)
    return mean[:, top : top + height, left : left + width]
