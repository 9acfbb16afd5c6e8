"""What a layer says to another type of layer: Caffe ignores it, so it is said once.

Caffe's message of a type's own parameters bears the type's name: the type Pooling reads the PoolingParameter of
``pooling_param``. So only what several types read is a table here.
"""

from typing import Any

from sparknet.nets.caffe.metrics import NORMALIZED
from sparknet.nets.caffe.notes import note

__all__ = ["note_unread"]

_READERS = {
    "Convolution": ("Convolution", "Deconvolution", "Im2col"),
    "Loss": tuple(NORMALIZED),
    "Recurrent": ("LSTM", "RNN"),
    "Softmax": ("Softmax", "SoftmaxWithLoss"),
}


def note_unread(layer: Any) -> None:
    """Log which parameters of a LayerParameter its type does not read."""
    for field, value in layer.ListFields():
        if not field.name.endswith("_param") or not value.ListFields():  # an empty message says nothing
            continue
        kind = field.message_type.name.removesuffix("Parameter")
        readers = _READERS.get(kind, (kind,))
        if layer.type not in readers:
            said = ", ".join(one.name for one, _ in value.ListFields())
            place = f"layer {layer.name!r} ({layer.type}): {said} in {field.name}"
            note(f"{place} without effect, as in Caffe: it is read by {', '.join(sorted(readers))}")
