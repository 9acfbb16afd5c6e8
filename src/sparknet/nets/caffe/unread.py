"""Parameters in a layer that belong to another type of layer: Caffe ignores them, so a note says it once.

The message of a type's own parameters has the name of the type: the type Pooling reads the PoolingParameter of ``pooling_param``. So
the table here has only parameters that several types read.
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
        if not field.name.endswith("_param") or not value.ListFields():  # an empty message sets nothing
            continue
        kind = field.message_type.name.removesuffix("Parameter")
        readers = _READERS.get(kind, (kind,))
        if layer.type not in readers:
            said = ", ".join(one.name for one, _ in value.ListFields())
            place = f"layer {layer.name!r} ({layer.type}): {said} in {field.name}"
            note(f"{place} without effect, as in Caffe: it is read by {', '.join(sorted(readers))}")
