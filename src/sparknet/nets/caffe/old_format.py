"""Prototxts of 2014, ``layers { type: CONVOLUTION ... }``, in today's format, ``layer { type: "Convolution" ... }``.

Caffe can do this itself, but only while it makes a net; the inputs must be known before that.
"""

from typing import Any

from sparknet.errors import NetError
from sparknet.nets.caffe.runtime import messages

__all__ = ["upgraded"]

# Old type -> new type, where that is not the old one in camel case.
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
# Old lists with one value for each array of weights -> the field of `param { }` that has it now.
_PER_ARRAY = {"param": "name", "blobs_lr": "lr_mult", "weight_decay": "decay_mult", "blob_share_mode": "share_mode"}


def upgraded(layer: Any) -> Any:
    """Return the LayerParameter that means what the V1LayerParameter ``layer`` means."""
    if layer.HasField("layer"):
        msg = "it is in Caffe's first format, layers { layer { ... } }; write it as layer { ... }"
        raise NetError(msg)
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
    return out
