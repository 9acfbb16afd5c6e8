"""Prototxts of 2013, ``layers { layer { name: "c" type: "conv" ... } bottom: "data" top: "c" }``, in the format of 2014.

Caffe can do this itself, but only while it makes a net, and the inputs must be known before that. What Caffe's upgrade leaves out
with a line in its log is also left out here, with a line in the log.
"""

import logging
from collections.abc import Iterable
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.caffe.notes import note
from sparknet.nets.caffe.runtime import messages

__all__ = ["second_format"]

# Type -> its name in the format of 2014, and the message of its parameters.
_TYPES = {
    "accuracy": ("ACCURACY", None),
    "bnll": ("BNLL", None),
    "concat": ("CONCAT", "concat_param"),
    "conv": ("CONVOLUTION", "convolution_param"),
    "data": ("DATA", "data_param"),
    "dropout": ("DROPOUT", "dropout_param"),
    "euclidean_loss": ("EUCLIDEAN_LOSS", None),
    "flatten": ("FLATTEN", None),
    "hdf5_data": ("HDF5_DATA", "hdf5_data_param"),
    "hdf5_output": ("HDF5_OUTPUT", None),
    "im2col": ("IM2COL", None),
    "images": ("IMAGE_DATA", "image_data_param"),
    "infogain_loss": ("INFOGAIN_LOSS", "infogain_loss_param"),
    "innerproduct": ("INNER_PRODUCT", "inner_product_param"),
    "lrn": ("LRN", "lrn_param"),
    "multinomial_logistic_loss": ("MULTINOMIAL_LOGISTIC_LOSS", None),
    "pool": ("POOLING", "pooling_param"),
    "relu": ("RELU", None),
    "sigmoid": ("SIGMOID", None),
    "softmax": ("SOFTMAX", None),
    "softmax_loss": ("SOFTMAX_LOSS", None),
    "split": ("SPLIT", None),
    "tanh": ("TANH", None),
    "window_data": ("WINDOW_DATA", "window_data_param"),
}
_PADDING = "padding"
_OF_ALL = ("name", "blobs", "blobs_lr", "weight_decay", "hdf5_output_param")
_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
_RENAMED = {
    "biasterm": "bias_term",
    "kernelsize": "kernel_size",
    "batchsize": "batch_size",
    "shuffle_images": "shuffle",
    "det_fg_threshold": "fg_threshold",
    "det_bg_threshold": "bg_threshold",
    "det_fg_fraction": "fg_fraction",
    "det_context_pad": "context_pad",
    "det_crop_mode": "crop_mode",
}


def second_format(layers: Iterable[Any]) -> list[Any]:
    """Return the ``layers`` of one net as V1LayerParameters without an inner ``layer``; padding layers become pads.

    Raises
    ------
    NetError
        A type is unknown, or a padding layer is not in front of a convolution or a pooling.
    """
    pads: dict[str, tuple[str, int]] = {}  # top of a padding layer -> its bottom, and its pad
    out = []
    for layer in layers:
        if layer.layer.type == _PADDING:
            right = len(layer.bottom) == len(layer.top) == 1 and layer.bottom[0] not in pads
            _check(layer, right, "has one bottom, no padding layer's, and one top")
            pads[layer.top[0]] = layer.bottom[0], layer.layer.pad
            continue
        new = _upgraded(_padded(layer, pads)) if layer.HasField("layer") else layer
        for top in layer.top:
            pads.pop(top, None)
        out.append(new)
    return out


def _padded(layer: Any, pads: dict[str, tuple[str, int]]) -> Any:
    """Return the layer with the pad of the padding layer before it, reading that layer's bottom; unchanged if there is none."""
    if not any(bottom in pads for bottom in layer.bottom):
        return layer
    right = layer.layer.type in ("conv", "pool") and len(layer.bottom) == 1
    _check(layer, right, "reads a padding layer, which only a conv or a pool with one bottom can")
    bottom, pad = pads[layer.bottom[0]]
    out = type(layer)()
    out.CopyFrom(layer)
    out.bottom[0] = bottom
    out.layer.pad = pad
    return out


def _upgraded(layer: Any) -> Any:
    old = layer.layer
    _check(layer, old.type in _TYPES, f"has a type of {', '.join([*_TYPES, _PADDING])}")
    kind, own = _TYPES[old.type]
    out = messages().V1LayerParameter(bottom=layer.bottom, top=layer.top, type=kind)
    lost = [field.name for field, _ in layer.ListFields() if field.name not in ("bottom", "top", "layer")]
    for field, value in old.ListFields():
        if field.name != "type" and not _set(out, own, field, value):
            lost.append(field.name)
    if lost:
        note(
            f"layer {old.name!r} ({old.type}) of the first format: {', '.join(lost)} left out, as Caffe does; it means "
            "nothing for this type",
            logging.WARNING,
        )
    return out


def _set(out: Any, own: str | None, field: Any, value: Any) -> bool:
    """Set the value of ``field`` of the old layer in ``out``; say whether ``out`` has a place for it."""
    if field.name in _OF_ALL:
        out.MergeFrom(type(out)(**{field.name: value}))
        return True
    if field.name in _TRANSFORM:
        setattr(out.transform_param, _TRANSFORM[field.name], value)
        return True
    name = _RENAMED.get(field.name, field.name)
    target = out.DESCRIPTOR.fields_by_name[own].message_type.fields_by_name.get(name) if own else None
    if own is None or target is None:
        return False
    plain = field.enum_type.values_by_number[value].name if field.enum_type else value
    several = hasattr(getattr(getattr(out, own), name), "append")
    out.MergeFrom(type(out)(**{own: {name: [plain] if several else plain}}))
    return True


def _check(layer: Any, right: bool, expected: str) -> None:
    if not right:
        msg = f"layer {layer.layer.name!r} ({layer.layer.type!r}, in Caffe's first format): expected that it {expected}"
        raise NetError(msg, layer=layer.layer.name)
