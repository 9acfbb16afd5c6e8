"""Prototxts of 2014, ``layers { type: CONVOLUTION ... }``, in today's format, ``layer { type: "Convolution" ... }``.

Caffe can do this itself, but only while it makes a net, and the inputs must be known before that.
"""

from typing import Any

from sparknet.nets.caffe.runtime import messages

__all__ = ["upgraded"]

# Old type -> new type, if that is not the old one in camel case.
_TYPES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
# Old list with a value for each array of weights -> the field of `param { }` that has the value now.
_PER_ARRAY = {"param": "name", "blobs_lr": "lr_mult", "weight_decay": "decay_mult", "blob_share_mode": "share_mode"}
# Fields that these parameters had before there was a transform_param.
_WITH_TRANSFORM = ("data_param", "image_data_param", "window_data_param")
_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")


def upgraded(layer: Any) -> Any:
    """Return the V1LayerParameter ``layer`` as a LayerParameter."""
    name = layer.DESCRIPTOR.enum_types_by_name["LayerType"].values_by_number[layer.type].name
    camel = "".join(word.capitalize() for word in name.split("_"))
    out = messages().LayerParameter(type=_TYPES.get(name, camel))
    for field, value in layer.ListFields():
        if field.name in _PER_ARRAY:
            for i, one in enumerate(value):
                spec = out.param[i] if i < len(out.param) else out.param.add()
                setattr(spec, _PER_ARRAY[field.name], one)
        elif field.name != "type":  # the same name and message in both formats
            out.MergeFrom(messages().LayerParameter(**{field.name: value}))
    _move_transform(out)
    return out


def _move_transform(layer: Any) -> None:
    """Move a data layer's fields about its images into ``transform_param``, where alone Caffe reads them."""
    for name in _WITH_TRANSFORM:
        param = getattr(layer, name)
        for field in _TRANSFORM:
            if layer.HasField(name) and param.HasField(field):
                setattr(layer.transform_param, field, getattr(param, field))
                param.ClearField(field)
